import { median } from "../lib/bench.ts";
import { AgentInMemory } from "./agent_in_memory.ts";
import { LoopDelay } from "./loop_delay.ts";
import { NodeInMemory, type NodeSize } from "./node_in_memory.ts";
import { CountedPlugin } from "./plugin.ts";
import { atMost, duration, measured, type Row } from "./rows.ts";

/** A node has at most 500 mounts on 100 daemons. */
const SIZES: readonly NodeSize[] = [
  { refs: 500, daemons: 100 },
  { refs: 500, daemons: 1 },
  { refs: 1_000, daemons: 100 },
];
const LOOP_LIMIT_MS = 50;

/** Cost of a reconcile on a node of one size. */
interface TickCost {
  readonly refs: number;
  readonly daemons: number;
  readonly medianMs: number;
  readonly slowestMs: number;
  readonly requests: number;
  /** Longest event loop delay: median over the reconciles. */
  readonly loopMs: number;
}

const TICKS = 40;

/** Measures reconciles without changes. */
async function tickCost({ refs, daemons }: NodeSize): Promise<TickCost> {
  const plugin = new CountedPlugin();
  const node = new NodeInMemory({ daemons, refs }, btoa(`token:${plugin.password}`));
  const agent = new AgentInMemory(node, plugin);
  await agent.start();
  await rest(250); // reconciles are at least 200 ms apart
  await agent.tick(); // warm-up
  const before = requestsOf(node);
  const times: number[] = [];
  const delays: number[] = [];
  using delay = new LoopDelay();
  for (let i = 0; i < TICKS; i++) {
    await rest(250);
    delay.take();
    const startedMs = performance.now();
    await agent.tick();
    times.push(performance.now() - startedMs);
    delays.push(delay.take());
  }
  const requests = Math.round((requestsOf(node) - before) / TICKS);
  await agent.stop();
  const [medianMs, loopMs] = [median(times), median(delays)];
  return { refs, daemons, medianMs, slowestMs: Math.max(...times), requests, loopMs };
}

/** Measures a rotation: one execution, and one delivery per mount. */
async function rotation({ refs, daemons }: NodeSize): Promise<readonly Row[]> {
  const plugin = new CountedPlugin();
  plugin.behavior.cacheDuration = "8s";
  const node = new NodeInMemory({ daemons, refs }, btoa(`token:${plugin.password}`));
  const agent = new AgentInMemory(node, plugin);
  await agent.start();
  await rest(250);
  plugin.password = "second";
  const wanted = btoa("token:second");
  using delay = new LoopDelay();
  const executions = plugin.executions;
  while (plugin.executions === executions) await rest(1);
  plugin.behavior.cacheDuration = "1h";
  delay.take();
  const startedMs = performance.now();
  while (node.countWithAuth(wanted) < node.mounts) await rest(5);
  const tookMs = performance.now() - startedMs;
  const loopMs = delay.take();
  await agent.stop();
  const perMount = node.calls.put / node.mounts;
  const name = `rotation, ${refs} refs on ${daemons} nydusd`;
  return [
    measured(`${name}: until the last mount has it`, duration(tookMs)),
    atMost(`${name}: PUTs per mount`, perMount, 1),
    atMost(`${name}: event loop delay (ms)`, loopMs, LOOP_LIMIT_MS),
  ];
}

function requestsOf({ calls }: NodeInMemory): number {
  return calls.list + calls.currentAuth + calls.info + calls.put;
}

function rest(ms: number): Promise<void> {
  return new Promise((resolve) => setTimeout(resolve, ms));
}

/** Benchmarks reconciles. */
export async function benchReconcile(): Promise<readonly Row[]> {
  const rows: Row[] = [];
  for (const size of SIZES) {
    const { refs, daemons, medianMs, slowestMs, requests, loopMs } = await tickCost(size);
    const name = `reconcile, ${refs} refs on ${daemons} nydusd`;
    rows.push(measured(name, `${duration(medianMs)} (slowest ${duration(slowestMs)})`));
    rows.push(atMost(`${name}: requests`, requests, daemons * 2 + 1));
    rows.push(atMost(`${name}: event loop delay (ms)`, loopMs, LOOP_LIMIT_MS));
  }
  rows.push(...await rotation({ refs: 500, daemons: 100 }));
  return [...rows, ...await rotation({ refs: 500, daemons: 1 })];
}
