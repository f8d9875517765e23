/** How often a subject was forced in a row, and when. */
interface Refusal {
  readonly forced: number;
  readonly lastForcedMs: number;
  /** When a refusal of it was heard of last, whether or not it was forced. */
  readonly lastHeardMs: number;
}

/** What is known of a credential that is refused. */
export interface RefusedUse {
  /** Reads with it succeeded before: this is no more of the refusals that went before. */
  readonly worked?: boolean;
}

const FIRST_MS = 5_000;
const MAX_MS = 5 * 60_000;
/** Without a refusal for so long, what was refused before says nothing any more. */
const QUIET_MS = 10 * 60_000;
/** So far apart, at the least, are two beginnings with a credential that had worked. */
const WORKED_MS = 60_000;
const MAX_SUBJECTS = 10_000;

/**
 * Says whether a refusal may force a fetch: at once the first time, then less and less often, so
 * that a registry which refuses everything does not make us run the plugins for ever. A credential
 * that had worked and is refused now begins anew, once a minute at the most: a registry that
 * refuses every tenth read must not have a fetch for each of them.
 */
export class Refusals {
  readonly #byKey = new Map<string, Refusal>();

  /** Whether to fetch now (monotonic time); remembers that it was done. */
  mayForce(key: string, nowMs: number, { worked = false }: RefusedUse = {}): boolean {
    const before = this.#byKey.get(key);
    const forced = before === undefined || isOver(before, nowMs, worked) ? 0 : before.forced;
    const pauseMs = Math.min(FIRST_MS * 2 ** Math.min(forced - 1, 20), MAX_MS);
    const may = before === undefined || forced === 0 || nowMs - before.lastForcedMs >= pauseMs;
    this.#byKey.delete(key); // and behind the others again
    this.#byKey.set(key, {
      forced: may ? forced + 1 : forced,
      lastForcedMs: may ? nowMs : before?.lastForcedMs ?? nowMs,
      lastHeardMs: nowMs,
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

/** Whether a refusal now is the first of others than those before. */
function isOver({ lastForcedMs, lastHeardMs }: Refusal, nowMs: number, worked: boolean): boolean {
  return nowMs - lastHeardMs >= QUIET_MS || (worked && nowMs - lastForcedMs >= WORKED_MS);
}
