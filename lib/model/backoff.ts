import { setNewest } from "./defined.ts";
import type { Clock, Random } from "./ports.ts";
import type { CredentialRequest, RefusedCredential } from "./provider.ts";

const FIRST_MS = 1_000;
const MAX_MS = 5 * 60_000;
const URGENT_MAX_MS = 5_000;
const WAITING_CEILING_MS = 20_000;
/** About ten minutes of failures; a fleet that boots together has credentials by then. */
const WAITING_FAILURES = 60;
const MAX_SCOPES = 4_096;

interface BackoffOptions {
  readonly clock: Clock;
  /** Source of the jitter; without it every delay is the whole ceiling. */
  readonly random?: Random;
}

/** The parts of a request that shorten a delay. */
type Urgency = Pick<CredentialRequest, "urgent" | "waiting" | "forcedAtMs">;

/**
 * Returns the longest delay (ms) after a number of failures in a row while an image has no
 * credential of any source yet.
 *
 * If the delay kept doubling, the last nodes of a fleet that booted together would sleep while the
 * token service is idle. So it stays at 20 s for as long as such a boot may take (10,000 nodes at
 * 20 calls per second: 490 s) and grows to five minutes only after that.
 */
export function waitingCeilingMs(failures: number): number {
  if (failures <= WAITING_FAILURES) return Math.min(FIRST_MS * 2 ** failures, WAITING_CEILING_MS);
  return Math.min(WAITING_CEILING_MS * 2 ** (failures - WAITING_FAILURES), MAX_MS);
}

/**
 * Exponential backoff with jitter: the delay is between one second and a ceiling that doubles with
 * each failure in a row, up to five minutes. The jitter is chosen once per failure, so that frequent
 * calls do not shorten the delay, and elapsed time is monotonic, so that a step of the wall clock
 * does not either.
 */
export class Backoff {
  readonly #options: BackoffOptions;
  #failures = 0;
  #failedAtMs = 0;
  #ceilingMs = 0;
  #jitter = 0;

  constructor(options: BackoffOptions) {
    this.#options = options;
  }

  /** Failures in a row since the last success. */
  get failures(): number {
    return this.#failures;
  }

