import { deepStrictEqual, strictEqual } from "node:assert/strict";
import { type Daemon, parseImageReference, Secret } from "../../../lib/model/mod.ts";
import { Mounts, observed } from "../../../lib/reconciler/mounts.ts";
import {
  type InstanceRecord,
  MountRecords,
  recordAfter,
} from "../../../lib/reconciler/mount_records.ts";

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
      daemonId: id,
      snapshotId,
      mountId: `/${snapshotId}`,
      image: IMAGE,
    })),
  };
}

Deno.test("Mounts: lists the mounts of an image by its key in the store", () => {
  const mounts = new Mounts();
  const servedBy = (key: string) => mounts.of(key).map((mount) => mount.daemon.id);
  const [a, b] = [daemon("a", ["1", "2"]), daemon("b", ["3"])];
  mounts.take([a, b]);
  deepStrictEqual(servedBy(IMAGE.text), ["a", "a", "b"]);
  deepStrictEqual([...mounts.subjects.keys()], [IMAGE.text]);
  mounts.take([a]);
  deepStrictEqual(servedBy(IMAGE.text), ["a", "a"]);
  deepStrictEqual(servedBy("other"), []);
});

Deno.test("observed: replaces what was known with what nydusd holds", () => {
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
  if (instance === undefined) throw new Error("there is one");
  const keptBy = (
    now: Daemon,
    { startedMs = 6, replaced = false }: { startedMs?: number; replaced?: boolean } = {},
  ) => {
    const after = observed(record, now, instance, startedMs, replaced);
    return [after.currentAuth?.reveal(), after.fileFingerprint, after.retryAtMs];
  };
  deepStrictEqual(keptBy(found), ["w", "f", 9]);
  deepStrictEqual(keptBy(daemon("a", ["1"])), [undefined, "f", 9]);
  deepStrictEqual(keptBy(found, { startedMs: 5 }), ["v", "f", 9], "older than the delivery");
  deepStrictEqual(keptBy(found, { startedMs: 5, replaced: true }), ["w", undefined, undefined]);
  deepStrictEqual(keptBy({ ...daemon("a", ["1"]), state: "unresponsive" }), [
    undefined,
    "f",
    undefined,
  ]);
});

Deno.test("observed: what was proven of one value is not proven of another", () => {
  const currentAuth = new Secret("v");
  const record = {
    state: "stored",
    failures: 0,
    currentAuth,
    storedAtMs: 1,
    proven: true,
  } as const;
  const [instance] = daemon("a", ["1"]).instances;
  if (instance === undefined) throw new Error("there is one");
  const after = (value: Secret) => observed(record, daemon("a", ["1"], value), instance, 0, false);
  deepStrictEqual([after(new Secret("v")).proven, after(new Secret("v")).storedAtMs], [true, 1]);
  const { proven, storedAtMs } = after(new Secret("w"));
  deepStrictEqual([proven, storedAtMs], [undefined, undefined], "somebody else gave it");
});

Deno.test("a mount is behind from the first new file on, until its nydusd is another process", () => {
  const old = daemon("a", ["1"]);
  const [instance] = old.instances;
  if (instance === undefined) throw new Error("there is one");
  const after = (before: InstanceRecord, wallMs: number, kind: "written" | "unchanged") => {
    const outcome = { kind: "file-only", detail: "it is old", file: { kind } } as const;
    return recordAfter(before, outcome, { fingerprint: kind }, { wallMs, monotonicMs: 0 });
  };
  const first = after({ state: "pending", failures: 0 }, 1, "unchanged");
  strictEqual(first.behindSinceMs, undefined); // it started with what there is
  const behind = after(after(first, 2, "written"), 3, "unchanged");
  strictEqual(behind.behindSinceMs, 2);
  strictEqual(behind.deliveredAtMs, 2); // into its file, which counts as well
  strictEqual(first.deliveredAtMs, undefined);
  strictEqual(after(behind, 4, "written").behindSinceMs, 2);
  strictEqual(observed(behind, old, instance, 0, false).behindSinceMs, 2);
  strictEqual(observed(behind, old, instance, 0, true).behindSinceMs, undefined);
  const told = { kind: "delivered", file: { kind: "unchanged" } } as const;
  const now = { wallMs: 5, monotonicMs: 0 };
  strictEqual(recordAfter(behind, told, { fingerprint: "x" }, now).behindSinceMs, undefined);
});

Deno.test("InstanceBook knows the earliest of the mounts that are to be tried again", () => {
  const book = new MountRecords();
  const failed = (retryAtMs: number) => ({ state: "refused", failures: 1, retryAtMs }) as const;
  strictEqual(book.nextRetryAtMs(), undefined);
  book.set("a/1", failed(7));
  book.set("a/2", failed(5));
  book.set("a/3", failed(6));
  strictEqual(book.nextRetryAtMs(), 5);
  book.set("a/2", { state: "stored", failures: 0 });
  strictEqual(book.nextRetryAtMs(), 6);
  book.keepOnly(new Set(["a/1", "a/2"]));
  strictEqual(book.nextRetryAtMs(), 7);
});
