import { parseImageReference } from "../model/mod.ts";
import { pullCredential } from "./auth_config.ts";
import {
  readPullImageRequest,
  readPullImageResponse,
  readRemoveImageRequest,
} from "./cri_messages.ts";
import { BufferBudget, GrpcMessageReader } from "./grpc_messages.ts";
import type { CriNote, SkipReason } from "./notes.ts";
import type { PullTicket } from "./pull.ts";
import type { PullCredentialCache } from "./pull_credential_cache.ts";
import { outcomeOf } from "./pull_outcome.ts";

type Method = "PullImage" | "RemoveImage";

/** The methods that are read. The old version has the same messages, as far as they are read. */
const METHODS: ReadonlyMap<string, Method> = new Map(
  ["v1", "v1alpha2"].flatMap((version) =>
    (["PullImage", "RemoveImage"] as const).map((method) =>
      [`/runtime.${version}.ImageService/${method}`, method] as const
    )
  ),
);

/** Labels and annotations of a pod may be large; the credential is not. */
const MAX_REQUEST_BYTES = 1_024 * 1_024;
const MAX_RESPONSE_BYTES = 4 * 1_024;
/** All unfinished messages of a connection. */
const MAX_BUFFERED_BYTES = 4 * 1_024 * 1_024;
/** Calls in flight; the one that has waited longest for its answer is given up for a new one. */
const MAX_CALLS = 256;

interface Call {
  readonly method: Method;
  readonly request: GrpcMessageReader;
  readonly response: GrpcMessageReader;
  /** What the request said, once it was read. */
  asked:
    | { readonly kind: "nothing" }
    | { readonly kind: "pull"; readonly ticket: PullTicket }
    | { readonly kind: "removal"; readonly image: string };
  imageId?: string;
}

/**
 * The calls of one connection that pull or remove an image, from request to answer. A pull is
 * written down when its request was read, a removal when it was answered with success.
 */
export class Calls {
  readonly #book: PullCredentialCache;
  readonly #note: (note: CriNote) => void;
  readonly #budget = new BufferBudget(MAX_BUFFERED_BYTES);
  /** By stream, in the order of their beginning. */
  readonly #calls = new Map<number, Call>();
  #answered = true;

  constructor(book: PullCredentialCache, note: (note: CriNote) => void) {
    this.#book = book;
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
      asked: { kind: "nothing" },
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
    if (call?.request.done && !this.#answered) this.#unanswered(streamId, call);
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

  /** The answer is complete. */
  answer(streamId: number, grpcStatus: string, grpcMessage: string): void {
    const call = this.#calls.get(streamId);
    if (call === undefined) return;
    this.drop(streamId);
    const kind = outcomeOf(grpcStatus, grpcMessage);
    const { asked, imageId } = call;
    if (asked.kind === "removal" && kind === "succeeded") this.#book.forget(asked.image);
    if (asked.kind !== "pull") return;
    const outcome = kind === "succeeded"
      ? { kind, ...(imageId !== undefined && { imageId }) }
      : { kind };
    this.#book.settle(asked.ticket, outcome);
  }

  /** The call is over without an answer: what it asked stays as it is. */
  drop(streamId: number): void {
    const call = this.#calls.get(streamId);
    call?.request.release();
    call?.response.release();
    this.#calls.delete(streamId);
  }

  dropAll(): void {
    for (const streamId of this.#calls.keys()) this.drop(streamId);
  }

  /** No more requests will be read: only those that were are still of interest. */
  endRequests(): void {
    for (const [streamId, { request }] of this.#calls) if (!request.done) this.drop(streamId);
  }

  /** No more answers will be read: from now on the request alone counts. */
  endAnswers(): void {
    this.#answered = false;
    for (const [id, call] of this.#calls) if (call.request.done) this.#unanswered(id, call);
  }

  #unanswered(streamId: number, { asked }: Call): void {
    this.drop(streamId);
    if (asked.kind === "removal") this.#book.forget(asked.image);
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
    const ticket = this.#book.record({
      image,
      ...(found.kind === "credential" && { credential: found.credential }),
      ...(pod && { pod }),
    });
    call.asked = { kind: "pull", ticket };
  }

  #removal(call: Call, message: Uint8Array): void {
    const image = readRemoveImageRequest(message);
    if (image === undefined) return this.#skip("RemoveImage", "malformed-message");
    call.asked = { kind: "removal", image };
  }

  #skip(method: Method, reason: SkipReason, image?: string): void {
    this.#note({ kind: "skipped", method, reason, ...(image !== undefined && { image }) });
  }
}
