import { systemClock, systemProcessRunner } from "../../lib/platform/mod.ts";
import { type Observer, parseImageReference } from "../../lib/model/mod.ts";
import { median } from "../lib/bench.ts";
import { AgentInMemory } from "./agent_in_memory.ts";
import { NodeInMemory } from "./node_in_memory.ts";
import { CountedPlugin, kubeletWith } from "./plugin.ts";
import { atMost, duration, measured, type Row } from "./rows.ts";
import { wholeChain } from "./whole_chain.ts";

const REFS = 1_000;
const CALLERS = 20;
const SLOW_MS = 200;
const NO_OBSERVER: Observer = { notify() {} };

function imagesOf(count: number) {
  return Array.from({ length: count }, (_, i) => {
    return parseImageReference(`registry.example.com/team/app-${i}:v1`);
  });
}

/** Measures concurrent callers on an empty cache. */
async function callers(): Promise<Row> {
  const plugin = new CountedPlugin();
  plugin.behavior.durationMs = SLOW_MS;
  const chain = wholeChain(kubeletWith(plugin, { observer: NO_OBSERVER }), NO_OBSERVER);
  const [image] = imagesOf(1);
  if (image === undefined) throw new Error("failed to create an image");
  await Promise.all(
    Array.from({ length: CALLERS }, () => chain.resolve({ image, labels: {} })),
  );
  return atMost(`${CALLERS} concurrent callers, empty cache: executions`, plugin.executions, 1);
}

/** Measures images with one cache entry each and a slow plugin. */
async function slowPlugin(maxParallel: number): Promise<readonly Row[]> {
  const plugin = new CountedPlugin();
  Object.assign(plugin.behavior, { durationMs: SLOW_MS, cacheKeyType: "Image", isPerImage: true });
  const chain = wholeChain(
    kubeletWith(plugin, { observer: NO_OBSERVER, maxParallel }),
    NO_OBSERVER,
  );
  const images = imagesOf(CALLERS);
  const [first] = images;
  // The cache scope is known only after the first response.
  if (first !== undefined) await chain.resolve({ image: first, labels: {} });
  plugin.executions = 0;
  const startedMs = performance.now();
  await Promise.all(images.slice(1).map((image) => chain.resolve({ image, labels: {} })));
  const tookMs = performance.now() - startedMs;
  const idealMs = Math.ceil(plugin.executions / maxParallel) * SLOW_MS;
  const name = `Image scope, ${SLOW_MS} ms per execution, ${maxParallel} in parallel`;
  return [
    measured(`${name}: ${plugin.executions} executions took`, duration(tookMs)),
    atMost(`${name}: concurrent executions`, plugin.maxConcurrent, maxParallel),
    atMost(`${name}: to (executions / bound) x time`, tookMs / idealMs, 1.25, "times"),
  ];
}

/** Measures scheduled renewals of the images of one registry. */
async function renewals(): Promise<readonly Row[]> {
  const plugin = new CountedPlugin();
  plugin.behavior.cacheDuration = "2s";
  const agent = new AgentInMemory(oneRegistry(), plugin);
  await agent.start();
  const first = plugin.executions;
  const renewalCount = 3;
  for (let renewal = 1; renewal <= renewalCount; renewal++) {
    await until(() => agent.renewed >= REFS * (renewal + 1));
  }
  const perRenewal = (plugin.executions - first) / renewalCount;
  await agent.stop();
  return [
    atMost(`${REFS} refs of one registry, empty cache: executions`, first, 1),
    atMost(`${REFS} refs of one registry: executions per renewal`, perRenewal, 1),
  ];
}

/** Measures a failing plugin that is executed for many images. */
async function failing(): Promise<Row> {
  const plugin = new CountedPlugin();
  plugin.behavior.isFailing = true;
  const agent = new AgentInMemory(oneRegistry(), plugin);
  await agent.start();
  await rest(8_000);
  const { startedMs } = plugin;
  await agent.stop();
  // The shortest backoff step is one second.
  const most = Math.max(
    ...startedMs.map((fromMs) =>
      startedMs.filter((atMs) => atMs >= fromMs && atMs < fromMs + 990).length
    ),
  );
  const name = `failing plugin, ${REFS} refs: executions per backoff step`;
  return atMost(name, most, 1, `${startedMs.length} in 8 s`);
}

/** Compares the agent's process runner with plain child processes, alternating between them. */
async function children(): Promise<readonly Row[]> {
  const runner = systemProcessRunner(systemClock);
  const path = "/bin/cat";
  const request = { path, args: [], env: {}, stdin: "{}", timeoutMs: 60_000, maxStdoutBytes: 1024 };
  const piped = { stdin: "null", stdout: "piped", stderr: "piped" } as const;
  // A variable, because the types of older versions do not know `detached`.
  const leading = { ...piped, detached: true };
  const run = {
    runner: () => runner.run(request),
    leading: () => new Deno.Command(path, leading).spawn().output(),
    bare: () => new Deno.Command(path, piped).spawn().output(),
  };
  const times = { runner: [] as number[], leading: [] as number[], bare: [] as number[] };
  for (let i = 0; i < 100; i++) {
    for (const name of ["runner", "leading", "bare"] as const) {
      const startedMs = performance.now();
      await run[name]();
      times[name].push(performance.now() - startedMs);
    }
  }
  const [runnerMs, leadingMs, bareMs] = [times.runner, times.leading, times.bare].map(median);
  if (runnerMs === undefined || leadingMs === undefined || bareMs === undefined) return [];
  return [
    measured("plugin process without work", duration(runnerMs)),
    measured("plain child process", duration(bareMs)),
    measured("plain child process that leads a process group", duration(leadingMs)),
    atMost(
      "plugin process to plain child process that leads a group",
      runnerMs / leadingMs,
      1.5,
      "times",
    ),
  ];
}

function oneRegistry(): NodeInMemory {
  return new NodeInMemory({ daemons: 50, refs: REFS, registries: 1 }, btoa("token:first"));
}

async function until(condition: () => boolean): Promise<void> {
  const deadlineMs = performance.now() + 30_000;
  while (!condition()) {
    if (performance.now() > deadlineMs) {
      throw new Error("failed to wait for a renewal: none within 30 s");
    }
    await rest(20);
  }
}

function rest(ms: number): Promise<void> {
  return new Promise((resolve) => setTimeout(resolve, ms));
}

/** Benchmarks plugin executions. */
export async function benchExecutions(): Promise<readonly Row[]> {
  return [
    await callers(),
    ...await slowPlugin(4),
    ...await renewals(),
    await failing(),
    ...await children(),
  ];
}
