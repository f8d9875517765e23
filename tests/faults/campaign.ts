import { holdsWhole } from "../canary/detector.ts";
import { pages } from "../canary/sinks.ts";
import { pause } from "../e2e/stage.ts";
import type { Fault } from "./faults.ts";
import { FaultStage } from "./stage.ts";
import { type Holdings, holdingsOf } from "./watchers.ts";

/** What one fault left behind. */
export interface Row {
  readonly name: string;
  readonly result: "held" | "broken" | "left out";
  /** From the fault's end until every mount held the newest credential. */
  readonly mendedMs?: number;
  readonly readsFailed: number;
  readonly breaches: readonly string[];
}

const MENDED_WITHIN_MS = 60_000;
/** A renewal under way holds a plugin and its pipes. */
const SPARE_DESCRIPTORS = 12;
const SETTLED_WITHIN_MS = 15_000;
/** Memory after everything, as a multiple of that after the first faults. */
const MEMORY_BOUND = 1.5;

/** Numbers in [0, 1) that a seed decides (mulberry32). */
export function seeded(seed: number): () => number {
  let state = seed >>> 0;
  return () => {
    state = (state + 0x6d2b79f5) >>> 0;
    let t = state;
    t = Math.imul(t ^ (t >>> 15), t | 1);
    t ^= t + Math.imul(t ^ (t >>> 7), t | 61);
    return ((t ^ (t >>> 14)) >>> 0) / 2 ** 32;
  };
}

/** The faults in an order that a seed decides. */
export function shuffled<T>(items: readonly T[], random: () => number): T[] {
  const order = [...items];
  for (let i = order.length - 1; i > 0; i--) {
    const j = Math.floor(random() * (i + 1));
    const [a, b] = [order[i], order[j]];
    if (a !== undefined && b !== undefined) [order[i], order[j]] = [b, a];
  }
  return order;
}

/** Runs faults one after another against one agent, and judges after each. */
export async function runCampaign(
  faults: Iterable<Fault>,
  told: (row: Row) => void = () => {},
): Promise<readonly Row[]> {
  await using stage = await FaultStage.start();
  return await campaignOn(stage, faults, told);
}

/** The same on a stage of the caller's. */
export async function campaignOn(
  stage: FaultStage,
  faults: Iterable<Fault>,
  told: (row: Row) => void,
): Promise<readonly Row[]> {
  const rows: Row[] = [];
  let first: Holdings | undefined;
  for (const fault of faults) {
    const row = await runFault(stage, fault);
    rows.push(row);
    told(row);
    first ??= holdingsOf(stage.agent.pid);
  }
  const last = await judgeEnd(stage, first);
  rows.push(last);
  told(last);
  return rows;
}

async function runFault(stage: FaultStage, fault: Fault): Promise<Row> {
  const { name, lastsMs, spoilsReads = false } = fault;
  const { node, reader, files } = stage;
  reader.takeFailed();
  const mend = await fault.begin(stage);
  if (mend === undefined) return { name, result: "left out", readsFailed: 0, breaches: [] };
  // The sources go on while something is broken: that is when it counts.
  stage.rotatePassword();
  await pause(lastsMs);
  await mend();
  const endedMs = performance.now();
  stage.rotatePassword();
  const breaches: string[] = [];
  // What was issued last may be dead: reads must be whole as well.
  const isMended = await within(
    MENDED_WITHIN_MS,
    async () => await node.allNewest() && (await node.readAll()).every(({ ok }) => ok),
  );
  const mendedMs = Math.round(performance.now() - endedMs);
  if (!isMended) breaches.push("not every mount reads with the newest credential");
  const failed = reader.takeFailed();
  if (!spoilsReads && failed.length > 0) {
    const [one] = failed;
    breaches.push(`${failed.length} reads failed, one of ${one?.image} in ${one?.daemonId}`);
  }
  // A fault that may spoil reads may do so until it is mended, and no longer.
  const temporaries = files.temporaries();
  await pause(300);
  reader.takeFailed();
  await pause(500);
  const later = reader.takeFailed();
  if (later.length > 0) breaches.push(`${later.length} reads failed after it was mended`);
  if ((await stage.agent.get("/livez")).status !== 200) breaches.push("the agent does not live");
  breaches.push(...files.breaches());
  const left = files.temporaries().filter((name) => temporaries.includes(name));
  if (left.length > 0) breaches.push(`temporary files were left: ${left.join(", ")}`);
  const { length: readsFailed } = failed;
  return {
    name,
    result: breaches.length === 0 ? "held" : "broken",
    mendedMs,
    readsFailed,
    breaches,
  };
}

/** What must be true in the end: nothing leaked, neither descriptors nor memory nor secrets. */
async function judgeEnd(stage: FaultStage, first: Holdings | undefined): Promise<Row> {
  const breaches: string[] = [];
  const { node, agent } = stage;
  const { pid } = agent;
  const bound = (first?.descriptors ?? 0) + SPARE_DESCRIPTORS;
  const settled = await within(SETTLED_WITHIN_MS, () => {
    const { descriptors, children } = holdingsOf(pid);
    return Promise.resolve(descriptors <= bound && children === 0);
  });
  const last = holdingsOf(pid);
  if (!settled) {
    breaches.push(`${last.descriptors} descriptors (at most ${bound}), ${last.children} children`);
  }
  if (first !== undefined && last.residentKb > first.residentKb * MEMORY_BOUND) {
    breaches.push(`memory grew from ${first.residentKb} to ${last.residentKb} kB`);
  }
  breaches.push(...await leaks(stage));
  if (node.snapshotter?.backendCalls !== 0) breaches.push("it asked the snapshotter for a secret");
  return {
    name: "in the end: descriptors, children, memory, secrets",
    result: breaches.length === 0 ? "held" : "broken",
    readsFailed: 0,
    breaches,
  };
}

/** Secrets in what the agent writes and serves. */
export async function leaks({ node, agent }: FaultStage): Promise<readonly string[]> {
  const secrets = [...node.daemons.values()].flatMap(({ instances }) =>
    instances.map(({ image }) => node.newestPair(image).split(":")[1] ?? "")
  ).filter((secret) => secret.length >= 16);
  const sunk = [{ where: "the log", text: agent.log }, ...await pages(agent.base)];
  return sunk.filter(({ text }) => holdsWhole(text, secrets))
    .map(({ where }) => `a secret in ${where}`);
}

async function within(ms: number, holds: () => Promise<boolean>): Promise<boolean> {
  const untilMs = performance.now() + ms;
  while (!await holds()) {
    if (performance.now() > untilMs) return false;
    await pause(50);
  }
  return true;
}
