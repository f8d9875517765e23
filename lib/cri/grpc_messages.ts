import { GatheredBytes } from "./gathered_bytes.ts";
import type { SkipReason } from "./notes.ts";

const PREFIX_BYTES = 5;

/** What the messages of one connection may hold together while they are unfinished. */
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

/** What a piece of a stream's data led to. The bytes are a view, good during the call only. */
export type MessageEvent =
  | { readonly kind: "message"; readonly bytes: Uint8Array }
  | { readonly kind: "skipped"; readonly reason: SkipReason };

/**
 * Puts together the first message of a gRPC stream, however it lies over DATA frames; all methods
 * that are read have one. What follows it is passed over.
 */
export class GrpcMessageReader {
  readonly #maxBytes: number;
  readonly #budget: BufferBudget;
  readonly #prefix: number[] = [];
  readonly #body = new GatheredBytes();
  #length = 0;
  #taken = 0;
  #done = false;

  constructor(maxBytes: number, budget: BufferBudget) {
    this.#maxBytes = maxBytes;
    this.#budget = budget;
  }

  /** Whether more data can lead to anything. */
  get done(): boolean {
    return this.#done;
  }

  /** Hands the message or the reason for its absence to `found`, once. */
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
        return this.#end(found, { kind: "skipped", reason: "too-much-at-once" });
      }
      this.#taken = this.#length;
    }
    this.#body.append(part);
    if (part.length === wanted) this.#end(found, { kind: "message", bytes: this.#body.view() });
  }

  /** Gives up what it holds. Call it when the stream ends. */
  release(): void {
    this.#done = true;
    this.#body.clear();
    this.#budget.give(this.#taken);
    this.#taken = 0;
  }

  /** Reads the prefix: one byte that tells whether the message is compressed, and its length. */
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
