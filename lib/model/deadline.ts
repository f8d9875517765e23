/**
 * Aborts its signal after a time, or when the caller's signal aborts. Unlike `AbortSignal.timeout`
 * and `AbortSignal.any`, it holds neither memory nor the process once it is disposed: the timer and
 * the listener are removed.
 */
export class Deadline implements Disposable {
  readonly #own = new AbortController();
  readonly #outer: AbortSignal | undefined;
  #timer: ReturnType<typeof setTimeout> | undefined;
  #passed = false;

  /** @param ms Without it only `outer` and {@linkcode abort} end the wait. */
  constructor(ms: number | undefined, outer?: AbortSignal) {
    this.#outer = outer;
    outer?.addEventListener("abort", this.#follow);
    if (outer?.aborted) this.#follow();
    if (ms !== undefined) this.restart(ms);
  }

  get signal(): AbortSignal {
    return this.#own.signal;
  }

  /** Whether the time has passed, as opposed to the caller having aborted. */
  get passed(): boolean {
    return this.#passed;
  }

  /** Starts the time again. */
  restart(ms: number): void {
    clearTimeout(this.#timer);
    this.#timer = setTimeout(() => {
      this.#passed = true;
      this.abort(new DOMException("The deadline has passed", "TimeoutError"));
    }, ms);
  }

  /** Aborts at once, which releases what is still open. */
  abort(reason?: unknown): void {
    this.#own.abort(reason);
  }

  /** Rejects as soon as the signal aborts, although `work` may go on. */
  async race<T>(work: T | Promise<T>): Promise<T> {
    const { signal } = this;
    const aborted = Promise.withResolvers<never>();
    const abort = () => aborted.reject(signal.reason);
    signal.addEventListener("abort", abort);
    try {
      signal.throwIfAborted();
      return await Promise.race([work, aborted.promise]);
    } finally {
      signal.removeEventListener("abort", abort);
    }
  }

  [Symbol.dispose](): void {
    clearTimeout(this.#timer);
    this.#outer?.removeEventListener("abort", this.#follow);
  }

  readonly #follow = (): void => this.abort(this.#outer?.reason);
}
