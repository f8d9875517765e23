import type { FleetRun } from "./fleet.ts";

/** Something that the policy promises, and how it was kept. */
export interface Claim {
  readonly what: string;
  readonly figure: string;
  readonly isKept: boolean;
}

const BOOT_LIMIT = 1.2;
const PEAK_LIMIT = 2;
const OUTAGE_LIMIT = 1.5;
/** Rates are taken over so many seconds: shorter, and chance alone makes peaks. */
const STEADY_WINDOW_S = 600;
const OUTAGE_WINDOW_S = 60;
const AFTER_OUTAGE_S = 3_600;

/** How long the bucket needs to serve every node once, in ms. */
export function bootBoundMs({ options: { nodes, limits } }: FleetRun): number {
  return Math.max(0, nodes - limits.burst) / limits.callsPerSecond * 1_000;
}

/** The promises about a day that begins with a common boot. */
export function dayClaims(run: FleetRun): readonly Claim[] {
  return [...bootClaims(run), steadyClaim(run), expiryClaim(run)];
}

/** The promises about a day with an outage in it. */
export function outageClaims(run: FleetRun): readonly Claim[] {
  const { outage, source: { place } } = run.options;
  const claims = [avoidableClaim(run)];
  if (outage === undefined || place === "local") return claims;
  const fromS = outage.untilMs / 1_000;
  const most = peak(run.asked, fromS, fromS + AFTER_OUTAGE_S, OUTAGE_WINDOW_S);
  const ratio = most / run.options.limits.callsPerSecond;
  const what = `calls in the hour after the outage, to the capacity: at most ${OUTAGE_LIMIT} times`;
  return [...claims, {
    what,
    figure: `${ratio.toFixed(2)} times (${most.toFixed(2)}/s in the worst minute)`,
    isKept: ratio <= OUTAGE_LIMIT,
  }];
}

function bootClaims(run: FleetRun): readonly Claim[] {
  const { place } = run.options.source;
  const lastMs = run.servedAtMs.at(-1) ?? Infinity;
  if (place === "local") return [];
  const boundMs = bootBoundMs(run);
  return [{
    what: `a common boot is served within ${BOOT_LIMIT} times what the bucket allows`,
    figure: `${(lastMs / boundMs).toFixed(2)} times (${seconds(lastMs)} of ${seconds(boundMs)})`,
    isKept: lastMs <= boundMs * BOOT_LIMIT,
  }];
}

/** From the first renewal of the day on: before it, a fleet that booted together is silent. */
function steadyClaim(run: FleetRun): Claim {
  const fromS = firstRenewalS(run);
  const untilS = run.asked.length - 1;
  const mean = sum(run.asked, fromS, untilS) / (untilS - fromS);
  const most = peak(run.asked, fromS, untilS, STEADY_WINDOW_S);
  return {
    what: `steady peak (ten minutes) to the mean: at most ${PEAK_LIMIT} times`,
    figure: `${(most / mean).toFixed(2)} times (${most.toFixed(2)}/s to ${mean.toFixed(2)}/s)`,
    isKept: most <= mean * PEAK_LIMIT,
  };
}

function expiryClaim({ expired }: FleetRun): Claim {
  return { what: "no mount expires", figure: `${expired} expired`, isKept: expired === 0 };
}

function avoidableClaim({ expired, avoidable }: FleetRun): Claim {
  return {
    what: "no credential expires while a renewal could have been had",
    figure: `${avoidable} of ${expired} expired`,
    isKept: avoidable === 0,
  };
}

/** The second in which somebody asks again who has been served. */
function firstRenewalS(run: FleetRun): number {
  const lastServedS = Math.ceil((run.servedAtMs.at(-1) ?? 0) / 1_000) + 1;
  const after = run.asked.findIndex((count, second) => second > lastServedS && count > 0);
  return after < 0 ? lastServedS : after;
}

/** The highest rate (1/s) over a window that slides second by second. */
export function peak(counts: Uint32Array, fromS: number, untilS: number, windowS: number): number {
  let within = 0;
  let most = 0;
  for (let second = fromS; second < untilS; second++) {
    within += counts[second] ?? 0;
    if (second - windowS >= fromS) within -= counts[second - windowS] ?? 0;
    most = Math.max(most, within);
  }
  return most / Math.min(windowS, untilS - fromS);
}

function sum(counts: Uint32Array, fromS: number, untilS: number): number {
  let total = 0;
  for (let second = fromS; second < untilS; second++) total += counts[second] ?? 0;
  return total;
}

function seconds(ms: number): string {
  return `${(ms / 1_000).toFixed(0)} s`;
}
