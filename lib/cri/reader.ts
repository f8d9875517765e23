import {
  type Credential,
  defined,
  type ImageReference,
  parseImageReference,
} from "../model/mod.ts";
import {
  pullCredential,
  readPullImageRequest,
  readPullImageResponse,
  readRemoveImageRequest,
} from "./cri_messages.ts";
import { HpackDecoder } from "./hpack.ts";
import {
  type CriProblem,
  exactly,
  type FrameSink,
  type Parser,
  readFrames,
  StreamParser,
  WireError,
} from "./http2_frames.ts";
import type { PullCredentialCache, PullOutcome, PullTicket } from "./pull_credential_cache.ts";

/** A problem while reading CRI traffic. Contains at most an image reference of the traffic. */
export type CriNote =
  /** One direction is no longer read; if it is the client's, neither is the other. */
  | { readonly kind: "lost"; readonly side: "client" | "server"; readonly reason: CriProblem }
  /** A message, or the credential in it, was skipped. */
  | {
    readonly kind: "skipped";
    readonly method: "PullImage" | "RemoveImage";
    readonly reason: CriProblem;
    /** Normalized reference, if known. */
    readonly image?: string;
  };

/** Options of a {@linkcode CriConnectionReader}. */
export interface CriReaderOptions {
  /** Records pulls and removals; shared by all connections. */
  readonly cache: PullCredentialCache;
  /** Called for problems; `lost` at most once per direction. */
  readonly note?: (note: CriNote) => void;
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
  #client: StreamParser<never> | undefined;
  #server: StreamParser<never> | undefined;

  constructor({ cache, note = () => {} }: CriReaderOptions) {
    this.#note = note;
    this.#calls = new Calls(cache, note);
    this.#client = new StreamParser(readFrames(requests(this.#calls), { preface: true }));
    this.#server = new StreamParser(readFrames(responses(this.#calls), { preface: false }));
  }

  /** Calls of any method that have started and not completed; 0 if they cannot be read. */
  get callsInFlight(): number {
    return this.#calls.inFlight;
  }

  fromClient(chunk: Uint8Array): void {
    this.#read("client", this.#client, chunk);
  }

  fromServer(chunk: Uint8Array): void {
    this.#read("server", this.#server, chunk);
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
    this.#calls.endAll();
  }

  #read(side: "client" | "server", parser: StreamParser<never> | undefined, chunk: Uint8Array) {
    try {
      parser?.read(chunk);
    } catch (error) {
      this.#lose(side, error instanceof WireError ? error.reason : "internal-error");
    }
  }

  /** Stops reading a direction, if it is the client's also the other one. */
  #lose(side: "client" | "server", reason: CriProblem): void {
    try {
      this.#server = undefined;
      if (side === "client") this.closed();
      else this.#calls.endResponses();
      this.#note({ kind: "lost", side, reason });
    } catch {
      // An error of a callback must not affect the connection.
    }
  }
}

/** Handles the client's direction: the start of calls and their requests. */
function requests(calls: Calls): FrameSink {
  const headers = new HpackDecoder();
  return {
    headers(streamId, block, endStream) {
      let path = "";
      headers.decode(block, (name, value) => {
        if (name === ":path") path = value;
      });
      calls.open(streamId, endStream ? "" : path);
    },
    data: (streamId, piece) => calls.requestData(streamId, piece),
    reset: (streamId) => calls.drop(streamId),
  };
}

/** Handles the server's direction: responses and the end of calls. */
function responses(calls: Calls): FrameSink {
  const headers = new HpackDecoder();
  return {
    headers(streamId, block, endStream) {
      let status = "";
      let message = "";
      headers.decode(block, (name, value) => {
        if (name === "grpc-status") status = value;
        else if (name === "grpc-message") message = value;
      });
      if (endStream) calls.end(streamId, status, message);
    },
    data: (streamId, piece) => calls.responseData(streamId, piece),
    dataEnded: (streamId) => calls.drop(streamId),
    reset: (streamId) => calls.drop(streamId),
  };
}

type Method = "PullImage" | "RemoveImage";

