import { Calls } from "./calls.ts";
import { HpackDecoder } from "./hpack.ts";
import { FrameReader, type FrameSink } from "./http2_frames.ts";
import { type CriNote, WireError } from "./notes.ts";
import type { PullCredentialCache } from "./pull_credential_cache.ts";

/** Options of a {@linkcode CriConnectionReader}. */
export interface CriReaderOptions {
  /** Records pulls and removals; shared by all connections. */
  readonly cache: PullCredentialCache;
  /** Called for problems; `lost` at most once per direction. */
  readonly note?: (note: CriNote) => void;
}

/** Limit of tracked concurrent streams; gRPC servers allow far fewer. */
const MAX_STREAMS = 10_000;

/** Tracks the streams that the client has opened and the server has not ended. */
class OpenStreams {
  readonly #ids = new Set<number>();
  #newest = 0;

  get size(): number {
    return this.#ids.size;
  }

  /** Ignores streams that have ended: trailers of the client do not open them again. */
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

/**
 * Reads the traffic of one connection of a CRI client. Call it with every chunk, in order and
 * **before** the chunk is forwarded, so that a request is read before its response. Methods never
 * throw, keep a chunk or modify it. A connection uses at most about 5 MiB.
 *
 * After an error in the server's direction, pulls are still recorded but never confirmed or refused,
 * and removals are applied when they are requested. After an error in the client's direction nothing
 * is read any more.
 */
export class CriConnectionReader {
  readonly #note: (note: CriNote) => void;
  readonly #calls: Calls;
  readonly #streams = new OpenStreams();
  #client: FrameReader | undefined;
  #server: FrameReader | undefined;

  constructor({ cache, note }: CriReaderOptions) {
    this.#note = note ?? (() => {});
    this.#calls = new Calls(cache, this.#note);
    this.#client = new FrameReader(requests(this.#calls, this.#streams), { preface: true });
    this.#server = new FrameReader(responses(this.#calls, this.#streams), { preface: false });
  }

  /** Calls of any method that have started and not completed; 0 if they cannot be read. */
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
      this.#guard(() => this.#calls.endResponses());
      this.#lose("server", error);
    }
  }

  /** Call when the client has closed its direction; responses may still arrive. */
  clientEnded(): void {
    this.#client = undefined;
    this.#calls.endRequests();
  }

  /** Call when both directions are closed. Pulls without a response stay unconfirmed. */
  closed(): void {
    this.#client = undefined;
    this.#server = undefined;
    this.#streams.clear();
    this.#calls.dropAll();
  }

  #lose(side: "client" | "server", error: unknown): void {
    const reason = error instanceof WireError ? error.reason : "internal-error";
    this.#guard(() => this.#note({ kind: "lost", side, reason }));
  }

  /** Calls a callback whose errors must not affect the connection. */
  #guard(call: () => void): void {
    try {
      call();
    } catch {
      // An error has already been reported for this direction.
    }
  }
}

/** Handles the client's direction: the start of calls and their requests. */
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
    wantsData: (streamId) => calls.wantsRequest(streamId),
    data: (streamId, piece) => calls.requestData(streamId, piece),
    dataEnded: () => {},
    reset(streamId) {
      streams.end(streamId);
      calls.drop(streamId);
    },
  };
}

/** Handles the server's direction: responses and the end of calls. */
function responses(calls: Calls, streams: OpenStreams): FrameSink {
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
      calls.end(streamId, status, message);
    },
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
