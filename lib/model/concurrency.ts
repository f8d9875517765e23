import type { ImageReference } from "./image_reference.ts";
import type { CallOptions, Clock } from "./ports.ts";

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

/** Sleeps to the end of an interval of {@linkcode Clock.every}. Resolves to its delay in ms. */
export async function sleepToNextTick(
  clock: Clock,
  intervalMs: number,
  { signal }: CallOptions,
): Promise<number> {
  const { promise, resolve } = Promise.withResolvers<number>();
  const timer = clock.every(intervalMs, resolve);
  try {
    return await abortable(promise, signal);
  } finally {
    timer[Symbol.dispose]();
  }
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

/** Waits for work that other callers share: an abort ends the wait, not the work. */
export async function abortable<T>(work: Promise<T>, signal: AbortSignal | undefined): Promise<T> {
  const deadline = new Deadline(undefined, signal);
  try {
    return await deadline.race(work);
  } finally {
    deadline[Symbol.dispose](); // not `using`: the minifier drops it for a value that is used once
  }
}

interface AnswerDeadlineOptions {
  readonly clock: Clock;
  /** How long to wait for an answer. */
  readonly timeoutMs: number;
  /** Called when an answer arrives after its deadline. */
  readonly onLateAnswer: (image: ImageReference) => void;
}

/** How to wait for one answer. */
interface WaitOptions<T> {
  /** The provider, plugin or credential helper that answers. */
  readonly source: string;
  readonly image: ImageReference;
  /** Returns the result to use when the deadline passes. */
  readonly onTimeout: (detail: string) => T;
  /** Whether an answer has no credential; such an answer is not reported when it is late. */
  readonly isFailure: (answer: T) => boolean;
  /** Time beyond the deadline, for an answer that waits for others under the same deadline. */
  readonly extraMs?: number;
}

/** Deadline while an earlier answer of the source is overdue: enough for a cached answer. */
const OVERDUE_TIMEOUT_MS = 100;

/**
 * Limits how long callers wait for answers. The work itself continues: its result is cached by the
 * source and reported when it arrives.
 *
 * Invariants: `#overdue` has a source once for each of its answers that is past its deadline and
 * still pending.
 */
export class AnswerDeadline {
  readonly #options: AnswerDeadlineOptions;
  /** The source of each overdue answer. */
  readonly #overdue: string[] = [];

  constructor(options: AnswerDeadlineOptions) {
    this.#options = options;
  }

  /** Returns the answer if it arrives before the deadline. Rejects if the answer does. */
  async wait<T>(answer: Promise<T>, options: WaitOptions<T>): Promise<T> {
    const { source, onTimeout, extraMs = 0 } = options;
    const { clock, timeoutMs } = this.#options;
    const isOverdue = this.#overdue.includes(source);
    const waitMs = isOverdue ? Math.min(OVERDUE_TIMEOUT_MS, timeoutMs) : timeoutMs;
    const answered = new AbortController();
    const timedOut = Symbol();
    const timer = clock.sleep(waitMs + extraMs, answered)
      .then(() => timedOut, () => timedOut); // aborted: the race is over
    try {
      const first = await Promise.race([answer, timer]);
      if (first !== timedOut) return first as T;
    } finally {
      answered.abort();
    }
    this.#follow(answer, options);
    return onTimeout(
      `no answer within ${timeoutMs / 1000} s${isOverdue ? ", as before" : ""}; ` +
        "it is used when it arrives",
    );
  }

  #follow<T>(answer: Promise<T>, { source, image, isFailure }: WaitOptions<T>): void {
    this.#overdue.push(source);
    answer.then((late) => !isFailure(late), () => false).then((isUsable) => {
      this.#overdue.splice(this.#overdue.indexOf(source), 1);
      if (isUsable) this.#options.onLateAnswer(image);
    });
  }
}
