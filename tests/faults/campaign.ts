import { pages } from "../canary/sinks.ts";
import { pause } from "../e2e/stage.ts";
import type { Fault } from "./fault.ts";
import { heldBreaches, judgeEnd, wakingsOf } from "./current_auths.ts";
import { canStepClock, FaultStage, type StageOptions } from "./stage.ts";
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

/** What a campaign is judged by. */
export interface Bounds {
  /** From the end of a fault until every mount reads with the newest credential. */
  readonly mendedMs: number;
  /** From then on until nothing is held that was not before. */
  readonly settledMs: number;
  /** Whether a plugin must have issued a token since. */
  readonly newToken?: boolean;
}

const BOUNDS: Bounds = { mendedMs: 60_000, settledMs: 15_000, newToken: true };

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

/** Things in an order that a seed decides. */
export function shuffled<T>(items: readonly T[], random: () => number): T[] {
  const order = [...items];
  for (let i = order.length - 1; i > 0; i--) {
    const j = Math.floor(random() * (i + 1));
    const [a, b] = [order[i], order[j]];
    if (a !== undefined && b !== undefined) [order[i], order[j]] = [b, a];
  }
  return order;
}

/**
 * Runs faults one after another against one agent, and judges after each. Those that end the agent
 * come first, so that the one that lives through all others shows what it leaks; those that step
 * its clock have a stage of their own.
 */
export async function runCampaign(
  faults: readonly Fault[],
  told: (row: Row) => void = () => {},
  { bounds = BOUNDS, ...options }: StageOptions & { readonly bounds?: Bounds } = {},
): Promise<readonly Row[]> {
  const rows: Row[] = [];
  const tell = (row: Row) => {
    rows.push(row);
    told(row);
  };
  const clocks = faults.filter(({ stepsClock }) => stepsClock);
  const others = faults.filter(({ stepsClock }) => !stepsClock)
    .toSorted((a, b) => Number(b.endsAgent ?? false) - Number(a.endsAgent ?? false));
  for (const [group, stepsClock] of [[others, false], [clocks, true]] as const) {
    if (group.length === 0) continue;
    if (stepsClock && !await canStepClock()) {
      for (const { name } of group) tell(leftOut(name));
      continue;
    }
    await using stage = await FaultStage.start({ ...options, stepsClock });
    await campaignOn(stage, group, tell, bounds);
  }
  return rows;
}

function leftOut(name: string): Row {
  return { name, result: "left out", readsFailed: 0, breaches: [] };
}

/** The same on a stage of the caller's. */
export async function campaignOn(
  stage: FaultStage,
  faults: Iterable<Fault>,
  told: (row: Row) => void,
  bounds = BOUNDS,
): Promise<readonly Row[]> {
  const rows: Row[] = [];
  const tell = (row: Row) => {
    rows.push(row);
    told(row);
  };
  let first: (Holdings & { readonly wakings: number }) | undefined;
  for (const fault of faults) {
    const row = await runFault(stage, fault, first, bounds);
    tell(row);
    if (first !== undefined && !fault.endsAgent) continue;
    const { pid } = stage.agent;
    const wakings = await wakingsOf(pid);
    const now = holdingsOf(pid);
    first = now && { ...now, wakings };
  }
  const breaches = await judgeEnd(stage, first, bounds);
  tell({
    name: "in the end: descriptors, children, timers, memory, files",
    result: breaches.length === 0 ? "held" : "broken",
    readsFailed: 0,
    breaches,
  });
  return rows;
}

async function runFault(
  stage: FaultStage,
  fault: Fault,
  first: Holdings | undefined,
  { mendedMs: withinMs, settledMs, newToken = false }: Bounds,
): Promise<Row> {
  const { name } = fault;
  const { node, reader, files } = stage;
  reader.takeFailed();
  files.takeSeen();
  const { reads } = reader;
  const breaches: string[] = [];
  try {
    const remedy = await fault.begin(stage);
    if (remedy === undefined) return leftOut(name);
    // The sources go on while something is broken: that is when it counts.
    if (!fault.keepsPassword) stage.rotatePassword();
    await pause(fault.lastsMs);
    await remedy();
  } catch (error) {
    breaches.push(error instanceof Error ? error.message : "it ended with an error");
  }
  const endedMs = performance.now();
  stage.rotatePassword();
  const { tokenRegistry } = node;
  const tokenBefore = tokenRegistry.newestToken();
  // What was issued last may be dead: reads must be whole as well. And while no plugin has answered
  // again its pause after a failure goes on, which the next fault would be blamed for.
  const isMended = await within(
    withinMs,
    async () =>
      (!newToken || tokenRegistry.newestToken() !== tokenBefore) && await node.allNewest() &&
      (await node.readAll()).every(({ ok }) => ok),
  );
  const mendedMs = Math.round(performance.now() - endedMs);
  if (!isMended) breaches.push("not every mount reads with the newest credential");
  const failed = reader.takeFailed();
  if (!fault.spoilsReads && failed.length > 0) {
    const [one] = failed;
    breaches.push(`${failed.length} reads failed, one of ${one?.image} in ${one?.daemonId}`);
  }
  if (!fault.spoilsFiles) breaches.push(...files.takeSeen());
  breaches.push(...await afterwards(stage, fault));
  if (reader.reads === reads) breaches.push("nothing was read: that none failed means nothing");
  if (!fault.endsAgent) breaches.push(...await heldBreaches(stage.agent.pid, first, settledMs));
  const result = breaches.length === 0 ? "held" : "broken";
  return { name, result, mendedMs, readsFailed: failed.length, breaches };
}

/** What must be so whenever a fault has been mended. */
async function afterwards(stage: FaultStage, { endsAgent }: Fault): Promise<readonly string[]> {
  const { reader, files } = stage;
  const breaches: string[] = [];
  // A fault that may spoil reads may do so until it is mended, and no longer.
  const temporaries = files.temporaries();
  await pause(300);
  reader.takeFailed();
  files.takeSeen();
  await pause(500);
  const later = reader.takeFailed();
  if (later.length > 0) breaches.push(`${later.length} reads failed after it was mended`);
  if ((await stage.agent.get("/livez")).status !== 200) breaches.push("the agent does not live");
  breaches.push(...files.takeSeen());
  const left = files.temporaries().filter((name) => temporaries.includes(name));
  // One that is killed can take nothing away; that the next one does is judged in the end.
  if (endsAgent) stage.files.excuse(left);
  const unexcused = left.filter((name) => !stage.files.excused.has(name));
  if (unexcused.length > 0) breaches.push(`temporary files: ${unexcused.join(", ")}`);
  breaches.push(...await leaks(stage));
  return breaches;
}

/** Secrets in what the agent has written since the last look, and in what it serves. */
export async function leaks(stage: FaultStage): Promise<readonly string[]> {
  const served = await pages(stage.agent.base).catch(() => []);
  const captured = [{ where: "the log", text: stage.takeLog() }, ...served];
  const { backendCalls = 0 } = stage.node.snapshotter ?? {};
  return [
    ...captured.flatMap(({ where, text }) =>
      stage.detector.find(text).map(({ source, form }) => `a ${source} (${form}) in ${where}`)
    ),
    ...(backendCalls > 0 ? ["it asked the snapshotter for a secret"] : []),
  ];
}

/** Whether something becomes so in time. */
export async function within(ms: number, holds: () => Promise<boolean>): Promise<boolean> {
  const untilMs = performance.now() + ms;
  while (!await holds()) {
    if (performance.now() > untilMs) return false;
    await pause(50);
  }
  return true;
}
