import { equal } from "node:assert/strict";
import { EventLoopYielder } from "../../../lib/model/mod.ts";
import type { Clock } from "../../../lib/model/mod.ts";

/** A clock that counts calls of sleep, which end only on request. */
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
  const yielder = new EventLoopYielder(clock);
  equal(yielder.isDue, false);
  clock.nowMs += 7;
  equal(yielder.isDue, false);
  clock.nowMs += 1;
  equal(yielder.isDue, true);
});

Deno.test("EventLoopYielder: all callers await one yield, which restarts the time", async () => {
  const clock = new SleepCounter();
  const yielder = new EventLoopYielder(clock);
  clock.nowMs += 100;
  const waiting = [yielder.yield(), yielder.yield()];
  equal(clock.sleeps, 1);
  equal(yielder.isDue, true); // a later caller awaits the same yield
  clock.wake();
  await Promise.all(waiting);
  equal(yielder.isDue, false);
});
