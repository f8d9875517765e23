import { defined, parseImageReference } from "../model/mod.ts";
import { pullCredential } from "./auth_config.ts";
import {
  readPullImageRequest,
  readPullImageResponse,
  readRemoveImageRequest,
} from "./cri_messages.ts";
import { BufferBudget, GrpcMessageReader } from "./grpc_messages.ts";
import type { CriNote, SkipReason } from "./notes.ts";
import type { PullCredentialCache, PullOutcome, PullTicket } from "./pull_credential_cache.ts";

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

interface Call {
  readonly method: Method;
  readonly request: GrpcMessageReader;
  readonly response: GrpcMessageReader;
  /** The content of the request, after it was read. */
  operation:
    | { readonly kind: "unread" }
    | { readonly kind: "pull"; readonly ticket: PullTicket }
    | { readonly kind: "removal"; readonly image: string };
  imageId?: string;
}

/**
 * Tracks the calls of one connection that pull or remove an image. A pull is recorded when its
 * request was read, a removal when its response reports success.
 */
export class Calls {
  readonly #cache: PullCredentialCache;
  readonly #note: (note: CriNote) => void;
  readonly #budget = new BufferBudget(MAX_BUFFERED_BYTES);
  /** By stream, oldest first. */
  readonly #calls = new Map<number, Call>();
  #readsResponses = true;

  constructor(cache: PullCredentialCache, note: (note: CriNote) => void) {
    this.#cache = cache;
    this.#note = note;
  }

  open(streamId: number, path: string): void {
    const method = METHODS.get(path);
    if (method === undefined || this.#calls.has(streamId)) return;
    const [oldest] = this.#calls.keys();
    if (oldest !== undefined && this.#calls.size >= MAX_CALLS) this.drop(oldest);
    this.#calls.set(streamId, {
      method,
      request: new GrpcMessageReader(MAX_REQUEST_BYTES, this.#budget),
      response: new GrpcMessageReader(MAX_RESPONSE_BYTES, this.#budget),
      operation: { kind: "unread" },
    });
  }

  wantsRequest(streamId: number): boolean {
    return this.#calls.get(streamId)?.request.done === false;
  }

  requestData(streamId: number, piece: Uint8Array): void {
    const call = this.#calls.get(streamId);
    call?.request.read(piece, (event) => {
      if (event.kind === "skipped") this.#skip(call.method, event.reason);
      else if (call.method === "PullImage") this.#pull(call, event.bytes);
      else this.#removal(call, event.bytes);
    });
    if (call?.request.done && !this.#readsResponses) this.#endWithoutResponse(streamId, call);
  }

  wantsResponse(streamId: number): boolean {
    const call = this.#calls.get(streamId);
    return call?.method === "PullImage" && !call.response.done;
  }

  responseData(streamId: number, piece: Uint8Array): void {
    const call = this.#calls.get(streamId);
    call?.response.read(piece, (event) => {
      const imageId = event.kind === "message" ? readPullImageResponse(event.bytes) : undefined;
      if (imageId !== undefined) call.imageId = imageId;
    });
  }

  /** Handles the end of a response. */
  end(streamId: number, grpcStatus: string, grpcMessage: string): void {
    const call = this.#calls.get(streamId);
    if (call === undefined) return;
    this.drop(streamId);
    const kind = outcomeOf(grpcStatus, grpcMessage);
    const { operation, imageId } = call;
    if (operation.kind === "removal" && kind === "succeeded") this.#cache.forget(operation.image);
    if (operation.kind !== "pull") return;
    const outcome = kind === "succeeded" ? defined({ kind, imageId }) : { kind };
    this.#cache.complete(operation.ticket, outcome);
  }

  /** Stops tracking a call whose outcome is unknown. */
  drop(streamId: number): void {
    const call = this.#calls.get(streamId);
    call?.request.release();
    call?.response.release();
    this.#calls.delete(streamId);
  }

  dropAll(): void {
    for (const streamId of this.#calls.keys()) this.drop(streamId);
  }

  /** Stops reading requests: drops the calls whose request is incomplete. */
  endRequests(): void {
    for (const [streamId, { request }] of this.#calls) if (!request.done) this.drop(streamId);
  }

  /** Stops reading responses: removals are now applied when they are requested. */
  endResponses(): void {
    this.#readsResponses = false;
    for (const [id, call] of this.#calls) {
      if (call.request.done) this.#endWithoutResponse(id, call);
    }
  }

  #endWithoutResponse(streamId: number, { operation }: Call): void {
    this.drop(streamId);
    if (operation.kind === "removal") this.#cache.forget(operation.image);
  }

  #pull(call: Call, message: Uint8Array): void {
    const request = readPullImageRequest(message);
    if (request === undefined) return this.#skip("PullImage", "malformed-message");
    let image;
    try {
      image = parseImageReference(request.image);
    } catch {
      return this.#skip("PullImage", "malformed-image");
    }
    const { pod } = request;
    const found = pullCredential(request.auth, image);
    if (found.kind === "skipped") this.#skip("PullImage", found.reason, image.text);
    const credential = found.kind === "credential" ? found.credential : undefined;
    const ticket = this.#cache.record(defined({ image, credential, pod }));
    call.operation = { kind: "pull", ticket };
  }

  #removal(call: Call, message: Uint8Array): void {
    const image = readRemoveImageRequest(message);
    if (image === undefined) return this.#skip("RemoveImage", "malformed-message");
    call.operation = { kind: "removal", image };
  }

  #skip(method: Method, reason: SkipReason, image?: string): void {
    this.#note(defined({ kind: "skipped" as const, method, reason, image }));
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
export function outcomeOf(grpcStatus: string, grpcMessage: string): PullOutcome["kind"] {
  if (grpcStatus === OK) return "succeeded";
  if (grpcStatus === UNAUTHENTICATED || grpcStatus === PERMISSION_DENIED) return "refused";
  return REFUSAL.test(grpcMessage) ? "refused" : "failed";
}
