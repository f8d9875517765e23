import { deepStrictEqual, rejects, strictEqual } from "node:assert/strict";
import { Triggers } from "../../../lib/reconciler/reconciler.ts";
import { FakeClock, flushTasks } from "../../fakes/clock.ts";

Deno.test("Triggers: wait ends after the time, when woken, or with the first trigger", async () => {
  const clock = new FakeClock();
  const triggers = new Triggers(clock);
  const ended: unknown[] = [];
  const wait = (ms: number) => void triggers.wait(ms).then((reason) => ended.push(reason));
  wait(1_000);
  await clock.advance(999);
  deepStrictEqual(ended, []);
  await clock.advance(1);
  deepStrictEqual(ended, [undefined]);
  wait(1);
  await flushTasks();
  triggers.wake();
  await flushTasks();
  deepStrictEqual(ended, [undefined, undefined]);
  deepStrictEqual(clock.sleeping, 0);
  wait(1_000);
  triggers.wake("requested");
  triggers.wake("node-changed");
  await flushTasks();
  deepStrictEqual(ended.at(-1), "requested");
});

Deno.test("Triggers: keeps a trigger without a waiter, but not a wake without one", async () => {
  const clock = new FakeClock();
  const triggers = new Triggers(clock);
  triggers.wake("node-changed");
  triggers.wake();
  strictEqual(await triggers.wait(1_000), "node-changed");
  let isOver = false;
  const waiting = triggers.wait(1_000).then(() => isOver = true);
  await flushTasks();
  strictEqual(isOver, false);
  await clock.advance(1_000);
  await waiting;
});

Deno.test("Triggers: wait rejects when aborted", async () => {
  const triggers = new Triggers(new FakeClock());
  const stop = new AbortController();
  const waiting = rejects(triggers.wait(1_000, { signal: stop.signal }));
  stop.abort();
  await waiting;
  triggers.wake("requested");
  await rejects(triggers.wait(0, { signal: stop.signal }), "although there is a trigger");
});
