import type { NodeView } from "../model/mod.ts";

/** A daemon that does not run is looked at again this soon, then less and less often. */
const ABSENT_FIRST_MS = 1_000;
const ABSENT_MAX_MS = 10_000;
/** Every look at a daemon that does not answer leaves a connection in its queue. */
const UNRESPONSIVE_MAX_MS = 30_000;

/** How long to wait between looks by the clock: shorter while something is not as it should be. */
export class LookPace {
  #inARow = 0;

  /** The pause after a look that found this, in milliseconds. */
  pauseMs({ daemons, problems }: NodeView, checkIntervalMs: number): number {
    const absent = daemons.filter(({ state }) => state !== "running");
    const trouble = absent.length > 0 || problems.length > 0;
    this.#inARow = trouble ? this.#inARow + 1 : 0;
    if (!trouble) return checkIntervalMs;
    const mute = problems.length === 0 && absent.every(({ state }) => state === "unresponsive");
    const soonMs = ABSENT_FIRST_MS * 2 ** Math.min(this.#inARow - 1, 10);
    return Math.min(soonMs, mute ? UNRESPONSIVE_MAX_MS : ABSENT_MAX_MS, checkIntervalMs);
  }
}
