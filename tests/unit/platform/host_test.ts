import { deepEqual, equal, match, ok } from "node:assert/strict";
import { isJournal, systemClock, systemHost } from "../../../lib/platform/host.ts";

Deno.test("isJournal: compares the standard error with JOURNAL_STREAM", () => {
  const stat = () => ({ dev: 8n, ino: 9_007_199_254_740_993n });
  equal(isJournal("8:9007199254740993", stat), true);
  equal(isJournal("8:9007199254740992", stat), false);
  equal(isJournal("9:9007199254740993", stat), false);
  equal(isJournal("", stat), false);
  equal(isJournal(undefined, stat), false);
  const closed = () => {
    throw new Error("EBADF");
  };
  equal(isJournal("8:1", closed), false);
});

// In a process of its own: test files run in parallel in this one, and open and close files.
Deno.test("systemHost: counts open descriptors and CPU time", async () => {
  const code = `
    import { systemHost } from ${
    JSON.stringify(import.meta.resolve("../../../lib/platform/host.ts"))
  };
    const host = systemHost();
    await host.openDescriptors(); // opens descriptors of the runtime
    const before = await host.openDescriptors();
    const files = await Promise.all(Array.from({ length: 100 }, () => Deno.open("/dev/null")));
    const cpu = host.cpuSeconds();
    const opened = await host.openDescriptors() - before;
    console.log(JSON.stringify({ opened, files: files.length, cpu, later: host.cpuSeconds() }));`;
  const { stdout } = await new Deno.Command(Deno.execPath(), {
    args: ["eval", "--quiet", "--no-check", code],
    env: { DENO_NO_UPDATE_CHECK: "1" },
  }).output();
  const { opened, files, cpu, later } = JSON.parse(new TextDecoder().decode(stdout));
  ok(opened >= files && opened < files + 20, `${opened}`); // the runtime opens some, too
  ok(cpu > 0);
  ok(later >= cpu);
});

Deno.test("systemHost: reports unhandled errors until that is disposed", () => {
  const reported: unknown[] = [];
  const watch = systemHost().onUnhandledError((error, isFatal) => reported.push([error, isFatal]));
  const promise = Promise.resolve();
  const dispatch = () => {
    globalThis.dispatchEvent(new ErrorEvent("error", { error: 1, cancelable: true }));
    globalThis.dispatchEvent(
      new PromiseRejectionEvent("unhandledrejection", { promise, reason: 2, cancelable: true }),
    );
  };
  dispatch();
  deepEqual(reported, [[1, true], [2, false]]);
  watch[Symbol.dispose]();
  dispatch();
  equal(reported.length, 2);
});

Deno.test("systemClock: intervals are rounded down to the same wakeups", async () => {
  const calls: string[] = [];
  const done = Promise.withResolvers<void>();
  const intervals = [800, 2_399, 1].map((intervalMs, i) =>
    systemClock.every(intervalMs, (delayMs) => {
      ok(delayMs >= 0);
      calls.push("abc".charAt(i));
      if (calls.filter((call) => call === "b").length === 2) done.resolve();
    })
  );
  intervals.pop()?.[Symbol.dispose]();
  await done.promise;
  match(calls.join(""), /^a{1,2}baab$/);
  const ended = calls.length;
  for (const interval of intervals) interval[Symbol.dispose]();
  await new Promise<void>((resolve) => {
    const last = systemClock.every(1, () => {
      last[Symbol.dispose]();
      resolve();
    });
  });
  equal(calls.length, ended, "disposed intervals are not called");
});
