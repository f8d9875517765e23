const FIRST_BYTES = 1_024;
/** A larger store is given back after use. */
const KEPT_BYTES = 16 * 1_024;

/** Bytes that arrive in pieces, copied into one store that grows as they come. */
export class GatheredBytes {
  #store = new Uint8Array(0);
  #length = 0;

  get length(): number {
    return this.#length;
  }

  append(piece: Uint8Array): void {
    const needed = this.#length + piece.length;
    if (needed > this.#store.length) {
      const larger = new Uint8Array(Math.max(needed, this.#store.length * 2, FIRST_BYTES));
      larger.set(this.#store.subarray(0, this.#length));
      this.#store.fill(0);
      this.#store = larger;
    }
    this.#store.set(piece, this.#length);
    this.#length = needed;
  }

  /** A view, good until the next call. */
  view(): Uint8Array {
    return this.#store.subarray(0, this.#length);
  }

  /** Forgets the bytes; they may be secret, so they do not stay in memory. */
  clear(): void {
    this.#store.fill(0, 0, this.#length);
    this.#length = 0;
    if (this.#store.length > KEPT_BYTES) this.#store = new Uint8Array(0);
  }
}
