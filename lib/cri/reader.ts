import { Calls } from "./calls.ts";
import { HpackDecoder } from "./hpack.ts";
import { FrameReader, type FrameSink } from "./http2_frames.ts";
import type { CriNote, LostReason } from "./notes.ts";
import type { PullCredentialCache } from "./pull_credential_cache.ts";
import { WireError } from "./wire_error.ts";

/** What reading one connection takes. */
export interface CriReaderOptions {
  /** Where pulls and removals are written down; shared by all connections. */
  readonly book: PullCredentialCache;
  /** Hears what could not be read; at most once a direction that its thread was lost. */
  readonly note?: (note: CriNote) => void;
}

/**
 * Follows one connection of a CRI client. Call it with every chunk, in order, **before** the chunk
 * is passed on, so that no answer is read before its question. No call throws, keeps the chunk or
 * changes it. A connection holds about 5 MiB at most, and nothing once its thread is lost: calls
 * cost next to nothing then. Without the server's direction pulls are still seen, but never
 * confirmed or refused, and removals count when they are asked for; without the client's nothing
 * more is read.
 */
export interface CriConnectionReader {
  /** Calls of any method that have begun and not ended; 0 where the connection cannot be read. */
  readonly callsInFlight: number;
  fromClient(chunk: Uint8Array): void;
  fromServer(chunk: Uint8Array): void;
  /** The client closed its half; answers may still come. */
  clientEnded(): void;
  /** Both halves are gone. What had no answer stays as it was asked, unconfirmed. */
  closed(): void;
}

/** Streams beyond this many side by side are not tracked; gRPC servers allow far fewer. */
const MAX_STREAMS = 10_000;

/** Streams that the client has opened and the server has not ended yet. */
class OpenStreams {
  readonly #ids = new Set<number>();
  #newest = 0;

  get size(): number {
    return this.#ids.size;
  }

  /** The client's trailers of a stream that has ended do not open it again. */
  open(id: number): void {
    if (id <= this.#newest) return;
    this.#newest = id;
    if (this.#ids.size < MAX_STREAMS) this.#ids.add(id);
  }

  end(id: number): void {
    this.#ids.delete(id);
  }

  clear(): void {
    this.#ids.clear();
  }
}

/** A reader for one connection, at its very first byte. */
export function createCriReader(options: CriReaderOptions): CriConnectionReader {
  return new ConnectionReader(options);
}

class ConnectionReader implements CriConnectionReader {
  readonly #note: (note: CriNote) => void;
  readonly #calls: Calls;
  readonly #streams = new OpenStreams();
  #client: FrameReader | undefined;
  #server: FrameReader | undefined;

  constructor({ book, note }: CriReaderOptions) {
    this.#note = note ?? (() => {});
    this.#calls = new Calls(book, this.#note);
    this.#client = new FrameReader(requests(this.#calls, this.#streams), { preface: true });
    this.#server = new FrameReader(answers(this.#calls, this.#streams), { preface: false });
  }

  get callsInFlight(): number {
    return this.#streams.size;
  }

  fromClient(chunk: Uint8Array): void {
    try {
      this.#client?.read(chunk);
    } catch (error) {
      this.closed();
      this.#lose("client", error);
    }
  }

  fromServer(chunk: Uint8Array): void {
    try {
      this.#server?.read(chunk);
    } catch (error) {
      this.#server = undefined;
      this.#streams.clear();
      this.#guard(() => this.#calls.endAnswers());
      this.#lose("server", error);
    }
  }

  clientEnded(): void {
    this.#client = undefined;
    this.#calls.endRequests();
  }

  closed(): void {
    this.#client = undefined;
    this.#server = undefined;
    this.#streams.clear();
    this.#calls.dropAll();
  }

  #lose(side: "client" | "server", error: unknown): void {
    const reason: LostReason = error instanceof WireError ? error.reason : "internal-error";
    this.#guard(() => this.#note({ kind: "lost", side, reason }));
  }

  /** What is called from here belongs to others; whatever it does must not reach the connection. */
  #guard(call: () => void): void {
    try {
      call();
    } catch {
      // There is nobody left to tell.
    }
  }
}

/** The client's direction: which calls are made, and what they ask. */
function requests(calls: Calls, streams: OpenStreams): FrameSink {
  const headers = new HpackDecoder();
  return {
    headers(streamId, block, endStream) {
      streams.open(streamId);
      let path = "";
      headers.decode(block, (name, value) => {
        if (name === ":path") path = value;
      });
      if (!endStream) calls.open(streamId, path);
    },
    promised: (block) => headers.decode(block, () => {}),
    wantsData: (streamId) => calls.wantsRequest(streamId),
    data: (streamId, piece) => calls.requestData(streamId, piece),
    dataEnded: () => {},
    reset(streamId) {
      streams.end(streamId);
      calls.drop(streamId);
    },
  };
}

/** The server's direction: how the calls end. */
function answers(calls: Calls, streams: OpenStreams): FrameSink {
  const headers = new HpackDecoder();
  return {
    headers(streamId, block, endStream) {
      let status = "";
      let message = "";
      headers.decode(block, (name, value) => {
        if (name === "grpc-status") status = value;
        else if (name === "grpc-message") message = value;
      });
      if (!endStream) return;
      streams.end(streamId);
      calls.answer(streamId, status, message);
    },
    promised: (block) => headers.decode(block, () => {}),
    wantsData: (streamId) => calls.wantsResponse(streamId),
    data: (streamId, piece) => calls.responseData(streamId, piece),
    dataEnded(streamId) {
      streams.end(streamId);
      calls.drop(streamId);
    },
    reset(streamId) {
      streams.end(streamId);
      calls.drop(streamId);
    },
  };
}
