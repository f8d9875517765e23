import type { Clock } from "./ports.ts";
import type { ImageReference } from "./image_reference.ts";

/** What waiting for answers takes. */
export interface AnswerDeadlineOptions {
  readonly clock: Clock;
  /** How long an answer is waited for. */
  readonly timeoutMs: number;
  /** Called when an answer that was no longer waited for has arrived. */
  readonly late: (image: ImageReference) => void;
}

/** How one answer is waited for. */
export interface Wait<T> {
  /** What answers: a provider, a plugin, a credential helper. */
  readonly source: string;
  readonly image: ImageReference;
  /** What takes the answer's place; called with the reason in words. */
  readonly otherwise: (detail: string) => T;
  /** Whether an answer brings nothing: then it is of no interest when it is late. */
  readonly isFailure: (answer: T) => boolean;
  /** Time beyond the deadline for an answer that is composed of others under the same deadline. */
  readonly extraMs?: number;
}

/** While an earlier answer of the same source is overdue: enough for one from a cache. */
const OVERDUE_TIMEOUT_MS = 100;

/**
 * Bounds how long answers are waited for. The work behind an answer goes on: its result is cached
 * where it is made, and reported when it arrives.
 */
export class AnswerDeadline {
  readonly #options: AnswerDeadlineOptions;
  /** By source: how many answers are overdue. Its callers do not wait as long again. */
  readonly #overdue = new Map<string, number>();

  constructor(options: AnswerDeadlineOptions) {
    this.#options = options;
  }

  /** Returns the answer if it arrives in time. Rejects as the answer does. */
  async wait<T>(answer: Promise<T>, wait: Wait<T>): Promise<T> {
    const { source, otherwise, extraMs = 0 } = wait;
    const { clock, timeoutMs } = this.#options;
    const isOverdue = this.#overdue.has(source);
    const waitMs = isOverdue ? Math.min(OVERDUE_TIMEOUT_MS, timeoutMs) : timeoutMs;
    const inSync = new AbortController();
    const timedOut = Symbol();
    const timer = clock.sleep(waitMs + extraMs, inSync)
      .then(() => timedOut, () => timedOut); // aborted: the race is over
    try {
      const first = await Promise.race([answer, timer]);
      if (first !== timedOut) return first as T;
    } finally {
      inSync.abort();
    }
    this.#follow(answer, wait);
    return otherwise(
      `no answer within ${timeoutMs / 1000} s${isOverdue ? ", as before" : ""}; ` +
        "it is used when it arrives",
    );
  }

  #follow<T>(answer: Promise<T>, { source, image, isFailure }: Wait<T>): void {
    this.#overdue.set(source, (this.#overdue.get(source) ?? 0) + 1);
    answer.then((late) => !isFailure(late), () => false).then((isOfUse) => {
      const others = (this.#overdue.get(source) ?? 1) - 1;
      if (others === 0) this.#overdue.delete(source);
      else this.#overdue.set(source, others);
      if (isOfUse) this.#options.late(image);
    });
  }
}
