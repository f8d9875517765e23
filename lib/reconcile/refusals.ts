/** How often reads of one image were refused in a row, and when its source was last forced. */
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
  readonly #byImage = new Map<string, Refusal>();

  /** Whether to fetch now (monotonic time); remembers that it was done. */
  mayForce(image: string, nowMs: number): boolean {
    const before = this.#byImage.get(image);
    if (before !== undefined) {
      const pauseMs = Math.min(FIRST_MS * 2 ** Math.min(before.forced - 1, 20), MAX_MS);
      if (nowMs - before.lastMs < pauseMs) return false;
    }
    this.#byImage.set(image, { forced: (before?.forced ?? 0) + 1, lastMs: nowMs });
    return true;
  }

  /** Reads succeed again. */
  forget(image: string): void {
    this.#byImage.delete(image);
  }

  /** Forgets the images that are gone. */
  keepOnly(live: { has(image: string): boolean }): void {
    for (const image of this.#byImage.keys()) if (!live.has(image)) this.#byImage.delete(image);
  }
}