/** The methods that are read. The fields that are read are the same in both versions. */
const METHODS: ReadonlyMap<string, Method> = new Map(
  ["v1", "v1alpha2"].flatMap((version) =>
    (["PullImage", "RemoveImage"] as const).map((method) =>
      [`/runtime.${version}.ImageService/${method}`, method] as const
    )
  ),
);

/** Labels and annotations of a pod may be large. */
const MAX_REQUEST_BYTES = 1_024 * 1_024;
const MAX_RESPONSE_BYTES = 4 * 1_024;
/** Limit of all incomplete messages of a connection. */
const MAX_BUFFERED_BYTES = 4 * 1_024 * 1_024;
/** Limit of tracked calls; the oldest one is dropped for a new one. */
const MAX_CALLS = 256;
/** Limit of calls in flight that are counted; gRPC servers allow far fewer. */
const MAX_STREAMS = 10_000;
const PREFIX_BYTES = 5;

/** A call whose messages are read. */
interface Call {
  readonly method: Method;
  readonly request: StreamParser<Uint8Array>;
  readonly response: StreamParser<Uint8Array>;
  /** After the request of a pull was read. */
  ticket?: PullTicket;
  /** After the request of a removal was read. */
  removedImage?: string;
  imageId: string | undefined;
}

/**
 * Tracks the calls of one connection, and reads those that pull or remove an image. A pull is
 * recorded when its request was read, a removal when its response reports success.
 */
class Calls {
  readonly #cache: PullCredentialCache;
  readonly #note: (note: CriNote) => void;
  /** Streams that the client has opened and the server has not ended. */
  readonly #open = new Set<number>();
  #newestStream = 0;
  /** The calls that are read, by stream, oldest first. */
  readonly #calls = new Map<number, Call>();
  #freeBytes = MAX_BUFFERED_BYTES;
  #readsResponses = true;

  constructor(cache: PullCredentialCache, note: (note: CriNote) => void) {
    this.#cache = cache;
    this.#note = note;
  }

  get inFlight(): number {
    return this.#open.size;
  }

