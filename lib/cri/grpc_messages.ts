import { ByteBuffer } from "./http2_frames.ts";
import type { SkipReason } from "./notes.ts";

const PREFIX_BYTES = 5;

/** The memory limit of all incomplete messages of one connection. */
export class BufferBudget {
  #free: number;

  constructor(bytes: number) {
    this.#free = bytes;
  }

  take(bytes: number): boolean {
    if (bytes > this.#free) return false;
    this.#free -= bytes;
    return true;
  }

  give(bytes: number): void {
    this.#free += bytes;
  }
}

/** Result of reading a message. The bytes are a view that is valid only during the call. */
export type MessageEvent =
  | { readonly kind: "message"; readonly bytes: Uint8Array }
  | { readonly kind: "skipped"; readonly reason: SkipReason };

/**
 * Assembles the first message of a gRPC stream from its DATA frames and ignores the rest: the methods
 * that are read have one message.
 */
export class GrpcMessageReader {
  readonly #maxBytes: number;
  readonly #budget: BufferBudget;
  readonly #prefix: number[] = [];
  readonly #body = new ByteBuffer();
  #length = 0;
  #taken = 0;
  #done = false;

  constructor(maxBytes: number, budget: BufferBudget) {
    this.#maxBytes = maxBytes;
    this.#budget = budget;
  }

  /** Whether the message was read or skipped, so that further data is ignored. */
  get done(): boolean {
    return this.#done;
  }

  /** Reads data. Calls `found` once, with the message or the reason why it was skipped. */
  read(piece: Uint8Array, found: (event: MessageEvent) => void): void {
    if (this.#done) return;
    let at = 0;
    while (this.#prefix.length < PREFIX_BYTES && at < piece.length) {
      this.#prefix.push(piece[at++] ?? 0);
      if (this.#prefix.length < PREFIX_BYTES) continue;
      const reason = this.#begin();
      if (reason !== undefined) return this.#end(found, { kind: "skipped", reason });
    }
    if (this.#prefix.length < PREFIX_BYTES) return;
    const wanted = this.#length - this.#body.length;
    const part = piece.subarray(at, at + wanted);
    if (part.length === wanted && this.#body.length === 0) {
      return this.#end(found, { kind: "message", bytes: part });
    }
    if (this.#taken === 0) {
      if (!this.#budget.take(this.#length)) {
        return this.#end(found, { kind: "skipped", reason: "buffer-limit" });
      }
      this.#taken = this.#length;
    }
    this.#body.append(part);
    if (part.length === wanted) this.#end(found, { kind: "message", bytes: this.#body.view() });
  }

  /** Frees the buffer. Call this when the stream ends. */
  release(): void {
    this.#done = true;
    this.#body.clear();
    this.#budget.give(this.#taken);
    this.#taken = 0;
  }

  /** Reads the prefix: a compression flag and the length of the message. */
  #begin(): SkipReason | undefined {
    const [flag = 0, a = 0, b = 0, c = 0, d = 0] = this.#prefix;
    this.#length = a * 2 ** 24 + (b << 16 | c << 8 | d);
    if (flag > 1) return "malformed-message";
    if (flag === 1) return "compressed";
    return this.#length > this.#maxBytes ? "message-too-large" : undefined;
  }

  #end(found: (event: MessageEvent) => void, event: MessageEvent): void {
    this.#done = true;
    try {
      found(event);
    } finally {
      this.release();
    }
  }
}
