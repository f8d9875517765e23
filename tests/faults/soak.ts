/**
 * `deno task soak`: a node whose tokens live 60 seconds, one for each image, read all the time while
 * one thing after another breaks that must cost no read. The mounts of those images read from
 * Debian's `docker-registry` behind a token service, where it is installed. Prints what happened;
 * exits with 1 when a read failed, when a mount was not mended, when too few tokens ended, or when
 * something leaked.
 *
 * --minutes N   how long (default 3)
 * --seed N      the order of the faults (a random one when not given)
 */
import { parseArgs } from "node:util";
import { HAS_DOCKER_REGISTRY } from "../e2e/docker_registry.ts";
import { HAS_OPENSSL } from "../fakes/certificates.ts";
import { campaignOn, type Row, seeded } from "./campaign.ts";
import type { Fault } from "./fault.ts";
import { FAULTS } from "./faults.ts";
import { RealRegistry } from "./real_registry.ts";
import { FaultStage } from "./stage.ts";
import { holdingsOf } from "./watchers.ts";

const LIFE_MS = 60_000;
const MORE = Array.from({ length: 10 }, (_, i) => `more/${i}`);
const EXPIRIES_AN_HOUR = 500;
/** Those that change what the plugin says of its tokens have lives of their own. */
const KEEPING = FAULTS.filter(({ name, spoilsReads, endsAgent, stepsClock }) =>
  !spoilsReads && !endsAgent && !stepsClock &&
  !/plugin (?:says|changes)|plugin's tokens/.test(name)
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
  say("soak: --minutes and --seed are numbers, and a token lives for the first minute");
  Deno.exit(2);
}

function say(text: string): void {
  Deno.stdout.writeSync(new TextEncoder().encode(`${text}\n`));
}

function* until(endMs: number, random: () => number): Generator<Fault> {
  while (performance.now() < endMs) {
    const fault = KEEPING[Math.floor(random() * KEEPING.length)];
    if (fault !== undefined) yield fault;
  }
}

function told({ name, result, breaches }: Row): void {
  if (result === "broken") say(`broken: ${name}: ${breaches.join("; ")}`);
}

/** Tokens that ended since the first could, by the hour. */
async function expiriesAnHour(stage: FaultStage, startedMs: number): Promise<[number, number]> {
  const fromMs = startedMs + LIFE_MS;
  const expiries = await stage.expiries(fromMs);
  return [expiries, Math.round(expiries / (Date.now() - fromMs) * 3_600_000)];
}

async function soak(real: RealRegistry | undefined): Promise<boolean> {
  const random = seeded(seed);
  // The end of life alone decides when a token is renewed: after two thirds of it.
  const plugin = {
    cacheDuration: "",
    cacheKeyType: "Image",
    lifetimeMs: LIFE_MS,
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
  const first = holdingsOf(stage.agent.pid);
  const startedMs = Date.now();
  const endMs = performance.now() + minutes * 60_000;
  const rows = await campaignOn(stage, until(endMs, random), told);
  const last = holdingsOf(stage.agent.pid);
  const [expiries, anHour] = await expiriesAnHour(stage, startedMs);
  const broken = rows.filter(({ result }) => result === "broken").length;
  const mounts = [...stage.node.daemons.values()].flatMap(({ instances }) => instances).length;
  const figures: readonly (readonly [string, unknown])[] = [
    ["registry", real === undefined ? "simulated" : "Debian's docker-registry, a token service"],
    ["minutes", ((Date.now() - startedMs) / 60_000).toFixed(1)],
    ["faults", rows.length - 1],
    ["mounts", mounts],
    ["tokens that ended", `${expiries}, ${anHour} an hour (at least ${EXPIRIES_AN_HOUR})`],
    ["reads", stage.reader.reads],
    ["reads that failed", rows.reduce((sum, { readsFailed }) => sum + readsFailed, 0)],
    ...(real ? [["tokens for reads", `${real.granted}, ${real.refused} refused`] as const] : []),
    ["open descriptors", `${first?.descriptors} to ${last?.descriptors}`],
    ["children", last?.children],
    [
      "resident memory",
      `${((last?.residentKb ?? NaN) / (first?.residentKb ?? NaN)).toFixed(2)} times that at first`,
    ],
  ];
  for (const [what, value] of figures) say(`${what.padEnd(20)} ${value}`);
  const joinNames = anHour < EXPIRIES_AN_HOUR ? 1 : 0;
  const state = broken + joinNames === 0 ? "ok" : "FAILED";
  say(`${state} | ${rows.length - broken} passed | ${broken + joinNames} failed`);
  return broken + joinNames === 0;
}

say(`seed ${seed}, ${minutes} minutes`);
await using real = HAS_DOCKER_REGISTRY && HAS_OPENSSL
  ? new RealRegistry(["shop/app", "a", "b", ...MORE])
  : undefined;
Deno.exitCode = await soak(real) ? 0 : 1;
