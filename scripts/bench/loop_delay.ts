const EVERY_MS = 1;

/** Measures the event loop delay. */
export class LoopDelay implements Disposable {
  readonly #timer: ReturnType<typeof setInterval>;
  #lastMs = performance.now();
  #maxMs = 0;

  constructor() {
    this.#timer = setInterval(() => this.#sample(), EVERY_MS);
  }

  /** Returns the longest delay (ms) since the last call, and resets it. */
  take(): number {
    this.#sample();
    const maxMs = this.#maxMs;
    this.#maxMs = 0;
    return maxMs;
  }

  [Symbol.dispose](): void {
    clearInterval(this.#timer);
  }

  #sample(): void {
    const nowMs = performance.now();
    this.#maxMs = Math.max(this.#maxMs, nowMs - this.#lastMs - EVERY_MS);
    this.#lastMs = nowMs;
  }
}
