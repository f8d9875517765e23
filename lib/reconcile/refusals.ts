/** How often reads of one subject were refused in a row, and when its source was last forced. */
interface Refusal {
  readonly forced: number;
  readonly lastMs: number;
}

const FIRST_MS = 5_000;
const MAX_MS = 5 * 60_000;

/**
 * Says whether a refusal may force a fetch: at once the first time, then less and less often, so
 * that a registry which refuses everything does not make us run the plugins for ever.
 */
export class Refusals {
  readonly #byKey = new Map<string, Refusal>();

  /** Whether to fetch now (monotonic time); remembers that it was done. */
  mayForce(key: string, nowMs: number): boolean {
    const before = this.#byKey.get(key);
    if (before !== undefined) {
      const pauseMs = Math.min(FIRST_MS * 2 ** Math.min(before.forced - 1, 20), MAX_MS);
      if (nowMs - before.lastMs < pauseMs) return false;
    }
    this.#byKey.delete(key);
    this.#byKey.set(key, { forced: (before?.forced ?? 0) + 1, lastMs: nowMs });
    return true;
  }

  /** Reads succeed again. */
  forget(key: string): void {
    this.#byKey.delete(key);
  }

  /** Forgets those that were forced longest ago, beyond so many. */
  keepNewest(count: number): void {
    for (const key of this.#byKey.keys()) {
      if (this.#byKey.size <= count) return;
      this.#byKey.delete(key);
    }
  }

  /** Forgets the images that are gone. */
  keepOnly(live: { has(image: string): boolean }): void {
    for (const key of this.#byKey.keys()) if (!live.has(key)) this.#byKey.delete(key);
  }
}
