import { deepStrictEqual, strictEqual } from "node:assert/strict";
import { DeliveryQueue, type StoreKeys } from "../../../lib/reconciler/deliveries.ts";
import { flushTasks } from "../../fakes/clock.ts";

/** A queue whose work is completed by the test. */
function stage() {
  const started: string[] = [];
  const failures: string[] = [];
  const open: { readonly id: string; readonly end: (error?: Error) => void }[] = [];
  let ended = 0;
  const queue = new DeliveryQueue({
    work: (id: string, keys: StoreKeys) => {
      started.push(`${id} ${keys === "all" ? "all" : [...keys].join("+")}`);
      const { promise, resolve, reject } = Promise.withResolvers<void>();
      open.push({ id, end: (error) => error === undefined ? resolve() : reject(error) });
      return promise;
    },
    onError: (id, error) => failures.push(`${id}: ${error}`),
    onCompleted: () => ended++,
  });
  return {
    queue,
    started,
    failures,
    ended: () => ended,
    running: () => open.map(({ id }) => id),
    async end(id: string, error?: Error) {
      const i = open.findIndex((work) => work.id === id);
      open.splice(i, 1)[0]?.end(error);
      await flushTasks();
    },
  };
}

Deno.test("DeliveryQueue: processes several daemons concurrently, but each only once at a time", async () => {
  const { queue, started, running, end, ended } = stage();
  queue.mark("a");
  queue.mark("b", "x");
  queue.mark("a", "x");
  queue.mark("a", "y");
  queue.mark("b");
  queue.mark("b", "y");
  await flushTasks();
  deepStrictEqual(running(), ["a", "b"]);
  await end("a");
  await end("b");
  deepStrictEqual(running(), ["a", "b"]);
  deepStrictEqual(started, ["a all", "b x", "a x+y", "b all"]);
  await end("a");
  await end("b");
  await queue.idle();
  strictEqual(ended(), 2);
});

Deno.test("DeliveryQueue: reports an error and continues", async () => {
  const { queue, failures, running, end, ended } = stage();
  queue.mark("a");
  await flushTasks();
  await end("a", new Error("a defect"));
  deepStrictEqual(failures, ["a: Error: a defect"]);
  await queue.idle();
  strictEqual(ended(), 1);
  queue.mark("a");
  await flushTasks();
  deepStrictEqual(running(), ["a"]);
  await end("a");
});

Deno.test("DeliveryQueue: processes at most 16 daemons at a time, and starts none after stop", async () => {
  const { queue, running, end } = stage();
  for (let i = 0; i < 20; i++) queue.mark(`d${i}`);
  await flushTasks();
  strictEqual(running().length, 16);
  await end("d0");
  strictEqual(running().length, 16);
  const stopped = queue.stop();
  for (let i = 1; i < 17; i++) await end(`d${i}`);
  await stopped;
  deepStrictEqual(running(), []);
});
