import { deepStrictEqual, strictEqual } from "node:assert/strict";
import type { Daemon } from "../../../lib/model/mod.ts";
import { ReadWatch } from "../../../lib/reconciler/mod.ts";

function daemon(snapshotIds: readonly string[], pid = 1): Daemon {
  return {
    id: "d1",
    pid,
    apiSocket: "/run/d1.sock",
    source: "system-api",
    state: "running",
    configApi: "supported",
    instances: snapshotIds.map((id) => ({ daemonId: "d1", snapshotId: id, mountId: `/${id}` })),
  };
}

/** Answers with the counters of each mount. */
function counter(counts: Readonly<Record<string, readonly [reads: number, errors: number]>>) {
  return {
    asked: 0,
    backendReads(_socket: string, { mountId = "" } = {}) {
      this.asked++;
      const [reads, errors] = counts[mountId] ?? [0, 0];
      return Promise.resolve({ kind: "ok" as const, value: { reads, errors } });
    },
  };
}

async function verdicts(watch: ReadWatch, d: Daemon, counts: Parameters<typeof counter>[0]) {
  const findings = await watch.turn([d], counter(counts), 1_000, {});
  return findings.map(({ instance, verdict }) => `${instance.snapshotId} ${verdict}`).sort();
}

Deno.test("ReadWatch tells reads that failed from reads that succeeded, mount by mount", async () => {
  const watch = new ReadWatch();
  const d = daemon(["1", "2", "3"]);
  deepStrictEqual(await verdicts(watch, d, { "/1": [5, 0], "/2": [5, 5], "/3": [1, 0] }), []);
  const next = { "/1": [6, 1], "/2": [9, 5], "/3": [1, 0] } as const;
  deepStrictEqual(await verdicts(watch, d, next), ["1 failed", "2 succeeded"]);
  deepStrictEqual(await verdicts(watch, d, next), []);
});

Deno.test("ReadWatch does not take a new process's counters for a change", async () => {
  const watch = new ReadWatch();
  await verdicts(watch, daemon(["1"]), { "/1": [5, 0] });
  deepStrictEqual(await verdicts(watch, daemon(["1"], 2), { "/1": [9, 9] }), []);
  deepStrictEqual(await verdicts(watch, daemon(["1"], 2), { "/1": [3, 0] }), []);
});

Deno.test("ReadWatch asks a bounded number of mounts in a turn, and all of them in time", async () => {
  const watch = new ReadWatch();
  const d = daemon(Array.from({ length: 600 }, (_, i) => String(i)));
  const source = counter({});
  await watch.turn([d], source, 0, {});
  strictEqual(source.asked, 256);
  await watch.turn([d], source, 0, {});
  await watch.turn([d], source, 0, {});
  strictEqual(source.asked, 768);
});
