/**
 * `deno task soak`: a node whose tokens live 60 seconds, read all the time while one thing after
 * another breaks that must cost no read. Prints what happened; exits with 1 when a read failed,
 * when a mount was not mended, or when something leaked.
 *
 * --minutes N   how long (default 3)
 * --seed N      the order of the faults (a random one when not given)
 */
import { parseArgs } from "node:util";
import { campaignOn, seeded } from "./campaign.ts";
import { type Fault, FAULTS } from "./faults.ts";
import { FaultStage } from "./stage.ts";
import { holdingsOf } from "./watchers.ts";

const LIFE_MS = 60_000;
/** Those that change what the plugin says of its tokens have lives of their own. */
const KEEPING = FAULTS.filter(({ name, spoilsReads }) =>
  spoilsReads !== true && !/plugin (?:says|changes)|tokens are dead/.test(name)
);

const { values } = parseArgs({
  options: {
    minutes: { type: "string", default: "3" },
    seed: { type: "string", default: String(Math.floor(Math.random() * 1e6)) },
  },
});
const minutes = Number(values.minutes);
const seed = Number(values.seed);
if (!(minutes > 0) || !Number.isInteger(seed)) {
  say("soak: --minutes and --seed are numbers");
  Deno.exit(2);
}

function say(text: string): void {
  Deno.stdout.writeSync(new TextEncoder().encode(`${text}\n`));
}

function* until(endMs: number): Generator<Fault> {
  const random = seeded(seed);
  while (performance.now() < endMs) {
    const fault = KEEPING[Math.floor(random() * KEEPING.length)];
    if (fault !== undefined) yield fault;
  }
}

say(`seed ${seed}, ${minutes} minutes`);
await using stage = await FaultStage.start({
  cacheDuration: "6s", // so that a token comes, and another ends, every few seconds
  lifeMs: LIFE_MS,
  shape: "ecr",
});
const { host } = stage.node.tokenRegistry;
for (let i = 0; i < 10; i++) {
  await stage.node.addInstance(stage.daemon("s1"), `${host}/more/${i}:1`);
}
stage.files.watchAlso(stage.node);
const first = holdingsOf(stage.agent.pid);
const startedMs = performance.now();
const rows = await campaignOn(stage, until(startedMs + minutes * 60_000), (row) => {
  if (row.result === "broken") say(`broken: ${row.name}: ${row.breaches.join("; ")}`);
});
const last = holdingsOf(stage.agent.pid);
const tookMinutes = (performance.now() - startedMs) / 60_000;
const expiries = await stage.expiries();
const broken = rows.filter(({ result }) => result === "broken").length;
const failedReads = rows.reduce((sum, { readsFailed }) => sum + readsFailed, 0);
for (
  const [what, value] of [
    ["minutes", tookMinutes.toFixed(1)],
    ["faults", rows.length - 1],
    ["mounts", [...stage.node.daemons.values()].flatMap(({ instances }) => instances).length],
    ["tokens that ended", `${expiries}, ${Math.round(expiries / tookMinutes * 60)} an hour`],
    ["reads", stage.reader.reads],
    ["reads that failed", failedReads],
    ["open descriptors", `${first.descriptors} to ${last.descriptors}`],
    ["children", last.children],
    ["resident memory", `${(last.residentKb / first.residentKb).toFixed(2)} times that at first`],
  ]
) say(`${String(what).padEnd(20)} ${value}`);
const state = broken === 0 ? "ok" : "FAILED";
say(`${state} | ${rows.length - broken} passed | ${broken} failed`);
Deno.exitCode = broken === 0 ? 0 : 1;
