import { deepStrictEqual, strictEqual } from "node:assert/strict";
import { type Daemon, parseImageReference, Secret } from "../../../lib/model/mod.ts";
import {
  type InstanceRecord,
  Mounts,
  readsFailingSinceMs,
  recordAfterDelivery,
  recordAfterDiscovery,
} from "../../../lib/reconciler/mounts.ts";

const IMAGE = parseImageReference("reg.example.com/app:v1");

function daemon(id: string, snapshots: readonly string[], currentAuth?: Secret): Daemon {
  return {
    id,
    pid: 1,
    apiSocket: `/${id}.sock`,
    source: "system-api",
    state: "running",
    configApi: "supported",
    ...(currentAuth &&
      { currentAuth: new Map(snapshots.map((snapshot) => [`/${snapshot}`, currentAuth])) }),
    instances: snapshots.map((snapshotId) => ({
      snapshotId,
      mountId: `/${snapshotId}`,
      image: IMAGE,
    })),
  };
}

Deno.test("Mounts: returns the mounts of a store key", () => {
  const mounts = new Mounts();
  const daemonsOf = (key: string) => mounts.of(key).map((mount) => mount.daemon.id);
  const [a, b] = [daemon("a", ["1", "2"]), daemon("b", ["3"])];
  mounts.observe([a, b], 0);
  deepStrictEqual(daemonsOf(IMAGE.text), ["a", "a", "b"]);
  deepStrictEqual([...mounts.subjects.keys()], [IMAGE.text]);
  mounts.observe([a], 0);
  deepStrictEqual(daemonsOf(IMAGE.text), ["a", "a"]);
  deepStrictEqual(daemonsOf("other"), []);
});

Deno.test("recordAfterDiscovery: replaces the known credential by the observed one", () => {
  const currentAuth = new Secret("v");
  const record: InstanceRecord = {
    state: "stored",
    failures: 1,
    currentAuth,
    fileFingerprint: "f",
    retryAtMs: 9,
    confirmedAtMs: 5,
  };
  const found = daemon("a", ["1"], new Secret("w"));
  const [instance] = found.instances;
  if (instance === undefined) throw new Error("the daemon has no instance");
  const fieldsAfter = (
    now: Daemon,
    { startedMs = 6, replaced = false }: { startedMs?: number; replaced?: boolean } = {},
  ) => {
    const after = recordAfterDiscovery(record, now, instance, startedMs, replaced);
    return [after.currentAuth?.reveal(), after.fileFingerprint, after.retryAtMs];
  };
  deepStrictEqual(fieldsAfter(found), ["w", "f", 9]);
  deepStrictEqual(fieldsAfter(daemon("a", ["1"])), [undefined, "f", 9]);
  deepStrictEqual(fieldsAfter(found, { startedMs: 5 }), ["v", "f", 9], "older than the delivery");
  deepStrictEqual(fieldsAfter(found, { startedMs: 5, replaced: true }), [
    "w",
    undefined,
    undefined,
  ]);
  deepStrictEqual(fieldsAfter({ ...daemon("a", ["1"]), state: "unresponsive" }), [
    undefined,
    "f",
    undefined,
  ]);
});

Deno.test("recordAfterDiscovery: resets proven reads when another client changed the credential", () => {
  const currentAuth = new Secret("v");
  const record = {
    state: "stored",
    failures: 0,
    currentAuth,
    storedAtMs: 1,
    provenReads: 3,
  } as const;
  const [instance] = daemon("a", ["1"]).instances;
  if (instance === undefined) throw new Error("the daemon has no instance");
  const after = (value: Secret) =>
    recordAfterDiscovery(record, daemon("a", ["1"], value), instance, 0, false);
  const timesOf = ({ provenReads, storedAtMs }: InstanceRecord) => [provenReads, storedAtMs];
  deepStrictEqual(timesOf(after(new Secret("v"))), [3, 1]);
  deepStrictEqual(timesOf(after(new Secret("w"))), [undefined, undefined]);
});

Deno.test("InstanceRecord: a mount is behind from the first new file until its nydusd restarts", () => {
  const old = daemon("a", ["1"]);
  const [instance] = old.instances;
  if (instance === undefined) throw new Error("the daemon has no instance");
  const after = (before: InstanceRecord, wallMs: number, kind: "written" | "unchanged") => {
    const outcome = { kind: "file-only", detail: "it is old", file: { kind } } as const;
    return recordAfterDelivery(before, outcome, { fingerprint: kind }, { wallMs, monotonicMs: 0 });
  };
  const first = after({ state: "pending", failures: 0 }, 1, "unchanged");
  strictEqual(first.behindSinceMs, undefined); // it started with this file
  const behind = after(after(first, 2, "written"), 3, "unchanged");
  strictEqual(behind.behindSinceMs, 2);
  strictEqual(behind.deliveredAtMs, 2); // into its file
  strictEqual(first.deliveredAtMs, undefined);
  strictEqual(after(behind, 4, "written").behindSinceMs, 2);
  strictEqual(recordAfterDiscovery(behind, old, instance, 0, false).behindSinceMs, 2);
  strictEqual(recordAfterDiscovery(behind, old, instance, 0, true).behindSinceMs, undefined);
  const reloaded = { kind: "delivered", file: { kind: "unchanged" } } as const;
  const now = { wallMs: 5, monotonicMs: 0 };
  strictEqual(
    recordAfterDelivery(behind, reloaded, { fingerprint: "x" }, now).behindSinceMs,
    undefined,
  );
});

Deno.test("Mounts: keeps a mount over discoveries, and returns the earliest retry", () => {
  const mounts = new Mounts();
  const recordOf = (retryAtMs: number) => ({ state: "refused", failures: 1, retryAtMs }) as const;
  strictEqual(mounts.nextRetryAtMs(), Infinity);
  mounts.observe([daemon("a", ["1", "2"]), daemon("b", ["1"])], 0);
  const before = mounts.all;
  [7, 5, 6].forEach((atMs, i) => Object.assign(before[i] ?? {}, { record: recordOf(atMs) }));
  strictEqual(mounts.nextRetryAtMs(), 5);
  mounts.observe([daemon("b", ["1"]), daemon("a", ["1"])], 0);
  deepStrictEqual(mounts.all, [before[2], before[0]]);
  strictEqual(mounts.all[0], before[2], "the same object");
  strictEqual(mounts.nextRetryAtMs(), 6);
  mounts.observe([{ ...daemon("b", ["1"]), pid: 2 }, daemon("a", ["1"])], 0);
  strictEqual(mounts.nextRetryAtMs(), 7, "a new process is not paused");
});

Deno.test("readsFailingSinceMs: a failed read counts for ten minutes, and for its credential only", () => {
  const mounts = new Mounts();
  const currentAuth = new Secret("a");
  mounts.observe([daemon("a", ["1"], currentAuth)], 0);
  const [mount] = mounts.all;
  if (mount === undefined) throw new Error("no mount");
  mount.failing = { sinceMs: 5, lastMs: 10, currentAuth };
  strictEqual(readsFailingSinceMs(mount, 600_010), 5);
  strictEqual(readsFailingSinceMs(mount, 600_011), undefined);
  mount.failing = { sinceMs: 5, lastMs: 10, currentAuth: new Secret("b") };
  strictEqual(readsFailingSinceMs(mount, 10), undefined);
});
