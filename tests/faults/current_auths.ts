import { pause } from "../e2e/stage.ts";
import type { Bounds } from "./campaign.ts";
import type { FaultStage } from "./stage.ts";
import { type ProcessResources, resourcesOf } from "./watchers.ts";

/** A renewal in progress has a plugin and its pipes open. */
const SPARE_DESCRIPTORS = 12;
/** Limits for memory and wake-ups at the end, as multiples of those after the first fault. */
const MEMORY_BOUND = 1.5;
const WAKEUP_BOUND = 3;
const WAKEUP_MS = 4_000;
/** Time until the next write has removed the temporary files of a killed agent. */
const ABANDONED_WITHIN_MS = 45_000;

/** Returns the resources that a process leaked; waits for work in progress to complete. */
export async function resourceBreaches(
  pid: number,
  first: ProcessResources | undefined,
  releasedMs: number,
): Promise<readonly string[]> {
  const untilMs = performance.now() + releasedMs;
  while (true) {
    const now = resourcesOf(pid);
    const breaches = now === undefined ? ["the agent is gone"] : leakedResources(now, first);
    if (breaches.length === 0 || performance.now() > untilMs) return breaches;
    await pause(50);
  }
}

/** Returns the resources that exceed their first values. */
export function leakedResources(
  now: ProcessResources,
  first: ProcessResources | undefined,
): readonly string[] {
  const breaches: string[] = [];
  const bound = (first?.descriptors ?? Infinity) + SPARE_DESCRIPTORS;
  if (now.descriptors > bound) breaches.push(`${now.descriptors} descriptors, over ${bound}`);
  if (now.children > 0) breaches.push(`${now.children} children left`);
  return breaches;
}

/** Returns what grew over a whole campaign. */
export function grown(
  now: Pick<ProcessResources, "residentKb">,
  first: Pick<ProcessResources, "residentKb">,
  wakeups: { readonly first: number; readonly now: number },
): readonly string[] {
  const breaches: string[] = [];
  if (now.residentKb > first.residentKb * MEMORY_BOUND) {
    breaches.push(`memory grew from ${first.residentKb} to ${now.residentKb} kB`);
  }
  if (wakeups.now > wakeups.first * WAKEUP_BOUND) {
    breaches.push(`${wakeups.now} wake-ups, ${wakeups.first} at first: leaked timers`);
  }
  return breaches;
}

/** Checks at the end of a campaign that nothing leaked in the process or on disk. */
export async function checkEnd(
  stage: FaultStage,
  first: (ProcessResources & { readonly wakeups: number }) | undefined,
  { releasedMs }: Bounds,
): Promise<readonly string[]> {
  const { pid } = stage.agent;
  const breaches = [...await resourceBreaches(pid, first, releasedMs)];
  const now = resourcesOf(pid);
  if (first !== undefined && now !== undefined && first.pid === pid) {
    breaches.push(...grown(now, first, { first: first.wakeups, now: await wakeupsOf(pid) }));
  }
  const untilMs = performance.now() + ABANDONED_WITHIN_MS;
  let old = stage.files.temporaries();
  while (old.length > 0 && performance.now() < untilMs) {
    await pause(200);
    stage.rotatePassword();
    const now = stage.files.temporaries();
    old = old.filter((name) => now.includes(name));
  }
  if (old.length > 0) breaches.push(`temporary files left: ${old.join(", ")}`);
  return breaches;
}

/** Counts the wake-ups of a process during normal operation. */
export async function wakeupsOf(pid: number): Promise<number> {
  const before = resourcesOf(pid)?.sleeps ?? 0;
  await pause(WAKEUP_MS);
  return (resourcesOf(pid)?.sleeps ?? before) - before;
}
