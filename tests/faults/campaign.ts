import { pages } from "../canary/sinks.ts";
import { pause } from "../e2e/stage.ts";
import type { Fault } from "./fault.ts";
import { checkEnd, resourceBreaches, wakeupsOf } from "./current_auths.ts";
import { canStepClock, FaultStage, type StageOptions } from "./stage.ts";
import { type ProcessResources, resourcesOf } from "./watchers.ts";

/** Result of one fault. */
export interface Row {
  readonly name: string;
  readonly result: "passed" | "failed" | "ignored";
  /** From the end of the fault until every mount had the newest credential. */
  readonly recoveredMs?: number;
  readonly readsFailed: number;
  readonly breaches: readonly string[];
}

/** Time limits of a campaign. */
export interface Bounds {
  /** From the end of a fault until every mount reads with the newest credential. */
  readonly recoveredMs: number;
  /** From then on until descriptors and children are back at their first values. */
  readonly releasedMs: number;
  /** Whether a plugin must have issued a token after the fault. */
  readonly newToken?: boolean;
}

const BOUNDS: Bounds = { recoveredMs: 60_000, releasedMs: 15_000, newToken: true };

/** Returns a seeded generator of numbers in [0, 1) (mulberry32). */
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

/** Returns the items in random order. */
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
 * Runs faults one after another against one agent, and checks the invariants after each. Faults that
 * end the agent run first, so that the last agent runs through all others and shows its leaks. Faults
 * that step the clock run on a separate stage.
 */
export async function runCampaign(
  faults: readonly Fault[],
  onRow: (row: Row) => void = () => {},
  { bounds = BOUNDS, ...options }: StageOptions & { readonly bounds?: Bounds } = {},
): Promise<readonly Row[]> {
  const rows: Row[] = [];
  const report = (row: Row) => {
    rows.push(row);
    onRow(row);
  };
  const clocks = faults.filter(({ stepsClock }) => stepsClock);
  const others = faults.filter(({ stepsClock }) => !stepsClock)
    .toSorted((a, b) => Number(b.endsAgent ?? false) - Number(a.endsAgent ?? false));
  for (const [group, stepsClock] of [[others, false], [clocks, true]] as const) {
    if (group.length === 0) continue;
    if (stepsClock && !await canStepClock()) {
      for (const { name } of group) report(ignoredRow(name));
      continue;
    }
    await using stage = await FaultStage.start({ ...options, stepsClock });
    await campaignOn(stage, group, report, bounds);
  }
  return rows;
}

function ignoredRow(name: string): Row {
  return { name, result: "ignored", readsFailed: 0, breaches: [] };
}

/** Runs faults like {@linkcode runCampaign}, on the given stage. */
export async function campaignOn(
  stage: FaultStage,
  faults: Iterable<Fault>,
  onRow: (row: Row) => void,
  bounds = BOUNDS,
): Promise<readonly Row[]> {
  const rows: Row[] = [];
  const report = (row: Row) => {
    rows.push(row);
    onRow(row);
  };
  let first: (ProcessResources & { readonly wakeups: number }) | undefined;
  for (const fault of faults) {
    const row = await runFault(stage, fault, first, bounds);
    report(row);
    if (first !== undefined && !fault.endsAgent) continue;
    const { pid } = stage.agent;
    const wakeups = await wakeupsOf(pid);
    const now = resourcesOf(pid);
    first = now && { ...now, wakeups };
  }
  const breaches = await checkEnd(stage, first, bounds);
  report({
    name: "after all faults: descriptors, children, timers, memory, files",
    result: breaches.length === 0 ? "passed" : "failed",
    readsFailed: 0,
    breaches,
  });
  return rows;
}

