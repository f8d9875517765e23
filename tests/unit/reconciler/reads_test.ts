import { deepStrictEqual } from "node:assert/strict";
import type { Daemon } from "../../../lib/model/mod.ts";
import type { ReconcileStages } from "../../../lib/reconciler/mod.ts";
import { Mounts } from "../../../lib/reconciler/mounts.ts";
import { pollReads } from "../../../lib/reconciler/reads.ts";

function daemon(snapshotIds: readonly string[], pid = 1): Daemon {
  return {
    id: "d1",
    pid,
    apiSocket: "/run/d1.sock",
    source: "system-api",
    state: "running",
    configApi: "supported",
    instances: snapshotIds.map((id) => ({ snapshotId: id, mountId: `/${id}` })),
  };
}

/** Returns the given counters of each mount. */
function counter(counts: Readonly<Record<string, readonly [reads: number, errors: number]>>) {
  return {
    backendReads(_socket: string, { mountId = "" } = {}) {
      const [reads, errors] = counts[mountId] ?? [0, 0];
      return Promise.resolve({ kind: "ok" as const, value: { reads, errors } });
    },
  };
}

async function verdicts(mounts: Mounts, d: Daemon, counts: Parameters<typeof counter>[0]) {
  mounts.observe([d], 0);
  const changes = await pollReads(mounts, counter(counts), 1_000, {});
  return changes.map(({ mount, failed }) =>
    `${mount.instance.snapshotId} ${failed ? "failed" : "succeeded"}`
  );
}

Deno.test("pollReads: returns per mount whether reads failed or succeeded", async () => {
  const mounts = new Mounts();
  const d = daemon(["1", "2", "3"]);
  deepStrictEqual(await verdicts(mounts, d, { "/1": [5, 0], "/2": [5, 5], "/3": [1, 0] }), []);
  const next = { "/1": [6, 1], "/2": [9, 5], "/3": [1, 0] } as const;
  deepStrictEqual(await verdicts(mounts, d, next), ["1 failed", "2 succeeded"]);
  deepStrictEqual(await verdicts(mounts, d, next), []);
});

Deno.test("pollReads: ignores the first counters of a new process", async () => {
  const mounts = new Mounts();
  await verdicts(mounts, daemon(["1"]), { "/1": [5, 0] });
  deepStrictEqual(await verdicts(mounts, daemon(["1"], 2), { "/1": [9, 9] }), []);
  deepStrictEqual(await verdicts(mounts, daemon(["1"], 2), { "/1": [3, 0] }), []);
});

Deno.test("pollReads: does not poll the other mounts of a daemon that does not answer", async () => {
  const mounts = new Mounts();
  const requested: string[] = [];
  const source: NonNullable<ReconcileStages["readCounter"]> = {
    backendReads(socket, { mountId = "" } = {}) {
      requested.push(`${socket} ${mountId}`);
      const failure = mountId === "/1"
        ? { kind: "refused", status: 404, detail: "no such mount" } as const
        : { kind: "timed-out" } as const;
      return Promise.resolve(failure);
    },
  };
  mounts.observe([daemon(["1", "2", "3"])], 0);
  await pollReads(mounts, source, 0, {});
  deepStrictEqual(requested, ["/run/d1.sock /1", "/run/d1.sock /2"]);
});
