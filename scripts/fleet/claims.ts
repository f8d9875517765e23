import type { FleetRun } from "./fleet.ts";

/** A guarantee of the renewal policy, and whether a run fulfilled it. */
export interface Claim {
  readonly what: string;
  readonly figure: string;
  readonly holds: boolean;
}

const BOOT_LIMIT = 1.2;
const PEAK_LIMIT = 2;
const OUTAGE_LIMIT = 1.5;
/** Rates are averaged over this window (s); in a shorter window, random peaks dominate. */
const STEADY_WINDOW_S = 600;
const OUTAGE_WINDOW_S = 60;
const AFTER_OUTAGE_S = 3_600;

/** Returns the time (ms) in which the token bucket can serve every node once. */
export function bootBoundMs({ options: { nodes, limits } }: FleetRun): number {
  return Math.max(0, nodes - limits.burst) / limits.callsPerSecond * 1_000;
}

/** Returns the claims about a day that starts with a simultaneous boot. */
export function dayClaims(run: FleetRun): readonly Claim[] {
  return [...bootClaims(run), steadyClaim(run), expiryClaim(run)];
}

/** Returns the claims about a day with an outage. */
export function outageClaims(run: FleetRun): readonly Claim[] {
  const { outage, source: { place } } = run.options;
  const claims = [avoidableClaim(run)];
  if (outage === undefined || place === "local") return claims;
  const fromS = outage.untilMs / 1_000;
  const max = peak(run.executions, fromS, fromS + AFTER_OUTAGE_S, OUTAGE_WINDOW_S);
  const ratio = max / run.options.limits.callsPerSecond;
  const what =
    `calls in the hour after the outage, relative to the capacity: at most ${OUTAGE_LIMIT} times`;
  return [...claims, {
    what,
    figure: `${ratio.toFixed(2)} times (${max.toFixed(2)}/s in the worst minute)`,
    holds: ratio <= OUTAGE_LIMIT,
  }];
}

function bootClaims(run: FleetRun): readonly Claim[] {
  const { place } = run.options.source;
  const lastMs = run.servedAtMs.at(-1) ?? Infinity;
  if (place === "local") return [];
  const boundMs = bootBoundMs(run);
  return [{
    what:
      `a simultaneous boot is served within ${BOOT_LIMIT} times the minimum of the token bucket`,
    figure: `${(lastMs / boundMs).toFixed(2)} times (${seconds(lastMs)} of ${seconds(boundMs)})`,
    holds: lastMs <= boundMs * BOOT_LIMIT,
  }];
}

/** Starts at the first renewal: between boot and first renewal the fleet makes no calls. */
function steadyClaim(run: FleetRun): Claim {
  const fromS = firstRenewalS(run);
  const untilS = run.executions.length - 1;
  const mean = sum(run.executions, fromS, untilS) / (untilS - fromS);
  const max = peak(run.executions, fromS, untilS, STEADY_WINDOW_S);
  return {
    what: `steady peak (ten minutes), relative to the mean: at most ${PEAK_LIMIT} times`,
    figure: `${(max / mean).toFixed(2)} times (${max.toFixed(2)}/s to ${mean.toFixed(2)}/s)`,
    holds: max <= mean * PEAK_LIMIT,
  };
}

function expiryClaim({ expired }: FleetRun): Claim {
  return { what: "no mount expires", figure: `${expired} expired`, holds: expired === 0 };
}

function avoidableClaim({ expired, avoidable }: FleetRun): Claim {
  return {
    what: "no credential expires while a renewal was possible",
    figure: `${avoidable} of ${expired} expired`,
    holds: avoidable === 0,
  };
}

/** Returns the second of the first execution after every node was served. */
function firstRenewalS(run: FleetRun): number {
  const lastServedS = Math.ceil((run.servedAtMs.at(-1) ?? 0) / 1_000) + 1;
  const after = run.executions.findIndex((count, second) => second > lastServedS && count > 0);
  return after < 0 ? lastServedS : after;
}

/** Returns the highest rate (1/s) over a sliding window. */
export function peak(counts: Uint32Array, fromS: number, untilS: number, windowS: number): number {
  let within = 0;
  let max = 0;
  for (let second = fromS; second < untilS; second++) {
    within += counts[second] ?? 0;
    if (second - windowS >= fromS) within -= counts[second - windowS] ?? 0;
    max = Math.max(max, within);
  }
  return max / Math.min(windowS, untilS - fromS);
}

function sum(counts: Uint32Array, fromS: number, untilS: number): number {
  let total = 0;
  for (let second = fromS; second < untilS; second++) total += counts[second] ?? 0;
  return total;
}

function seconds(ms: number): string {
  return `${(ms / 1_000).toFixed(0)} s`;
}
