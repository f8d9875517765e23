/**
 * `deno task soak`: reads continuously on a node whose tokens (one per image) have a lifetime of 60
 * seconds, and injects faults that must not fail any read. The mounts of those images read from
 * Debian's `docker-registry` behind a token service, where it is installed. Prints figures; exits with
 * 1 when a read failed, a mount did not recover, too few tokens expired, or something leaked.
 *
 * --minutes N   duration (default 3)
 * --seed N      seed of the order of the faults (default: random)
 */
import { parseArgs } from "node:util";
import { HAS_DOCKER_REGISTRY } from "../e2e/docker_registry.ts";
import { HAS_OPENSSL } from "../fakes/certificates.ts";
import { campaignOn, type Row, seeded } from "./campaign.ts";
import type { Fault } from "./fault.ts";
import { FAULTS } from "./faults.ts";
import { RealRegistry } from "./real_registry.ts";
import { FaultStage } from "./stage.ts";
import { resourcesOf } from "./watchers.ts";

const LIFETIME_MS = 60_000;
const MORE = Array.from({ length: 10 }, (_, i) => `more/${i}`);
const EXPIRIES_PER_HOUR = 500;
/** Faults that must not fail reads, without those that change the token lifetime. */
const HARMLESS = FAULTS.filter(({ name, failsReads, endsAgent, stepsClock }) =>
  !failsReads && !endsAgent && !stepsClock &&
  !/plugin (?:reports|changes)|plugin's tokens/.test(name)
);

const { values } = parseArgs({
  options: {
    minutes: { type: "string", default: "3" },
    seed: { type: "string", default: String(Math.floor(Math.random() * 1e6)) },
  },
});
const minutes = Number(values.minutes);
const seed = Number(values.seed);
if (!(minutes > 1) || !Number.isInteger(seed)) {
  print("soak: --minutes must be more than 1 (the token lifetime), and --seed an integer");
  Deno.exit(2);
}

function print(text: string): void {
  Deno.stdout.writeSync(new TextEncoder().encode(`${text}\n`));
}

function* until(endMs: number, random: () => number): Generator<Fault> {
  while (performance.now() < endMs) {
    const fault = HARMLESS[Math.floor(random() * HARMLESS.length)];
    if (fault !== undefined) yield fault;
  }
}

function printFailure({ name, result, breaches }: Row): void {
  if (result === "failed") print(`failed: ${name}: ${breaches.join("; ")}`);
}

/** Counts the tokens that expired, in total and per hour, from the first possible expiry on. */
async function expiriesPerHour(stage: FaultStage, startedMs: number): Promise<[number, number]> {
  const fromMs = startedMs + LIFETIME_MS;
  const expiries = await stage.expiries(fromMs);
  return [expiries, Math.round(expiries / (Date.now() - fromMs) * 3_600_000)];
}

async function soak(real: RealRegistry | undefined): Promise<boolean> {
  const random = seeded(seed);
  // Only the expiry schedules renewals: after two thirds of the lifetime.
  const plugin = {
    cacheDuration: "",
    cacheKeyType: "Image",
    lifetimeMs: LIFETIME_MS,
    shape: "ecr",
  } as const;
  await using stage = await FaultStage.start({
    plugin,
    random,
    refreshInterval: "10m",
    readEveryMs: 400,
    ...(real && { backend: real }),
  });
  const { host } = stage.node.tokenRegistry;
  for (const name of MORE) await stage.node.addInstance(stage.daemon("s1"), `${host}/${name}:1`);
  stage.files.watchAlso(stage.node);
  const first = resourcesOf(stage.agent.pid);
  const startedMs = Date.now();
  const endMs = performance.now() + minutes * 60_000;
  const rows = await campaignOn(stage, until(endMs, random), printFailure);
  const last = resourcesOf(stage.agent.pid);
  const [expiries, perHour] = await expiriesPerHour(stage, startedMs);
  const failedRows = rows.filter(({ result }) => result === "failed").length;
  const mounts = [...stage.node.daemons.values()].flatMap(({ instances }) => instances).length;
  const figures: readonly (readonly [string, unknown])[] = [
    ["registry", real === undefined ? "simulated" : "Debian's docker-registry, a token service"],
    ["minutes", ((Date.now() - startedMs) / 60_000).toFixed(1)],
    ["faults", rows.length - 1],
    ["mounts", mounts],
    ["expired tokens", `${expiries}, ${perHour} per hour (at least ${EXPIRIES_PER_HOUR})`],
    ["reads", stage.reader.reads],
    ["failed reads", rows.reduce((sum, { readsFailed }) => sum + readsFailed, 0)],
    ...(real ? [["tokens for reads", `${real.granted}, ${real.refused} refused`] as const] : []),
    ["open descriptors", `${first?.descriptors} to ${last?.descriptors}`],
    ["children", last?.children],
    [
      "resident memory",
      `${
        ((last?.residentKb ?? NaN) / (first?.residentKb ?? NaN)).toFixed(2)
      } times the first value`,
    ],
  ];
  for (const [what, value] of figures) print(`${what.padEnd(20)} ${value}`);
  const tooFewExpiries = perHour < EXPIRIES_PER_HOUR ? 1 : 0;
  const state = failedRows + tooFewExpiries === 0 ? "ok" : "FAILED";
  print(`${state} | ${rows.length - failedRows} passed | ${failedRows + tooFewExpiries} failed`);
  return failedRows + tooFewExpiries === 0;
}

print(`seed ${seed}, ${minutes} minutes`);
await using real = HAS_DOCKER_REGISTRY && HAS_OPENSSL
  ? new RealRegistry(["shop/app", "a", "b", ...MORE])
  : undefined;
Deno.exitCode = await soak(real) ? 0 : 1;