async function runFault(
  stage: FaultStage,
  fault: Fault,
  first: ProcessResources | undefined,
  { recoveredMs: withinMs, releasedMs, newToken = false }: Bounds,
): Promise<Row> {
  const { name } = fault;
  const { node, reader, files } = stage;
  reader.takeFailed();
  files.takeSeen();
  const { reads } = reader;
  const breaches: string[] = [];
  try {
    const remedy = await fault.begin(stage);
    if (remedy === undefined) return ignoredRow(name);
    // Credentials rotate during the fault, which is when recovery matters.
    if (!fault.keepsPassword) stage.rotatePassword();
    await pause(fault.lastsMs);
    await remedy();
  } catch (error) {
    breaches.push(
      error instanceof Error ? error.message : "the fault failed with an unknown error",
    );
  }
  const endedMs = performance.now();
  stage.rotatePassword();
  const { tokenRegistry } = node;
  const tokenBefore = tokenRegistry.newestToken();
  // The last token may have expired, so reads must succeed too. Waiting for a new token ends the
  // backoff after plugin failures, which would otherwise affect the next fault.
  const hasRecovered = await within(
    withinMs,
    async () =>
      (!newToken || tokenRegistry.newestToken() !== tokenBefore) && await node.allNewest() &&
      (await node.readAll()).every(({ ok }) => ok),
  );
  const recoveredMs = Math.round(performance.now() - endedMs);
  if (!hasRecovered) breaches.push("not every mount reads with the newest credential");
  const failed = reader.takeFailed();
  if (!fault.failsReads && failed.length > 0) {
    const [one] = failed;
    breaches.push(`${failed.length} reads failed, one of ${one?.image} in ${one?.daemonId}`);
  }
  if (!fault.changesFiles) breaches.push(...files.takeSeen());
  breaches.push(...await checkRecovered(stage, fault));
  if (reader.reads === reads) breaches.push("no reads: the result is not meaningful");
  if (!fault.endsAgent) {
    breaches.push(...await resourceBreaches(stage.agent.pid, first, releasedMs));
  }
  const result = breaches.length === 0 ? "passed" : "failed";
  return { name, result, recoveredMs, readsFailed: failed.length, breaches };
}

/** Checks the invariants that hold after every fault. */
async function checkRecovered(stage: FaultStage, { endsAgent }: Fault): Promise<readonly string[]> {
  const { reader, files } = stage;
  const breaches: string[] = [];
  // A fault may fail reads only until the agent has recovered.
  const temporaries = files.temporaries();
  await pause(300);
  reader.takeFailed();
  files.takeSeen();
  await pause(500);
  const later = reader.takeFailed();
  if (later.length > 0) breaches.push(`${later.length} reads failed after the agent had recovered`);
  if ((await stage.agent.get("/livez")).status !== 200) breaches.push("the agent is not live");
  breaches.push(...files.takeSeen());
  const left = files.temporaries().filter((name) => temporaries.includes(name));
  // A killed agent cannot remove its files. `checkEnd` verifies that its successor does.
  if (endsAgent) stage.files.excuse(left);
  const unexcused = left.filter((name) => !stage.files.excused.has(name));
  if (unexcused.length > 0) breaches.push(`temporary files: ${unexcused.join(", ")}`);
  breaches.push(...await leaks(stage));
  return breaches;
}

/** Finds secrets in the agent's new log output and in its HTTP responses. */
export async function leaks(stage: FaultStage): Promise<readonly string[]> {
  const served = await pages(stage.agent.base).catch(() => []);
  const captured = [{ where: "the log", text: stage.takeLog() }, ...served];
  const { backendCalls = 0 } = stage.node.snapshotter ?? {};
  return [
    ...captured.flatMap(({ where, text }) =>
      stage.detector.find(text).map(({ source, form }) => `a ${source} (${form}) in ${where}`)
    ),
    ...(backendCalls > 0 ? ["the agent requested a secret from the snapshotter"] : []),
  ];
}

/** Waits for a condition; returns whether it became true in time. */
export async function within(ms: number, condition: () => Promise<boolean>): Promise<boolean> {
  const untilMs = performance.now() + ms;
  while (!await condition()) {
    if (performance.now() > untilMs) return false;
    await pause(50);
  }
  return true;
}
