import type { Clock } from "./ports.ts";

/** Waits for work that other callers share: an abort ends the wait, not the work. */
export async function abortable<T>(
  work: Promise<T>,
  signal: AbortSignal | undefined,
): Promise<T> {
  if (signal === undefined) return await work;
  signal.throwIfAborted();
  const { promise, reject } = Promise.withResolvers<never>();
  const abort = () => reject(signal.reason);
  signal.addEventListener("abort", abort, { once: true });
  try {
    return await Promise.race([work, promise]);
  } finally {
    signal.removeEventListener("abort", abort);
  }
}

/**
 * Runs at most `limit` tasks at a time, in the order of arrival.
 *
 * Invariants: the number of running tasks is `limit` minus the free permits, and a task waits only
 * while no permit is free. A task that ends passes its permit to the first waiting task.
 */
export class Semaphore {
  #free: number;
  readonly #waiting: (() => void)[] = [];

  constructor(limit: number) {
    this.#free = limit;
  }

  async run<T>(task: () => Promise<T>): Promise<T> {
    if (this.#free > 0) this.#free--;
    else await new Promise<void>((resolve) => this.#waiting.push(resolve));
    try {
      return await task();
    } finally {
      const next = this.#waiting.shift();
      if (next === undefined) this.#free++;
      else next();
    }
  }
}

/** How long a task may run before it yields to the event loop. */
const SLICE_MS = 8;

/**
 * Keeps a long task from blocking the event loop. Awaiting a promise that is already resolved does
 * not yield to timers and I/O, so a loop over many cached credentials would delay the HTTP servers
 * and the watchdog. Such a loop checks {@linkcode EventLoopYielder.isDue} between two items.
 *
 * Invariants: at most one sleep is pending; every caller that yields meanwhile awaits that one.
 */
export class EventLoopYielder {
  readonly #clock: Clock;
  #sinceMs: number;
  #pending: Promise<void> | undefined;

  constructor(clock: Clock) {
    this.#clock = clock;
    this.#sinceMs = clock.monotonicMs();
  }

  /** Whether the caller has to await {@linkcode EventLoopYielder.yield} before it continues. */
  get isDue(): boolean {
    return this.#pending !== undefined || this.#clock.monotonicMs() - this.#sinceMs >= SLICE_MS;
  }

  /** Yields to the event loop once. */
  async yield(): Promise<void> {
    await (this.#pending ??= this.#clock.sleep(0).finally(() => {
      this.#pending = undefined;
      this.#sinceMs = this.#clock.monotonicMs();
    }));
  }
}
