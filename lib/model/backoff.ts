import { type Clock, type Random } from "./ports.ts";
import { type CredentialRequest } from "./provider.ts";
import { waitingCeilingMs } from "./retry_ceiling.ts";

const FIRST_MS = 1_000;
const MAX_MS = 5 * 60_000;
const URGENT_MAX_MS = 5_000;

/** What a backoff reckons with. */
export interface BackoffOptions {
  readonly clock: Clock;
  /** Without it the whole ceiling is waited. */
  readonly random?: Random;
}

/**
 * The pause after failures: somewhere between one second and a ceiling that doubles with each
 * failure in a row, up to five minutes. Drawn once a failure, so that asking often does not shorten
 * it, and kept on the monotonic clock, so that a step of the wall clock does not either.
 */
export class Backoff {
  readonly #options: BackoffOptions;
  #failures = 0;
  #failedAtMs = -Infinity;
  #ceilingMs = 0;
  #draw = 0;

  constructor(options: BackoffOptions) {
    this.#options = options;
  }

  /** Failures in a row since the last success. */
  get failures(): number {
    return this.#failures;
  }

  /**
   * How long to wait yet (ms); 0 = go ahead. Urgency cuts the pause to five seconds; who has no
   * credential at all waits up to twenty seconds for the first minutes; what a person asked for
   * waits for no failure from before.
   */
  remainingMs(
    { urgent = false, waiting = false, forcedAtMs = -Infinity }: Pick<
      CredentialRequest,
      "urgent" | "waiting" | "forcedAtMs"
    > = {},
  ): number {
    if (this.#failures === 0 || this.#failedAtMs < forcedAtMs) return 0;
    const ceilingMs = waiting
      ? Math.min(this.#ceilingMs, waitingCeilingMs(this.#failures))
      : this.#ceilingMs;
    const drawnMs = FIRST_MS + this.#draw * Math.max(0, ceilingMs - FIRST_MS);
    const delayMs = urgent ? Math.min(drawnMs, URGENT_MAX_MS) : drawnMs;
    return Math.max(0, this.#failedAtMs + delayMs - this.#options.clock.monotonicMs());
  }

  /**
   * @param startedAtMs Monotonic time at which the attempt began: attempts that ran side by side
   * and failed together are one step.
   * @param maxMs A lower limit, for what is cheap to try again.
   */
  failed(startedAtMs: number, maxMs = MAX_MS): void {
    const { clock, random } = this.#options;
    const together = this.#failures > 0 && startedAtMs < this.#failedAtMs;
    if (!together) this.#failures++;
    this.#ceilingMs = Math.min(FIRST_MS * 2 ** Math.min(this.#failures, 20), MAX_MS, maxMs);
    this.#draw = random?.next() ?? 1;
    this.#failedAtMs = clock.monotonicMs();
  }

  succeeded(): void {
    this.#failures = 0;
    this.#failedAtMs = -Infinity;
    this.#ceilingMs = 0;
  }
}