  /** Starts a call. Trailers of the client, on a stream that has ended, do not start it again. */
  open(streamId: number, path: string): void {
    if (streamId > this.#newestStream) {
      this.#newestStream = streamId;
      if (this.#readsResponses && this.#open.size < MAX_STREAMS) this.#open.add(streamId);
    }
    const method = METHODS.get(path);
    if (method === undefined || this.#calls.has(streamId)) return;
    const [oldest] = this.#calls.keys();
    if (oldest !== undefined && this.#calls.size >= MAX_CALLS) this.#untrack(oldest);
    this.#calls.set(streamId, {
      method,
      request: new StreamParser(this.#readMessage(MAX_REQUEST_BYTES)),
      response: new StreamParser(this.#readMessage(MAX_RESPONSE_BYTES)),
      imageId: undefined,
    });
  }

  requestData(streamId: number, piece: Uint8Array): void {
    const call = this.#calls.get(streamId);
    if (call === undefined || call.request.done) return;
    try {
      const message = call.request.read(piece);
      if (message === undefined) return;
      if (call.method === "PullImage") call.ticket = this.#pull(message);
      else call.removedImage = readRemoveImageRequest(message);
    } catch (error) {
      this.#skip(call.method, error);
    }
    if (!this.#readsResponses) this.#endWithoutResponse(streamId, call);
  }

  responseData(streamId: number, piece: Uint8Array): void {
    const call = this.#calls.get(streamId);
    if (call?.method !== "PullImage") return;
    try {
      const message = call.response.read(piece);
      if (message !== undefined) call.imageId = readPullImageResponse(message);
    } catch (error) {
      // The pull then has no ID.
      if (!(error instanceof WireError)) throw error;
    }
  }

  /** Handles the end of a response. */
  end(streamId: number, grpcStatus: string, grpcMessage: string): void {
    const call = this.#calls.get(streamId);
    this.drop(streamId);
    if (call === undefined) return;
    const outcome = outcomeOf(grpcStatus, grpcMessage);
    const { ticket, removedImage, imageId } = call;
    if (removedImage !== undefined && outcome === "succeeded") this.#cache.forget(removedImage);
    if (ticket !== undefined) this.#cache.complete(ticket, outcome, imageId);
  }

  /** Ends a call whose outcome is unknown. */
  drop(streamId: number): void {
    this.#open.delete(streamId);
    this.#untrack(streamId);
  }

  endAll(): void {
    this.#open.clear();
    for (const streamId of this.#calls.keys()) this.#untrack(streamId);
  }

  /** Stops reading requests: drops the calls whose request is incomplete. */
  endRequests(): void {
    for (const [streamId, { request }] of this.#calls) if (!request.done) this.#untrack(streamId);
  }

  /** Stops reading responses: removals are now applied when they are requested. */
  endResponses(): void {
    this.#readsResponses = false;
    this.#open.clear();
    for (const [id, call] of this.#calls) {
      if (call.request.done) this.#endWithoutResponse(id, call);
    }
  }

  #endWithoutResponse(streamId: number, { removedImage }: Call): void {
    this.#untrack(streamId);
    if (removedImage !== undefined) this.#cache.forget(removedImage);
  }

  #untrack(streamId: number): void {
    const call = this.#calls.get(streamId);
    call?.request.stop();
    call?.response.stop();
    this.#calls.delete(streamId);
  }

  /**
   * Reads the first message of a gRPC stream: the methods that are read have only one. The message
   * is a view that is valid only until the next chunk.
   */
  *#readMessage(maxBytes: number): Parser<Uint8Array> {
    const [compression = 0, ...length] = yield* exactly(PREFIX_BYTES);
    const bytes = length.reduce((value, byte) => value * 256 + byte, 0);
    if (compression > 1) throw new WireError("malformed-message");
    if (compression === 1) throw new WireError("compressed");
    if (bytes > maxBytes) throw new WireError("message-too-large");
    if (bytes > this.#freeBytes) throw new WireError("buffer-limit");
    this.#freeBytes -= bytes;
    try {
      return yield* exactly(bytes);
    } finally {
      this.#freeBytes += bytes;
    }
  }

  #pull(message: Uint8Array): PullTicket {
    const request = readPullImageRequest(message);
    const { auth, pod } = request;
    const image = parsedImage(request.image);
    let credential: Credential | undefined;
    try {
      credential = pullCredential(auth, image);
    } catch (error) {
      this.#skip("PullImage", error, image.text);
    }
    return this.#cache.record(defined({ image, credential, pod }));
  }

  /** Reports that a message, or the credential in it, is skipped. */
  #skip(method: Method, error: unknown, image?: string): void {
    if (!(error instanceof WireError)) throw error;
    this.#note(defined({ kind: "skipped" as const, method, reason: error.reason, image }));
  }
}

function parsedImage(text: string): ImageReference {
  try {
    return parseImageReference(text);
  } catch {
    throw new WireError("malformed-image");
  }
}

const OK = "0";
const PERMISSION_DENIED = "7";
const UNAUTHENTICATED = "16";

/**
 * Error texts of registries and runtimes for a rejected credential. containerd reports most of them
 * with the code `UNKNOWN`, so only the text identifies them. "permission denied" is not included: it
 * comes from the file system.
 */
const REFUSAL = new RegExp(
  [
    "\\b40[13] (?:unauthorized|forbidden)\\b",
    "\\bstatus(?: code)?:? 40[13]\\b",
    "\\bunauthorized:",
    "\\bauthorization failed\\b",
    "\\bauthentication required\\b",
    "\\binsufficient_scope\\b",
    "\\bpull access denied\\b",
    "\\baccess to the resource is denied\\b",
    "\\bno basic auth credentials\\b",
    "\\bincorrect username or password\\b",
  ].join("|"),
  "i",
);

/**
 * Returns the outcome of a pull from its trailers. `refused` requires a response of the registry;
 * other failures are not evidence about the credential. The message is not stored.
 */
export function outcomeOf(grpcStatus: string, grpcMessage: string): PullOutcome {
  if (grpcStatus === OK) return "succeeded";
  if (grpcStatus === UNAUTHENTICATED || grpcStatus === PERMISSION_DENIED) return "refused";
  return REFUSAL.test(grpcMessage) ? "refused" : "failed";
}
