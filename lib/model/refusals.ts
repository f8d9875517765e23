/** Refusals of one subject. */
interface Refusal {
  /** Forced fetches in a row. */
  readonly forced: number;
  readonly lastForcedMs: number;
  /** When the last refusal was reported, whether or not it forced a fetch. */
  readonly lastReportedMs: number;
  /** Fingerprint of the credential whose refusal forced the last fetch. */
  readonly fingerprint: string | undefined;
  /** Remaining early resets, as of `resetsAtMs`. */
  readonly resets: number;
  readonly resetsAtMs: number;
}

/** What is known about a refused credential. */
export interface RefusedUse {
  readonly fingerprint?: string;
  /** Whether reads with it succeeded before, so that this refusal has a new cause. */
  readonly worked?: boolean;
}

const FIRST_MS = 5_000;
const MAX_MS = 5 * 60_000;
/** Earlier refusals are forgotten after this time without another. */
const CALM_PERIOD_MS = 10 * 60_000;
/** Shortest time between two resets of the delay by a credential that had worked. */
const RESET_INTERVAL_MS = 60_000;
/** Early resets in a burst; one more is allowed every {@linkcode RESET_INTERVAL_MS}. */
const MAX_RESETS = 10;
const MAX_SUBJECTS = 10_000;

/**
 * Decides whether a refusal may force a fetch: immediately the first time, then with a delay that
 * doubles, so that a registry that refuses everything does not cause endless executions.
 *
 * The delay is reset when a credential that had worked is refused, but at most once per minute: a
 * registry that refuses every tenth read must not cause a fetch for each of them. It is reset
 * earlier if the last forced fetch returned that credential, which happens when credentials are
 * revoked in quick succession: up to ten times, and once more per minute.
 *
 * Invariants: the map is ordered by the time of the last report, so the first entry is the oldest.
 */
export class Refusals {
  readonly #byKey = new Map<string, Refusal>();

  /** Returns whether to force a fetch now (monotonic time), and records the decision. */
  mayForce(key: string, nowMs: number, use: RefusedUse = {}): boolean {
    const before = this.#byKey.get(key);
    const resets = resetsLeft(before, nowMs);
    const isOver = before === undefined || isLapsed(before, nowMs, use);
    const isEarlyReset = !isOver && resets >= 1 && isReplacement(before, use);
    const forced = isOver || isEarlyReset ? 0 : before.forced;
    const delayMs = Math.min(FIRST_MS * 2 ** Math.min(forced - 1, 20), MAX_MS);
    const may = before === undefined || forced === 0 || nowMs - before.lastForcedMs >= delayMs;
    this.#byKey.delete(key); // set() then appends it as the newest
    this.#byKey.set(key, {
      forced: may ? forced + 1 : forced,
      lastForcedMs: may ? nowMs : before?.lastForcedMs ?? nowMs,
      lastReportedMs: nowMs,
      fingerprint: may ? use.fingerprint : before?.fingerprint,
      resets: isEarlyReset ? resets - 1 : resets,
      resetsAtMs: nowMs,
    });
    this.#keepNewest(MAX_SUBJECTS);
    return may;
  }

  /** Removes subjects that no longer exist. */
  keepOnly(live: { has(key: string): boolean }): void {
    for (const key of this.#byKey.keys()) if (!live.has(key)) this.#byKey.delete(key);
  }

  #keepNewest(count: number): void {
    for (const key of this.#byKey.keys()) {
      if (this.#byKey.size <= count) return;
      this.#byKey.delete(key);
    }
  }
}

/** Whether earlier refusals no longer count. */
function isLapsed(
  { lastForcedMs, lastReportedMs }: Refusal,
  nowMs: number,
  { worked = false }: RefusedUse,
): boolean {
  return nowMs - lastReportedMs >= CALM_PERIOD_MS ||
    (worked && nowMs - lastForcedMs >= RESET_INTERVAL_MS);
}

/** Whether the last forced fetch returned another credential, and that one had worked. */
function isReplacement({ fingerprint: before }: Refusal, use: RefusedUse): boolean {
  return use.worked === true && before !== undefined && use.fingerprint !== before;
}

function resetsLeft(before: Refusal | undefined, nowMs: number): number {
  if (before === undefined) return MAX_RESETS;
  return Math.min(MAX_RESETS, before.resets + (nowMs - before.resetsAtMs) / RESET_INTERVAL_MS);
}
