const EVERY_MS = 1;

/** Measures for how long the event loop did not turn. */
export class LoopDelay implements Disposable {
  readonly #timer: ReturnType<typeof setInterval>;
  #lastMs = performance.now();
  #mostMs = 0;

  constructor() {
    this.#timer = setInterval(() => this.#turn(), EVERY_MS);
  }

  /** The longest time between two turns since the last question (ms). */
  take(): number {
    this.#turn();
    const mostMs = this.#mostMs;
    this.#mostMs = 0;
    return mostMs;
  }

  [Symbol.dispose](): void {
    clearInterval(this.#timer);
  }

  #turn(): void {
    const nowMs = performance.now();
    this.#mostMs = Math.max(this.#mostMs, nowMs - this.#lastMs - EVERY_MS);
    this.#lastMs = nowMs;
  }
}
