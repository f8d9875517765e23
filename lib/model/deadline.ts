import type { CallOptions, Clock } from "./ports.ts";

/**
 * Sleeps until the monotonic clock is at the next multiple of an interval. Loops whose intervals are
 * multiples of each other then run in the same wakeup of the process.
 */
export function sleepToNextTick(
  clock: Clock,
  intervalMs: number,
  options: CallOptions,
): Promise<void> {
  // Whole milliseconds: a timer that fires early would run the loop twice.
  return clock.sleep(Math.ceil(intervalMs - clock.monotonicMs() % intervalMs), options);
}

/**
 * Aborts its signal after a time, or when the caller's signal aborts. Unlike `AbortSignal.timeout`
 * and `AbortSignal.any`, it removes its timer and its listener when it is disposed, so it neither
 * leaks memory nor keeps the process running.
 */
export class Deadline implements Disposable {
  readonly #controller = new AbortController();
  readonly #outer: AbortSignal | undefined;
  #timer: ReturnType<typeof setTimeout> | undefined;
  #passed = false;

  /** @param ms If undefined, only `outer` and {@linkcode abort} abort the signal. */
  constructor(ms: number | undefined, outer?: AbortSignal) {
    this.#outer = outer;
    outer?.addEventListener("abort", this.#follow);
    if (outer?.aborted) this.#follow();
    if (ms !== undefined) this.restart(ms);
  }

  get signal(): AbortSignal {
    return this.#controller.signal;
  }

  /** Whether the time has passed, as opposed to an abort by the caller. */
  get passed(): boolean {
    return this.#passed;
  }

  /** Restarts the timer. */
  restart(ms: number): void {
    clearTimeout(this.#timer);
    this.#timer = setTimeout(() => {
      this.#passed = true;
      this.abort(new DOMException("The deadline has passed", "TimeoutError"));
    }, ms);
  }

  /** Aborts immediately, which releases everything that waits for the signal. */
  abort(reason?: unknown): void {
    this.#controller.abort(reason);
  }

  /** Waits for `work`; rejects as soon as the signal aborts, although `work` may continue. */
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
