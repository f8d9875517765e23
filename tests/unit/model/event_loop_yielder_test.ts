import { equal } from "node:assert/strict";
import { EventLoopYielder } from "../../../lib/model/mod.ts";
import type { Clock } from "../../../lib/model/mod.ts";

/** A clock that counts how often somebody sleeps, and never lets anyone wake by itself. */
class SleepCounter implements Clock {
  nowMs = 0;
  sleeps = 0;
  #wake: (() => void)[] = [];
  wallMs = () => this.nowMs;
  monotonicMs = () => this.nowMs;
  sleep(): Promise<void> {
    this.sleeps++;
    return new Promise((resolve) => this.#wake.push(resolve));
  }
  wake(): void {
    for (const resolve of this.#wake.splice(0)) resolve();
  }
}

Deno.test("EventLoopYielder: is due only after a long time without a yield", () => {
  const clock = new SleepCounter();
  const turns = new EventLoopYielder(clock);
  equal(turns.isDue, false);
  clock.nowMs += 7;
  equal(turns.isDue, false);
  clock.nowMs += 1;
  equal(turns.isDue, true);
});

Deno.test("EventLoopYielder: all callers await one yield, which restarts the time", async () => {
  const clock = new SleepCounter();
  const turns = new EventLoopYielder(clock);
  clock.nowMs += 100;
  const waiting = [turns.yield(), turns.yield()];
  equal(clock.sleeps, 1);
  equal(turns.isDue, true); // whoever comes now waits with them
  clock.wake();
  await Promise.all(waiting);
  equal(turns.isDue, false);
});
