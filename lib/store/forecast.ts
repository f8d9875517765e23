import { type Attempts, type Life, nextAttemptAtMs } from "./renewal_policy.ts";
import type { RenewalSettings } from "./renewal_policy.ts";

/** A time in which no source answers, in wall time. */
export interface SourceOutage {
  readonly fromMs: number;
  readonly untilMs: number;
}

/** What an outage does to one credential. */
export interface LifeForecast {
  /** Attempts that fail in the outage. */
  readonly failures: number;
  /**
   * Wall time by which the source has been asked again and has answered, at the latest; undefined
   * when it is watched, not asked by the clock.
   */
  readonly renewedByMs?: number;
}

/** Attempts of one credential that are followed, at the most. */
const MAX_ATTEMPTS = 100_000;
/** So many failures in a row that no pause grows any more. */
const MANY = 64;

/**
 * Runs the schedule ahead through an outage: every attempt in it fails, the first one after it
 * succeeds. Backoffs are taken at their longest, and the last of them to begin as the outage ends,
 * so that reality is not later than this.
 */
export function forecastLife(
  life: Life | undefined,
  attempts: Attempts,
  { fromMs, untilMs }: SourceOutage,
  settings: RenewalSettings,
): LifeForecast {
  let nowMs = fromMs;
  let state = attempts;
  for (let failures = 0; failures < MAX_ATTEMPTS; failures++) {
    const next = nextAttemptAtMs(life, state, nowMs, settings);
    if (next === undefined) return { failures };
    nowMs = Math.max(next, nowMs);
    if (nowMs >= untilMs) {
      if (failures === 0) return { failures, renewedByMs: nowMs };
      const last = { unproductive: MANY, lastAtMs: untilMs - 1, draw: 1 };
      const latest = nextAttemptAtMs(life, last, untilMs - 1, settings) ?? nowMs;
      return { failures, renewedByMs: Math.max(nowMs, latest) };
    }
    state = { unproductive: state.unproductive + 1, lastAtMs: nowMs, draw: 1 };
  }
  return { failures: MAX_ATTEMPTS };
}

/**
 * When a credential ends by what is known of it: its hard clock, else what its source's earlier
 * tokens have taught. Undefined: no end is known.
 */
export function endOf(
  life: Life,
): { readonly atMs: number; readonly learned: boolean } | undefined {
  if (life.hardExpiresAtMs !== undefined) return { atMs: life.hardExpiresAtMs, learned: false };
  if (life.watched || life.learnedLifeMs === undefined) return undefined;
  return { atMs: life.bornAtMs + life.learnedLifeMs, learned: true };
}
