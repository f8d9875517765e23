import { deepEqual, equal, ok, rejects } from "node:assert/strict";
import { Deadline } from "../../../lib/model/mod.ts";

Deno.test("Deadline: aborts after its time, with a TimeoutError", async () => {
  using deadline = new Deadline(1);
  await rejects(deadline.race(new Promise(() => {})), { name: "TimeoutError" });
  equal(deadline.passed, true);
});

Deno.test("Deadline: aborts with the caller's reason and has not passed", async () => {
  const caller = new AbortController();
  using deadline = new Deadline(3_600_000, caller.signal);
  const work = deadline.race(new Promise(() => {}));
  caller.abort(new Error("stop"));
  await rejects(work, /stop/);
  equal(deadline.passed, false);
  using late = new Deadline(undefined, caller.signal);
  await rejects(late.race(1), /stop/);
});

/** Returns the listeners that a signal has from now on. */
function listenersOf(signal: AbortSignal): ReadonlySet<unknown> {
  const listeners = new Set<unknown>();
  const { addEventListener, removeEventListener } = signal;
  signal.addEventListener = (type: string, listener: unknown) => {
    listeners.add(listener);
    addEventListener.call(signal, type, listener as EventListener);
  };
  signal.removeEventListener = (type: string, listener: unknown) => {
    listeners.delete(listener);
    removeEventListener.call(signal, type, listener as EventListener);
  };
  return listeners;
}

Deno.test("Deadline: returns a result in time and removes its timer and listeners", async () => {
  const { signal } = new AbortController();
  const listeners = listenersOf(signal);
  {
    using deadline = new Deadline(3_600_000, signal); // the test's sanitizer reports a timer
    const own = listenersOf(deadline.signal);
    equal(await deadline.race(Promise.resolve(7)), 7);
    equal(own.size, 0);
    ok(listeners.size > 0);
  }
  equal(listeners.size, 0);
});

Deno.test("Deadline: is used everywhere instead of AbortSignal.timeout and AbortSignal.any", async () => {
  const lib = new URL("../../../lib/", import.meta.url);
  const found: string[] = [];
  const search = async (folder: URL, path: string): Promise<void> => {
    for await (const { name, isDirectory } of Deno.readDir(folder)) {
      if (isDirectory) await search(new URL(`${name}/`, folder), `${path}${name}/`);
      else if (name.endsWith(".ts") && path + name !== "model/deadline.ts") {
        const text = await Deno.readTextFile(new URL(name, folder));
        if (/AbortSignal\.(?:timeout|any)\(/.test(text)) found.push(path + name);
      }
    }
  };
  await search(lib, "");
  deepEqual(found, []);
});
