import { equal, ok } from "node:assert/strict";
import { Backoff } from "../../../lib/model/backoff.ts";
import { FakeClock } from "../../fakes/clock.ts";

const always = (value: number) => ({ next: () => value });

Deno.test("Backoff: delays between one second and a ceiling that doubles with each failure", async () => {
  const clock = new FakeClock();
  const backoff = new Backoff({ clock, random: always(1) });
  for (const ceilingMs of [2_000, 4_000, 8_000, 16_000]) {
    backoff.failed(clock.monotonicMs());
    equal(backoff.remainingMs(), ceilingMs);
    await clock.advance(ceilingMs);
    equal(backoff.remainingMs(), 0);
  }
  for (let i = 0; i < 60; i++) backoff.failed(clock.monotonicMs());
  equal(backoff.remainingMs(), 300_000);
  equal(backoff.remainingMs({ urgent: true }), 5_000);
  const least = new Backoff({ clock, random: always(0) });
  for (let i = 0; i < 60; i++) least.failed(clock.monotonicMs());
  equal(least.remainingMs(), 1_000);
});

Deno.test("Backoff: counts failures of parallel attempts once", async () => {
  const clock = new FakeClock();
  const backoff = new Backoff({ clock, random: always(1) });
  const startedAtMs = clock.monotonicMs();
  await clock.advance(100);
  for (let i = 0; i < 4; i++) backoff.failed(startedAtMs);
  equal(backoff.failures, 1);
});

Deno.test("Backoff: is unaffected when the wall clock steps", () => {
  const clock = new FakeClock();
  const backoff = new Backoff({ clock, random: always(1) });
  backoff.failed(clock.monotonicMs());
  clock.stepWall(86_400_000);
  ok(backoff.remainingMs() > 0);
  clock.stepWall(-2 * 86_400_000);
  equal(backoff.remainingMs(), 2_000);
  backoff.succeeded();
  equal(backoff.remainingMs(), 0);
});
