import { FakeClock } from "../../tests/fakes/clock.ts";
import { AgentInMemory } from "../bench/agent_in_memory.ts";
import { NodeInMemory } from "../bench/node_in_memory.ts";
import { CountedPlugin } from "../bench/plugin.ts";
import type { Series } from "./flatness.ts";

const HOUR_MS = 3_600_000;
const STEP_MS = 60_000;
const DAEMONS = 20;
const MOUNTS = 10;
/** Hours without measurements, in which caches fill and code is compiled. */
const WARM_UP_HOURS = 2;

declare const globalThis: { readonly gc?: () => void };

/**
 * Simulates hours of virtual time. Every ten minutes a quarter of the daemons get new images, and old
 * images never return, so state that is not removed with its image accumulates.
 *
 * @throws {Error} when the runtime was started without `--v8-flags=--expose-gc`.
 */
export async function simulatedHours(hours: number): Promise<readonly Series[]> {
  const { gc } = globalThis;
  if (gc === undefined) {
    throw new Error("failed to measure the heap: start with --v8-flags=--expose-gc");
  }
  const clock = new FakeClock();
  const plugin = new CountedPlugin();
  const node = new NodeInMemory({ daemons: DAEMONS, refs: DAEMONS * MOUNTS }, btoa("token:stale"));
  const agent = new AgentInMemory(node, plugin, { clock, checkIntervalMs: STEP_MS });
  await agent.start();
  const samples = { heapMib: [] as number[], handles: [] as number[], entries: [] as number[] };
  let fresh = DAEMONS * MOUNTS;
  for (let step = 1; step <= hours * HOUR_MS / STEP_MS; step++) {
    plugin.password = `password-${step}`;
    if (step % 10 === 0) fresh = replaceImages(node, step / 10, fresh);
    await clock.advance(STEP_MS);
    await rest(); // responses of the next event loop iteration
    if (step % 60 !== 0) continue;
    await agent.metrics.page();
    gc();
    if (step / 60 <= WARM_UP_HOURS) continue;
    samples.heapMib.push(Deno.memoryUsage().heapUsed / 2 ** 20);
    samples.handles.push(openFiles("self"));
    samples.entries.push([...agent.store.entries()].length);
  }
  await agent.stop();
  // A stalled reconcile loop would be flat too.
  if (node.calls.put < fresh) {
    throw new Error(`failed to deliver to all mounts: ${node.calls.put} of ${fresh}`);
  }
  const { heapMib, handles, entries } = samples;
  return [
    { name: "heap", unit: "MiB", values: heapMib, growth: { times: 1.05, plus: 0.25 } },
    { name: "open files and sockets", unit: "", values: handles, growth: { times: 1, plus: 0 } },
    { name: "entries in the store", unit: "", values: entries, growth: { times: 1.1, plus: 0 } },
  ];
}

/** Replaces the images of every fourth daemon; returns the first unused image number. */
function replaceImages(node: NodeInMemory, round: number, fresh: number): number {
  let next = fresh;
  for (let d = round % 4; d < DAEMONS; d += 4) {
    const numbers = Array.from({ length: MOUNTS }, () => next++);
    node.remount(d, numbers, btoa("token:stale"));
  }
  return next;
}

function rest(): Promise<void> {
  return new Promise((resolve) => setTimeout(resolve, 2));
}

/** Returns the number of open files and sockets of a process. */
export function openFiles(pid: number | "self"): number {
  return [...Deno.readDirSync(`/proc/${pid}/fd`)].length;
}
