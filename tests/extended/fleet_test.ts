import { deepStrictEqual, ok, strictEqual } from "node:assert/strict";
import {
  bootBoundMs,
  type Claim,
  dayClaims,
  outageClaims,
  peak,
} from "../../scripts/fleet/claims.ts";
import { type FleetOptions, type FleetRun, runFleet } from "../../scripts/fleet/fleet.ts";
import { SOURCES } from "../../scripts/fleet/shapes.ts";
import { TokenService } from "../../scripts/fleet/token_service.ts";
import { EventQueue, SeededRandom } from "../../scripts/fleet/virtual_time.ts";

const HOUR_MS = 3_600_000;
const NODES = 200;
/** Scaled down from 20 calls per second and bursts of 200 for 10,000 nodes. */
const LIMITS = { callsPerSecond: 20 * NODES / 10_000, burst: 200 * NODES / 10_000 };

function fleetOf(name: string, more: Partial<FleetOptions> = {}): FleetOptions {
  const source = SOURCES.find((shape) => shape.name === name);
  ok(source);
  return { source, nodes: NODES, limits: LIMITS, spanMs: 24 * HOUR_MS, ...more };
}

function assertAllHold(claims: readonly Claim[]): void {
  for (const { what, figure, holds } of claims) ok(holds, `${what}: ${figure}`);
}

/** Removes the steady rate claim: in a small fleet random peaks dominate. */
function withoutPeak(claims: readonly Claim[]): readonly Claim[] {
  return claims.filter(({ what }) => !what.startsWith("steady"));
}

for (const { name } of SOURCES.filter(({ place }) => place === "shared")) {
  Deno.test(`fleet: serves ${NODES} nodes of ${name} after a simultaneous boot without expiry`, async () => {
    assertAllHold(withoutPeak(dayClaims(await runFleet(fleetOf(name)))));
    const retryAfterMs = 5_000;
    const limits = { ...LIMITS, retryAfterMs };
    assertAllHold(
      withoutPeak(dayClaims(await runFleet(fleetOf(name, { limits, spanMs: HOUR_MS })))),
    );
  });

  // With fewer nodes, the calls of one minute are too few for a rate.
  Deno.test(`fleet: 600 nodes of ${name} recover from an outage of one hour without avoidable expiry`, async () => {
    const outage = { fromMs: 13 * HOUR_MS, untilMs: 14 * HOUR_MS };
    const spanMs = 16 * HOUR_MS;
    const limits = { callsPerSecond: 1.2, burst: 12 };
    assertAllHold(
      outageClaims(await runFleet(fleetOf(name, { nodes: 600, limits, outage, spanMs }))),
    );
  });
}

for (const name of ["3h-1h", "hidden-1h-shared"]) {
  Deno.test(`fleet: 1,000 nodes of ${name} have a steady peak of at most twice the mean`, async () => {
    const limits = { callsPerSecond: 2, burst: 20 };
    const spanMs = 12 * HOUR_MS;
    assertAllHold(dayClaims(await runFleet(fleetOf(name, { nodes: 1_000, limits, spanMs }))));
  });
}

Deno.test("fleet: a metadata server replaces a token without reported expiry in time", async () => {
  const run = await runFleet(fleetOf("hidden-1h", { nodes: 20, spanMs: 8 * HOUR_MS }));
  strictEqual(run.expired, 0);
});

Deno.test("fleet: returns equal runs for equal options", async () => {
  const options = fleetOf("12h-6h", { nodes: 50, spanMs: 8 * HOUR_MS });
  deepStrictEqual(await runFleet(options), await runFleet(options));
});

/** A run that violates every claim. */
function badRun(): FleetRun {
  const executions = new Uint32Array(86_401);
  executions[700] = 1;
  executions[20_000] = 500;
  executions[50_400] = 100;
  const outage = { fromMs: 13 * HOUR_MS, untilMs: 14 * HOUR_MS };
  const servedAtMs = [1_000, 600_000];
  const options = fleetOf("12h-6h", { outage });
  return { options, executions, granted: executions, servedAtMs, expired: 2, avoidable: 1 };
}

Deno.test("claims: report violations", () => {
  strictEqual(bootBoundMs(badRun()), 490_000);
  deepStrictEqual(dayClaims(badRun()).map(({ holds }) => holds), [false, false, false]);
  deepStrictEqual(outageClaims(badRun()).map(({ holds }) => holds), [false, false]);
});

Deno.test("fleet: detects a policy that waits too long for the first credential", async () => {
  // With a Retry-After of five minutes for every node, the capacity stays unused.
  const limits = { ...LIMITS, retryAfterMs: 300_000 };
  const claims = dayClaims(await runFleet(fleetOf("12h-6h", { limits, spanMs: HOUR_MS })));
  strictEqual(claims.find(({ what }) => what.startsWith("a simultaneous boot"))?.holds, false);
});

Deno.test("peak: returns the highest rate of a sliding window", () => {
  const counts = new Uint32Array([9, 0, 0, 3, 3, 0, 0]);
  strictEqual(peak(counts, 0, 7, 1), 9);
  strictEqual(peak(counts, 1, 7, 2), 3);
  strictEqual(peak(counts, 0, 7, 7), 15 / 7);
});

Deno.test("TokenService: grants the burst, then the rate, and is available when no call was throttled", () => {
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
  strictEqual(service.wasAvailableFor(1_000, 0, 1_000), false);
  strictEqual(service.wasAvailableFor(1_000, 0, 2_000), true);
  strictEqual(service.wasAvailableFor(1_000, 20_000, 30_000), false);
  strictEqual(service.wasAvailableFor(20_000, 0, 20_000), false);
});

Deno.test("EventQueue: returns the earliest event regardless of the insertion order", () => {
  const queue = new EventQueue();
  const random = new SeededRandom(3);
  const times = Array.from({ length: 500 }, () => random.next());
  for (const [i, atMs] of times.entries()) queue.add(atMs, i);
  const taken = times.map(() => queue.take()?.atMs);
  deepStrictEqual(taken, [...times].sort((a, b) => a - b));
  strictEqual(queue.take(), undefined);
});
