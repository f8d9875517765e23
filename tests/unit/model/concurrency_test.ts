import { deepEqual, equal, ok, rejects } from "node:assert/strict";
import {
  abortable,
  AnswerDeadline,
  parseImageReference,
  Semaphore,
  sleepToNextTick,
} from "../../../lib/model/mod.ts";
import { FakeClock, flushTasks } from "../../fakes/clock.ts";

const IMAGE = parseImageReference("reg.io/app:1");

Deno.test("abortable: an abort ends the wait, not the work", async () => {
  const stop = new AbortController();
  equal(await abortable(Promise.resolve(1), undefined), 1);
  equal(await abortable(Promise.resolve(2), stop.signal), 2);
  const work = Promise.withResolvers<number>();
  const waiting = rejects(abortable(work.promise, stop.signal), /stop/);
  stop.abort(new Error("stop"));
  await waiting;
  await rejects(abortable(Promise.resolve(3), stop.signal), /stop/);
  work.resolve(4);
  equal(await work.promise, 4);
});

Deno.test("abortable: leaves no listener on the signal", async () => {
  const { signal } = new AbortController();
  const calls: string[] = [];
  signal.addEventListener = () => calls.push("add");
  signal.removeEventListener = () => calls.push("remove");
  await abortable(Promise.resolve(), signal);
  deepEqual(calls, ["add", "remove"]);
});

Deno.test("Semaphore: runs the tasks in the order of arrival, also after a failure", async () => {
  const semaphore = new Semaphore(2);
  const started: number[] = [];
  const open: PromiseWithResolvers<void>[] = [];
  const results = Array.from({ length: 4 }, (_, i) =>
    semaphore.run(async () => {
      started.push(i);
      open[i] = Promise.withResolvers();
      await open[i].promise;
    }));
  deepEqual(started, [0, 1]);
  open[1]?.reject(new Error("failed"));
  await rejects(results[1] ?? Promise.resolve(), /failed/);
  await flushTasks();
  deepEqual(started, [0, 1, 2]);
  open[0]?.resolve();
  await flushTasks();
  deepEqual(started, [0, 1, 2, 3]);
  open[2]?.resolve();
  open[3]?.resolve();
  await Promise.all([results[0], results[2], results[3]]);
});

Deno.test("AnswerDeadline: waits briefly while an earlier answer of the source is overdue", async () => {
  const clock = new FakeClock();
  const late: string[] = [];
  const deadline = new AnswerDeadline({
    clock,
    timeoutMs: 5_000,
    onLateAnswer: ({ text }) => late.push(text),
  });
  const options = {
    image: IMAGE,
    isFailure: (answer: string) => answer === "none",
    onTimeout: (detail: string) => detail,
  };
  const wait = (answer: Promise<string>, source = "a", extraMs = 0) =>
    deadline.wait(answer, { ...options, source, extraMs });
  equal(await wait(Promise.resolve("quick")), "quick");
  equal(clock.sleeping, 0);
  const slow = Promise.withResolvers<string>();
  const first = wait(slow.promise, "a", 1_000);
  await clock.advance(5_999);
  await clock.advance(1);
  equal(await first, "no answer within 5 s; it is used when it arrives");
  const other = Promise.withResolvers<string>();
  const second = wait(other.promise);
  const elsewhere = wait(other.promise, "b");
  await clock.advance(100);
  equal(await second, "no answer within 5 s, as before; it is used when it arrives");
  await clock.advance(4_900);
  equal(await elsewhere, "no answer within 5 s; it is used when it arrives");
  deepEqual(late, []);
  slow.resolve("late");
  await flushTasks();
  deepEqual(late, [IMAGE.text]);
  other.resolve("none"); // no credential, which is not reported
  await flushTasks();
  deepEqual(late, [IMAGE.text]);
  const third = wait(new Promise(() => {}));
  let isOver = false;
  third.then(() => isOver = true);
  await clock.advance(4_999);
  equal(isOver, false, "no answer is overdue any more");
  await clock.advance(1);
  ok((await third).startsWith("no answer within 5 s;"));
  await rejects(wait(Promise.reject(new Error("failed")), "b"), /failed/);
});

Deno.test("sleepToNextTick: sleeps to the next multiple of the interval", async () => {
  const clock = new FakeClock();
  const ended: number[] = [];
  const sleep = () =>
    void sleepToNextTick(clock, 1_000, {}).then(() => ended.push(clock.monotonicMs() % 1_000));
  sleep();
  await clock.advance(1_000);
  await clock.advance(300);
  sleep();
  await clock.advance(1_000);
  deepEqual(ended, [0, 0]);
});
