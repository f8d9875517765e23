import { deepStrictEqual, ok, strictEqual } from "node:assert/strict";
import {
  bootBoundMs,
  type Claim,
  dayClaims,
  outageClaims,
  peak,
} from "../../../scripts/fleet/claims.ts";
import { type FleetOptions, type FleetRun, runFleet } from "../../../scripts/fleet/fleet.ts";
import { SOURCES } from "../../../scripts/fleet/shapes.ts";
import { TokenService } from "../../../scripts/fleet/token_service.ts";
import { Agenda, SeededRandom } from "../../../scripts/fleet/virtual_time.ts";

const HOUR_MS = 3_600_000;
const NODES = 200;
/** 20 calls a second and bursts of 200 are for 10,000 nodes. */
const LIMITS = { callsPerSecond: 20 * NODES / 10_000, burst: 200 * NODES / 10_000 };

function fleetOf(name: string, more: Partial<FleetOptions> = {}): FleetOptions {
  const source = SOURCES.find((shape) => shape.name === name);
  ok(source);
  return { source, nodes: NODES, limits: LIMITS, spanMs: 24 * HOUR_MS, ...more };
}

function allKept(claims: readonly Claim[]): void {
  for (const { what, figure, isKept } of claims) ok(isKept, `${what}: ${figure}`);
}

/** In a fleet so small chance alone makes peaks: the steady rate is judged with more nodes. */
function withoutPeak(claims: readonly Claim[]): readonly Claim[] {
  return claims.filter(({ what }) => !what.startsWith("steady"));
}

for (const { name } of SOURCES.filter(({ place }) => place === "shared")) {
  Deno.test(`fleet of ${NODES}, ${name}: served after a common boot, and nothing expires`, async () => {
    allKept(withoutPeak(dayClaims(await runFleet(fleetOf(name)))));
    const retryAfterMs = 5_000;
    const limits = { ...LIMITS, retryAfterMs };
    allKept(withoutPeak(dayClaims(await runFleet(fleetOf(name, { limits, spanMs: HOUR_MS })))));
  });

  // More nodes: what a minute brings is chance where it brings but a few dozen calls.
  Deno.test(`fleet of 600, ${name}: an hour's outage loses nothing and ends calmly`, async () => {
    const outage = { fromMs: 13 * HOUR_MS, untilMs: 14 * HOUR_MS };
    const spanMs = 16 * HOUR_MS;
    const limits = { callsPerSecond: 1.2, burst: 12 };
    allKept(outageClaims(await runFleet(fleetOf(name, { nodes: 600, limits, outage, spanMs }))));
  });
}

for (const name of ["3h-1h", "hidden-1h-shared"]) {
  Deno.test(`fleet of 1,000, ${name}: the steady peak is at most twice the mean`, async () => {
    const limits = { callsPerSecond: 2, burst: 20 };
    const spanMs = 12 * HOUR_MS;
    allKept(dayClaims(await runFleet(fleetOf(name, { nodes: 1_000, limits, spanMs }))));
  });
}

Deno.test("fleet: a token that hides its end is swapped in time by a metadata server", async () => {
  const run = await runFleet(fleetOf("hidden-1h", { nodes: 20, spanMs: 8 * HOUR_MS }));
  strictEqual(run.expired, 0);
});

Deno.test("fleet: equal options give equal runs", async () => {
  const options = fleetOf("12h-6h", { nodes: 50, spanMs: 8 * HOUR_MS });
  deepStrictEqual(await runFleet(options), await runFleet(options));
});

/** A run that breaks every promise. */
function bad(): FleetRun {
  const asked = new Uint32Array(86_401);
  asked[700] = 1;
  asked[20_000] = 500;
  asked[50_400] = 100;
  const outage = { fromMs: 13 * HOUR_MS, untilMs: 14 * HOUR_MS };
  const servedAtMs = [1_000, 600_000];
  const options = fleetOf("12h-6h", { outage });
  return { options, asked, granted: asked, servedAtMs, expired: 2, avoidable: 1 };
}

Deno.test("claims say what was broken", () => {
  strictEqual(bootBoundMs(bad()), 490_000);
  deepStrictEqual(dayClaims(bad()).map(({ isKept }) => isKept), [false, false, false]);
  deepStrictEqual(outageClaims(bad()).map(({ isKept }) => isKept), [false, false]);
});

Deno.test("fleet: a policy that waits too long for its first credential is found out", async () => {
  // A service that says "come back in five minutes" to all cannot be used to the full.
  const limits = { ...LIMITS, retryAfterMs: 300_000 };
  const claims = dayClaims(await runFleet(fleetOf("12h-6h", { limits, spanMs: HOUR_MS })));
  strictEqual(claims.find(({ what }) => what.startsWith("a common boot"))?.isKept, false);
});

Deno.test("peak is the highest rate of a sliding window", () => {
  const counts = new Uint32Array([9, 0, 0, 3, 3, 0, 0]);
  strictEqual(peak(counts, 0, 7, 1), 9);
  strictEqual(peak(counts, 1, 7, 2), 3);
  strictEqual(peak(counts, 0, 7, 7), 15 / 7);
});

Deno.test("TokenService grants its burst, then its rate, and is open when nobody was turned away", () => {
  const service = new TokenService({ callsPerSecond: 2, burst: 3, retryAfterMs: 7 }, 60_000, {
    fromMs: 20_000,
    untilMs: 30_000,
  });
  const kinds = (atMs: number, times: number) =>
    Array.from({ length: times }, () => service.call(atMs).kind);
  deepStrictEqual(kinds(0, 4), ["granted", "granted", "granted", "throttled"]);
  deepStrictEqual(service.call(0), { kind: "throttled", retryAfterMs: 7 });
  deepStrictEqual(kinds(500, 2), ["granted", "throttled"]);
  deepStrictEqual(kinds(10_000, 4), ["granted", "granted", "granted", "throttled"]);
  deepStrictEqual(kinds(20_000, 1), ["down"]);
  strictEqual(service.wasOpenFor(1_000, 0, 1_000), false);
  strictEqual(service.wasOpenFor(1_000, 0, 2_000), true);
  strictEqual(service.wasOpenFor(1_000, 20_000, 30_000), false);
  strictEqual(service.wasOpenFor(20_000, 0, 20_000), false);
});

Deno.test("Agenda gives what is earliest, whatever the order of adding", () => {
  const agenda = new Agenda();
  const random = new SeededRandom(3);
  const times = Array.from({ length: 500 }, () => random.next());
  for (const [i, atMs] of times.entries()) agenda.add(atMs, i);
  const taken = times.map(() => agenda.take()?.atMs);
  deepStrictEqual(taken, [...times].sort((a, b) => a - b));
  strictEqual(agenda.take(), undefined);
});
