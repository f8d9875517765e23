import type { AgentStatus } from "../model/mod.ts";
import { findingsOf } from "./findings.ts";
import { healthOf, type HealthView } from "./health.ts";

/** More troubles than that are not told since when they last. */
const MAX_REMEMBERED = 10_000;

/**
 * Knows since when each trouble has lasted, as far as it was asked meanwhile. What comes to an end
 * is forgotten, so that the same trouble later is a new one.
 */
export class HealthMemory {
  #since = new Map<string, number>();

  /** What the state comes to at `nowMs` (wall time), with since when. */
  view(
    status: AgentStatus,
    nowMs: number,
    { checkIntervalMs }: { readonly checkIntervalMs: number },
  ): HealthView {
    const before = this.#since;
    const keys = findingsOf(status, nowMs).slice(0, MAX_REMEMBERED).map(({ key }) => key);
    // A wall clock that was set back must not tell of the future.
    this.#since = new Map(keys.map((key) => [key, Math.min(before.get(key) ?? nowMs, nowMs)]));
    return healthOf(status, nowMs, { checkIntervalMs, since: (key) => this.#since.get(key) });
  }
}
