import type { Clock } from "./ports.ts";
import type { ImageReference } from "./image_reference.ts";

/** Options of an {@linkcode AnswerDeadline}. */
export interface AnswerDeadlineOptions {
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
 * Invariants: `#overdue` has an entry for a source exactly while at least one of its answers is
 * past its deadline and still pending.
 */
export class AnswerDeadline {
  readonly #options: AnswerDeadlineOptions;
  /** Number of overdue answers by source. */
  readonly #overdue = new Map<string, number>();

  constructor(options: AnswerDeadlineOptions) {
    this.#options = options;
  }

  /** Returns the answer if it arrives before the deadline. Rejects if the answer does. */
  async wait<T>(answer: Promise<T>, options: WaitOptions<T>): Promise<T> {
    const { source, onTimeout, extraMs = 0 } = options;
    const { clock, timeoutMs } = this.#options;
    const isOverdue = this.#overdue.has(source);
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
    this.#overdue.set(source, (this.#overdue.get(source) ?? 0) + 1);
    answer.then((late) => !isFailure(late), () => false).then((isUsable) => {
      const others = (this.#overdue.get(source) ?? 1) - 1;
      if (others === 0) this.#overdue.delete(source);
      else this.#overdue.set(source, others);
      if (isUsable) this.#options.onLateAnswer(image);
    });
  }
}
