/** How often a subject was forced in a row, and when. */
interface Refusal {
  readonly forced: number;
  readonly lastForcedMs: number;
  /** When a refusal of it was heard of last, whether or not it was forced. */
  readonly lastHeardMs: number;
  /** Fingerprint of the credential for which a fetch was forced last. */
  readonly fingerprint: string | undefined;
  /** Early resets left, and when that was calculated. */
  readonly resets: number;
  readonly resetsAtMs: number;
}

/** What is known of a credential that is refused. */
export interface RefusedUse {
  /** Which credential it is. */
  readonly fingerprint?: string;
  /** Reads with it succeeded before: this is no more of the refusals that went before. */
  readonly worked?: boolean;
}

const FIRST_MS = 5_000;
const MAX_MS = 5 * 60_000;
/** Without a refusal for so long, what was refused before says nothing any more. */
const QUIET_PERIOD_MS = 10 * 60_000;
/** So far apart, at the least, are two beginnings with a credential that had worked. */
const WORKED_MS = 60_000;
/** Resets that may follow each other early; one more is earned every {@linkcode WORKED_MS}. */
const MAX_RESETS = 10;
const MAX_SUBJECTS = 10_000;

/**
 * Decides whether a refusal may force a fetch: immediately the first time, then with a pause that
 * doubles, so that a registry which refuses everything does not cause endless executions.
 *
 * The pause is reset when a credential that had worked is refused, but at most once a minute: a
 * registry that refuses every tenth read must not cause a fetch for each of them. It is reset
 * earlier when the last forced fetch brought that credential, as it does when credentials are
 * revoked shortly after each other: up to ten times, and once more for every minute that passes.
 */
export class Refusals {
  readonly #byKey = new Map<string, Refusal>();

  /** Returns whether to fetch now (monotonic time), and records that it was done. */
  mayForce(key: string, nowMs: number, use: RefusedUse = {}): boolean {
    const before = this.#byKey.get(key);
    const resets = resetsLeft(before, nowMs);
    const isOver = before === undefined || isLapsed(before, nowMs, use);
    const isEarlyReset = !isOver && resets >= 1 && isReplacement(before, use);
    const forced = isOver || isEarlyReset ? 0 : before.forced;
    const pauseMs = Math.min(FIRST_MS * 2 ** Math.min(forced - 1, 20), MAX_MS);
    const may = before === undefined || forced === 0 || nowMs - before.lastForcedMs >= pauseMs;
    this.#byKey.delete(key); // and behind the others again
    this.#byKey.set(key, {
      forced: may ? forced + 1 : forced,
      lastForcedMs: may ? nowMs : before?.lastForcedMs ?? nowMs,
      lastHeardMs: nowMs,
      fingerprint: may ? use.fingerprint : before?.fingerprint,
      resets: isEarlyReset ? resets - 1 : resets,
      resetsAtMs: nowMs,
    });
    this.#keepNewest(MAX_SUBJECTS);
    return may;
  }

  /** Forgets the subjects that are gone. */
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

/** Whether the refusals before no longer count. */
function isLapsed(
  { lastForcedMs, lastHeardMs }: Refusal,
  nowMs: number,
  { worked = false }: RefusedUse,
): boolean {
  return nowMs - lastHeardMs >= QUIET_PERIOD_MS || (worked && nowMs - lastForcedMs >= WORKED_MS);
}

/** Whether the fetch that was forced last brought another credential, and that one worked. */
function isReplacement({ fingerprint: before }: Refusal, use: RefusedUse): boolean {
  return use.worked === true && before !== undefined && use.fingerprint !== before;
}

function resetsLeft(before: Refusal | undefined, nowMs: number): number {
  if (before === undefined) return MAX_RESETS;
  return Math.min(MAX_RESETS, before.resets + (nowMs - before.resetsAtMs) / WORKED_MS);
}
