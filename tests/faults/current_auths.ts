import { pause } from "../e2e/stage.ts";
import type { Bounds } from "./campaign.ts";
import type { FaultStage } from "./stage.ts";
import { type Holdings, holdingsOf } from "./watchers.ts";

/** A renewal under way holds a plugin and its pipes. */
const SPARE_DESCRIPTORS = 12;
/** Memory and wake-ups after everything, as a multiple of those after the first fault. */
const MEMORY_BOUND = 1.5;
const WAKING_BOUND = 3;
const WAKING_MS = 4_000;
/** Older than this is what a killed agent left, and the next write should have taken away. */
const ABANDONED_WITHIN_MS = 45_000;

/** What a process holds now that it did not hold at first; the work under way may end meanwhile. */
export async function heldBreaches(
  pid: number,
  first: Holdings | undefined,
  settledMs: number,
): Promise<readonly string[]> {
  const untilMs = performance.now() + settledMs;
  while (true) {
    const now = holdingsOf(pid);
    const breaches = now === undefined ? ["the agent is gone"] : tooMuch(now, first);
    if (breaches.length === 0 || performance.now() > untilMs) return breaches;
    await pause(50);
  }
}

/** What is more than it was. */
export function tooMuch(now: Holdings, first: Holdings | undefined): readonly string[] {
  const breaches: string[] = [];
  const bound = (first?.descriptors ?? Infinity) + SPARE_DESCRIPTORS;
  if (now.descriptors > bound) breaches.push(`${now.descriptors} descriptors, over ${bound}`);
  if (now.children > 0) breaches.push(`${now.children} children are left`);
  return breaches;
}

/** What grew over a whole campaign. */
export function grown(
  now: Pick<Holdings, "residentKb">,
  first: Pick<Holdings, "residentKb">,
  wakings: { readonly first: number; readonly now: number },
): readonly string[] {
  const breaches: string[] = [];
  if (now.residentKb > first.residentKb * MEMORY_BOUND) {
    breaches.push(`memory grew from ${first.residentKb} to ${now.residentKb} kB`);
  }
  if (wakings.now > wakings.first * WAKING_BOUND) {
    breaches.push(`it wakes ${wakings.now} times, ${wakings.first} at first: timers are left`);
  }
  return breaches;
}

/** What must be true in the end: nothing leaked, neither in the process nor on the disk. */
export async function judgeEnd(
  stage: FaultStage,
  first: (Holdings & { readonly wakings: number }) | undefined,
  { settledMs }: Bounds,
): Promise<readonly string[]> {
  const { pid } = stage.agent;
  const breaches = [...await heldBreaches(pid, first, settledMs)];
  const now = holdingsOf(pid);
  if (first !== undefined && now !== undefined && first.pid === pid) {
    breaches.push(...grown(now, first, { first: first.wakings, now: await wakingsOf(pid) }));
  }
  const untilMs = performance.now() + ABANDONED_WITHIN_MS;
  let old = stage.files.temporaries();
  while (old.length > 0 && performance.now() < untilMs) {
    await pause(200);
    stage.rotatePassword();
    const now = stage.files.temporaries();
    old = old.filter((name) => now.includes(name));
  }
  if (old.length > 0) breaches.push(`temporary files were left: ${old.join(", ")}`);
  return breaches;
}

/** How often a process wakes in a while of its ordinary life. */
export async function wakingsOf(pid: number): Promise<number> {
  const before = holdingsOf(pid)?.sleeps ?? 0;
  await pause(WAKING_MS);
  return (holdingsOf(pid)?.sleeps ?? before) - before;
}
