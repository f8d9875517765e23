import { deepEqual, equal } from "node:assert/strict";
import { PullCacheFile } from "../../../lib/cri/pull_credential_cache.ts";
import { Secret } from "../../../lib/model/mod.ts";
import { FakeClock, flushTasks } from "../../fakes/clock.ts";

/** A file whose writes complete when the test lets them. */
function stage() {
  const clock = new FakeClock();
  const writes: { readonly text: string; readonly end: (error?: Error) => void }[] = [];
  const warnings: string[] = [];
  let text = "";
  const file = new PullCacheFile({
    path: "/run/pulls.json",
    clock,
    files: {
      writeAtomic(_path, written) {
        const { promise, resolve, reject } = Promise.withResolvers<void>();
        writes.push({ text: written, end: (error) => error ? reject(error) : resolve() });
        return promise;
      },
    },
    serialize: () => new Secret(text),
    warn: (warning) => warnings.push(warning),
  });
  const change = (next: string) => {
    text = next;
    file.changed();
  };
  return { clock, writes, warnings, file, change };
}

Deno.test("PullCacheFile: runs one write at a time", async () => {
  const { clock, writes, change } = stage();
  change("one");
  await flushTasks();
  equal(writes.length, 0, "further changes are awaited");
  await clock.advance(1_000);
  change("two");
  await clock.advance(1_000);
  change("three");
  await clock.advance(1_000);
  deepEqual(writes.map(({ text }) => text), ["one"]);
  writes[0]?.end();
  await flushTasks();
  await clock.advance(1_000);
  deepEqual(writes.map(({ text }) => text), ["one", "three"]);
});

Deno.test("PullCacheFile: waits for the current write on close, and writes nothing afterwards", async () => {
  const { clock, writes, file, change } = stage();
  change("one");
  await clock.advance(1_000);
  let isClosed = false;
  const closing = file.close().then(() => isClosed = true);
  await flushTasks();
  equal(isClosed, false);
  writes[0]?.end();
  await closing;
  change("two");
  await clock.advance(10_000);
  deepEqual(writes.map(({ text }) => text), ["one"]);
});

Deno.test("PullCacheFile: writes pending changes on close without a delay", async () => {
  const { writes, file, change } = stage();
  change("one");
  const closing = file.close();
  await flushTasks();
  deepEqual(writes.map(({ text }) => text), ["one"]);
  writes[0]?.end();
  await closing;
});

Deno.test("PullCacheFile: warns about a failed write, and writes the next change", async () => {
  const { clock, writes, warnings, change } = stage();
  change("one");
  await clock.advance(1_000);
  writes[0]?.end(new Error("disk full"));
  await flushTasks();
  deepEqual(warnings, ["failed to save the pull credentials: disk full"]);
  change("two");
  await clock.advance(1_000);
  deepEqual(writes.map(({ text }) => text), ["one", "two"]);
});
