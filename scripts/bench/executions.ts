import { systemClock, systemProcessRunner } from "../../lib/platform/mod.ts";
import { type Observer, parseImageReference } from "../../lib/model/mod.ts";
import { median } from "../lib/bench.ts";
import { AgentInMemory } from "./agent_in_memory.ts";
import { NodeInMemory } from "./node_in_memory.ts";
import { CountedPlugin, kubeletWith } from "./plugin.ts";
import { atMost, duration, type Row, told } from "./rows.ts";
import { wholeChain } from "./whole_chain.ts";

const REFS = 1_000;
const CALLERS = 20;
const SLOW_MS = 200;
const UNAVAILABLE: Observer = { notify() {} };

function imagesOf(count: number) {
  return Array.from({ length: count }, (_, i) => {
    return parseImageReference(`registry.example.com/team/app-${i}:v1`);
  });
}

/** Callers that come at once to an empty cache. */
async function callers(): Promise<Row> {
  const plugin = new CountedPlugin();
  plugin.manner.takesMs = SLOW_MS;
  const chain = wholeChain(kubeletWith(plugin, { observer: UNAVAILABLE }), UNAVAILABLE);
  const [image] = imagesOf(1);
  if (image === undefined) throw new Error("make an image: there is none");
  await Promise.all(
    Array.from({ length: CALLERS }, () => chain.resolve({ image, labels: {} })),
  );
  return atMost(`${CALLERS} callers at once, empty cache: executions`, plugin.executions, 1);
}

/** Images with an answer each, and a plugin that takes its time. */
async function slowPlugin(maxParallel: number): Promise<readonly Row[]> {
  const plugin = new CountedPlugin();
  Object.assign(plugin.manner, { takesMs: SLOW_MS, cacheKeyType: "Image", isPerImage: true });
  const chain = wholeChain(
    kubeletWith(plugin, { observer: UNAVAILABLE, maxParallel }),
    UNAVAILABLE,
  );
  const images = imagesOf(CALLERS);
  const [first] = images;
  // What the scope of its answers is, only an answer tells.
  if (first !== undefined) await chain.resolve({ image: first, labels: {} });
  plugin.executions = 0;
  const startedMs = performance.now();
  await Promise.all(images.slice(1).map((image) => chain.resolve({ image, labels: {} })));
  const tookMs = performance.now() - startedMs;
  const idealMs = Math.ceil(plugin.executions / maxParallel) * SLOW_MS;
  const name = `Image scope, ${SLOW_MS} ms a plugin, ${maxParallel} side by side`;
  return [
    told(`${name}: ${plugin.executions} executions took`, duration(tookMs)),
    atMost(`${name}: at once`, plugin.mostAtOnce, maxParallel),
    atMost(`${name}: to (executions / bound) x time`, tookMs / idealMs, 1.25, "times"),
  ];
}

/** One registry's images through renewals by the clock. */
async function renewals(): Promise<readonly Row[]> {
  const plugin = new CountedPlugin();
  plugin.manner.cacheDuration = "2s";
  const agent = new AgentInMemory(oneRegistry(), plugin);
  await agent.start();
  const first = plugin.executions;
  const rounds = 3;
  for (let round = 1; round <= rounds; round++) {
    await until(() => agent.renewed >= REFS * (round + 1));
  }
  const perRenewal = (plugin.executions - first) / rounds;
  await agent.stop();
  return [
    atMost(`${REFS} refs of one registry, empty cache: executions`, first, 1),
    atMost(`${REFS} refs of one registry: executions a renewal`, perRenewal, 1),
  ];
}

/** A plugin that fails, asked for many images for a while. */
async function failing(): Promise<Row> {
  const plugin = new CountedPlugin();
  plugin.manner.isFailing = true;
  const agent = new AgentInMemory(oneRegistry(), plugin);
  await agent.start();
  await rest(8_000);
  const { startedMs } = plugin;
  await agent.stop();
  // The shortest step is a second.
  const most = Math.max(
    ...startedMs.map((fromMs) =>
      startedMs.filter((atMs) => atMs >= fromMs && atMs < fromMs + 990).length
    ),
  );
  const name = `failing plugin, ${REFS} refs: executions a backoff step`;
  return atMost(name, most, 1, `${startedMs.length} in 8 s`);
}

/** A child of the agent's beside a bare one, and a bare leader of a group, in turns. */
async function children(): Promise<readonly Row[]> {
  const runner = systemProcessRunner(systemClock);
  const path = "/bin/cat";
  const ours = { path, args: [], env: {}, stdin: "{}", timeoutMs: 60_000, maxStdoutBytes: 1024 };
  const piped = { stdin: "null", stdout: "piped", stderr: "piped" } as const;
  // A variable, because the types of older versions do not know `detached`.
  const leading = { ...piped, detached: true };
  const run = {
    ours: () => runner.run(ours),
    leading: () => new Deno.Command(path, leading).spawn().output(),
    bare: () => new Deno.Command(path, piped).spawn().output(),
  };
  const times = { ours: [] as number[], leading: [] as number[], bare: [] as number[] };
  for (let i = 0; i < 100; i++) {
    for (const name of ["ours", "leading", "bare"] as const) {
      const startedMs = performance.now();
      await run[name]();
      times[name].push(performance.now() - startedMs);
    }
  }
  const [oursMs, leadingMs, bareMs] = [times.ours, times.leading, times.bare].map(median);
  if (oursMs === undefined || leadingMs === undefined || bareMs === undefined) return [];
  return [
    told("a plugin that does nothing", duration(oursMs)),
    told("a bare child", duration(bareMs)),
    told("a bare child that leads a process group", duration(leadingMs)),
    atMost("a plugin to a bare child that leads a group", oursMs / leadingMs, 1.5, "times"),
  ];
}

function oneRegistry(): NodeInMemory {
  return new NodeInMemory({ daemons: 50, refs: REFS, registries: 1 }, btoa("token:first"));
}

async function until(holds: () => boolean): Promise<void> {
  const deadlineMs = performance.now() + 30_000;
  while (!holds()) {
    if (performance.now() > deadlineMs) throw new Error("wait for a renewal: none came in 30 s");
    await rest(20);
  }
}

function rest(ms: number): Promise<void> {
  return new Promise((resolve) => setTimeout(resolve, ms));
}

/** The section of the benchmark about executions of plugins. */
export async function benchExecutions(): Promise<readonly Row[]> {
  return [
    await callers(),
    ...await slowPlugin(4),
    ...await renewals(),
    await failing(),
    ...await children(),
  ];
}
