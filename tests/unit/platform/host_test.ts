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

/** Runs code with a `host` in a process of its own: this one has other tests, with open files. */
function runWithHost(body: string, stdin: "null" | "piped" = "null"): Deno.ChildProcess {
  const module = JSON.stringify(import.meta.resolve("../../../lib/platform/host.ts"));
  const code = `import { systemHost } from ${module}; const host = systemHost(); ${body}`;
  return new Deno.Command("/bin/sh", {
    args: ["-c", 'ulimit -n 321; exec "$0" "$@"', Deno.execPath(), "eval", "--no-check", code],
    env: { DENO_NO_UPDATE_CHECK: "1", NO_COLOR: "1" },
    stdin,
    stdout: "piped",
    stderr: "piped",
  }).spawn();
}

const textOf = (bytes: Uint8Array) => new TextDecoder().decode(bytes);

Deno.test("systemHost: counts open descriptors and CPU time, and returns the limit of descriptors", async () => {
  const { stdout } = await runWithHost(`
    await host.openDescriptors(); // opens descriptors of the runtime
    const before = await host.openDescriptors();
    const files = await Promise.all(Array.from({ length: 100 }, () => Deno.open("/dev/null")));
    const cpu = host.cpuSeconds();
    const opened = await host.openDescriptors() - before;
    const limit = await host.descriptorLimit();
    console.log(JSON.stringify({ opened, limit, cpu, later: host.cpuSeconds() }));`).output();
  const { opened, limit, cpu, later } = JSON.parse(textOf(stdout));
  ok(opened >= 100 && opened < 120, `${opened}`); // the runtime opens some, too
  equal(limit, 321);
  ok(cpu > 0);
  ok(later >= cpu);
});

Deno.test("systemHost: out writes everything, or returns false when the reader has gone", async () => {
  const writing = 'host.out("x".repeat(1e6)) || host.err("gone");';
  const { stdout } = await runWithHost(writing).output();
  equal(textOf(stdout), "x".repeat(1e6));
  const child = runWithHost(`await host.readInput(); ${writing}`, "piped");
  await child.stdout.cancel();
  await child.stdin.close();
  equal(await new Response(child.stderr).text(), "gone");
  const full = runWithHost(`
    const full = Deno.openSync("/dev/full", { write: true });
    Deno.stdout.writeSync = (bytes) => full.writeSync(bytes);
    host.out("x");`);
  const { code, stderr } = await full.output();
  deepEqual([code, /no space left/i.test(textOf(stderr))], [1, true]);
});

Deno.test("systemHost: readInput reads at most 64 KiB", async () => {
  const lengthOf = async (bytes: number) => {
    const child = runWithHost("host.err(String((await host.readInput()).length));", "piped");
    const writer = child.stdin.getWriter();
    await writer.write(new Uint8Array(bytes)).then(() => writer.close()).catch(() => {});
    const [stderr] = await Promise.all([new Response(child.stderr).text(), child.stdout.cancel()]);
    await child.status;
    return stderr;
  };
  equal(await lengthOf(65_536), "65536");
  match(await lengthOf(65_537), /failed to read the standard input: too long/);
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
