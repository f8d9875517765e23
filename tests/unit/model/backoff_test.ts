import { equal, ok } from "node:assert/strict";
import { Backoff, ScopedBackoff, waitingCeilingMs } from "../../../lib/model/mod.ts";
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

Deno.test("waitingCeilingMs: stays at 20 s for a boot of the fleet, then grows to five minutes", () => {
  const table = [[1, 2_000], [4, 16_000], [5, 20_000], [60, 20_000], [61, 40_000], [63, 160_000], [
    64,
    300_000,
  ], [1_000, 300_000]] as const;
  for (const [failures, wanted] of table) equal(waitingCeilingMs(failures), wanted, `${failures}`);
});

Deno.test("Backoff: urgent, waiting and forced requests shorten the delay", async () => {
  const clock = new FakeClock();
  const backoff = new Backoff({ clock });
  equal(backoff.remainingMs(), 0);
  for (let i = 0; i < 8; i++) backoff.failed(clock.monotonicMs());
  equal(backoff.failures, 8);
  equal(backoff.remainingMs(), 256_000);
  equal(backoff.remainingMs({ urgent: true }), 5_000);
  equal(backoff.remainingMs({ waiting: true }), 20_000);
  equal(backoff.remainingMs({ forcedAtMs: clock.monotonicMs() }), 256_000, "not a later failure");
  equal(backoff.remainingMs({ forcedAtMs: clock.monotonicMs() + 1 }), 0);
  await clock.advance(100_000);
  equal(backoff.remainingMs(), 156_000);
  backoff.failed(clock.monotonicMs() - 100_001);
  equal(backoff.failures, 8, "an attempt that ran in parallel counts once");
  backoff.failed(clock.monotonicMs(), 10_000);
  equal(backoff.remainingMs(), 10_000, "a lower ceiling");
  backoff.succeeded();
  equal(backoff.remainingMs(), 0);
});

Deno.test("ScopedBackoff: a scope has its own delay, and the program one over all", () => {
  const clock = new FakeClock();
  const backoff = new ScopedBackoff({ clock });
  equal(backoff.isFailing, false);
  for (let i = 0; i < 3; i++) backoff.failed("a", clock.monotonicMs());
  equal(backoff.isFailing, true);
  backoff.succeeded("b");
  equal(backoff.isFailing, false);
  equal(backoff.failures("a"), 3);
  equal(backoff.failures("b"), 0);
  equal(backoff.remainingMs("a", {}), 8_000);
  equal(backoff.remainingMs("b", {}), 0);
  backoff.failed(undefined, clock.monotonicMs());
  equal(backoff.failures("b"), 1);
  equal(backoff.remainingMs("b", {}), 2_000);
  backoff.succeeded("a");
  equal(backoff.remainingMs("a", {}), 0);
});

Deno.test("ScopedBackoff: drops the oldest of more than 4,096 scopes", () => {
  const clock = new FakeClock();
  const backoff = new ScopedBackoff({ clock });
  for (let i = 0; i < 4_096; i++) backoff.failed(`${i}`, clock.monotonicMs());
  backoff.failed("0", clock.monotonicMs()); // now the newest
  backoff.succeeded("none");
  equal(backoff.failures("1"), 1);
  backoff.failed("another", clock.monotonicMs());
  backoff.succeeded("none");
  equal(backoff.failures("1"), 0);
  equal(backoff.failures("0"), 2);
});