  /**
   * Returns the remaining delay (ms), 0 if the next attempt may start. `urgent` limits the delay to
   * five seconds, `waiting` to {@linkcode waitingCeilingMs}; a failure before `forcedAtMs` causes
   * no delay.
   */
  remainingMs({ urgent = false, waiting = false, forcedAtMs = -Infinity }: Urgency = {}): number {
    if (this.#failures === 0 || this.#failedAtMs < forcedAtMs) return 0;
    const ceilingMs = waiting
      ? Math.min(this.#ceilingMs, waitingCeilingMs(this.#failures))
      : this.#ceilingMs;
    const jitteredMs = FIRST_MS + this.#jitter * Math.max(0, ceilingMs - FIRST_MS);
    const delayMs = urgent ? Math.min(jitteredMs, URGENT_MAX_MS) : jitteredMs;
    return Math.max(0, this.#failedAtMs + delayMs - this.#options.clock.monotonicMs());
  }

  /**
   * Records a failure.
   *
   * @param startedAtMs Monotonic time at which the attempt started; attempts that ran in parallel
   * and failed count as one failure.
   * @param maxMs A lower ceiling, for attempts that are cheap.
   */
  failed(startedAtMs: number, maxMs = MAX_MS): void {
    const { clock, random } = this.#options;
    const isParallel = this.#failures > 0 && startedAtMs < this.#failedAtMs;
    if (!isParallel) this.#failures++;
    this.#ceilingMs = Math.min(FIRST_MS * 2 ** this.#failures, MAX_MS, maxMs);
    this.#jitter = random?.next() ?? 1;
    this.#failedAtMs = clock.monotonicMs();
  }

  /** Records a success, which ends the delay. */
  succeeded(): void {
    this.#failures = 0;
  }
}

/**
 * Tracks the backoff of one program, both overall and per scope. A program that hangs delays every
 * scope after one execution; a program that fails for one scope delays the others only briefly.
 */
export class ScopedBackoff {
  readonly #options: BackoffOptions;
  /** Failures over all scopes without a success in between. */
  readonly #overall: Backoff;
  readonly #byScope = new Map<string, Backoff>();

  constructor(options: BackoffOptions) {
    this.#options = options;
    this.#overall = new Backoff(options);
  }

  /** Whether the last execution failed. */
  get isFailing(): boolean {
    return this.#overall.failures > 0;
  }

  /** Returns the failures in a row of the program or of the scope, whichever is more. */
  failures(scope: string): number {
    return Math.max(this.#overall.failures, this.#byScope.get(scope)?.failures ?? 0);
  }

  /** Returns the remaining delay (ms) for a scope, 0 if the program may be executed. */
  remainingMs(scope: string, urgency: Urgency): number {
    const own = this.#byScope.get(scope)?.remainingMs(urgency) ?? 0;
    return Math.max(this.#overall.remainingMs(urgency), own);
  }

  /**
   * Records a failure.
   *
   * @param scope Undefined if the scope is not known; the overall delay applies then.
   * @param startedAtMs Monotonic time at which the execution started.
   * @param maxMs A lower ceiling, for attempts that are cheap.
   */
  failed(scope: string | undefined, startedAtMs: number, maxMs?: number): void {
    this.#overall.failed(startedAtMs, maxMs);
    if (scope === undefined) return;
    const backoff = this.#byScope.get(scope) ?? new Backoff(this.#options);
    backoff.failed(startedAtMs, maxMs);
    setNewest(this.#byScope, scope, backoff, MAX_SCOPES);
  }

  /** Records a success, which ends the overall delay and that of the scope. */
  succeeded(scope: string): void {
    this.#overall.succeeded();
    this.#byScope.delete(scope);
  }
}

/** Refusals of one subject. */
interface Refusal {
  /** Forced fetches in a row. */
  readonly forced: number;
  readonly lastForcedMs: number;
  /** When the last refusal was reported, whether or not it forced a fetch. */
  readonly lastReportedMs: number;
  /** Fingerprint of the credential whose refusal forced the last fetch. */
  readonly fingerprint: string | undefined;
  /** Remaining resets, as of `lastReportedMs`. */
  readonly resets: number;
}

const FORCE_FIRST_MS = 5_000;
const FORCE_MAX_MS = 5 * 60_000;
/** Earlier refusals are forgotten after this time without another. */
const CALM_PERIOD_MS = 10 * 60_000;
/** Resets in a burst; one more is allowed every {@linkcode RESET_INTERVAL_MS}. */
const MAX_RESETS = 10;
const RESET_INTERVAL_MS = 60_000;
const MAX_SUBJECTS = 10_000;
const NO_REFUSAL: Refusal = {
  forced: 0,
  lastForcedMs: -Infinity,
  lastReportedMs: -Infinity,
  fingerprint: undefined,
  resets: MAX_RESETS,
};

/**
 * Decides whether a refusal may force a fetch: immediately the first time, then with a delay that
 * doubles, so that a registry that refuses everything does not cause endless executions.
 *
 * The delay is reset when a credential that had worked is refused, unless it is the one that forced
 * the last fetch less than a minute ago: a registry that refuses every tenth read must not cause a
 * fetch for each of them. Credentials that are revoked in quick succession reset it up to ten times,
 * and once more per minute.
 */
export class Refusals {
  readonly #byKey = new Map<string, Refusal>();

  /** Returns whether to force a fetch now (monotonic time), and records the decision. */
  mayForce(key: string, nowMs: number, use: Partial<RefusedCredential> = {}): boolean {
    const before = this.#byKey.get(key) ?? NO_REFUSAL;
    const { lastForcedMs, lastReportedMs, fingerprint } = before;
    const resets = Math.min(
      MAX_RESETS,
      before.resets + (nowMs - lastReportedMs) / RESET_INTERVAL_MS,
    );
    const isOther = use.fingerprint !== fingerprint || nowMs - lastForcedMs >= RESET_INTERVAL_MS;
    const isReset = use.worked === true && isOther && resets >= 1;
    const forced = isReset || nowMs - lastReportedMs >= CALM_PERIOD_MS ? 0 : before.forced;
    const delayMs = Math.min(FORCE_FIRST_MS * 2 ** (forced - 1), FORCE_MAX_MS);
    const may = forced === 0 || nowMs - lastForcedMs >= delayMs;
    const refusal: Refusal = {
      ...before,
      ...(may && { lastForcedMs: nowMs, fingerprint: use.fingerprint }),
      forced: may ? forced + 1 : forced,
      lastReportedMs: nowMs,
      resets: isReset ? resets - 1 : resets,
    };
    setNewest(this.#byKey, key, refusal, MAX_SUBJECTS);
    return may;
  }
}
