import { deepStrictEqual, strictEqual } from "node:assert/strict";
import { type Daemon, parseImageReference, Secret } from "../../../lib/model/mod.ts";
import { Mounts, observed } from "../../../lib/reconcile/mounts.ts";
import {
  InstanceBook,
  type InstanceRecord,
  isSettledWith,
  recordAfter,
} from "../../../lib/reconcile/instance_book.ts";
import type { StoreEntry } from "../../../lib/store/mod.ts";

const IMAGE = parseImageReference("reg.example.com/app:v1");

function daemon(id: string, snapshots: readonly string[], held?: Secret): Daemon {
  return {
    id,
    pid: 1,
    apiSocket: `/${id}.sock`,
    source: "system-api",
    state: "running",
    configApi: "supported",
    ...(held && { held: new Map(snapshots.map((snapshot) => [`/${snapshot}`, held])) }),
    instances: snapshots.map((snapshotId) => ({
      daemonId: id,
      snapshotId,
      mountId: `/${snapshotId}`,
      image: IMAGE,
    })),
  };
}

Deno.test("Mounts says who serves an image, and whether there are other mounts than before", () => {
  const mounts = new Mounts();
  const servedBy = (key: string) => mounts.of(key).map((mount) => mount.daemon.id);
  const [a, b] = [daemon("a", ["1", "2"]), daemon("b", ["3"])];
  strictEqual(mounts.take([a, b]), true);
  deepStrictEqual(servedBy(IMAGE.text), ["a", "a", "b"]);
  strictEqual(mounts.take([b, { ...a }]), false); // only its order and another copy of a daemon
  strictEqual(mounts.take([a]), true);
  deepStrictEqual(servedBy(IMAGE.text), ["a", "a"]);
  deepStrictEqual([...mounts.live], ["a/1", "a/2"]);
  deepStrictEqual(servedBy("other"), []);
});

Deno.test("observed changes nothing while the very same value is held, and else forgets", () => {
  const held = new Secret("v");
  const entry = { image: IMAGE } as StoreEntry;
  const record = { state: "stored", failures: 0, held, settledWith: entry } as const;
  const same = daemon("a", ["1"], held);
  const [instance] = same.instances;
  if (instance === undefined) throw new Error("there is one");
  strictEqual(observed(record, same, instance, 0, false), record);
  strictEqual(isSettledWith(record, entry, held), true);
  const other = daemon("a", ["1"], new Secret("w"));
  for (
    const after of [
      observed(record, other, instance, 0, false),
      observed(record, same, instance, 0, true),
      observed(record, { ...same, state: "unresponsive" }, instance, 0, false),
      observed(record, daemon("a", ["1"]), instance, 0, false),
    ]
  ) {
    strictEqual(isSettledWith(after, entry, after.held), false);
  }
  strictEqual(isSettledWith(record, { ...entry }, held), false);
  strictEqual(isSettledWith(record, undefined, held), false);
});

Deno.test("observed: what was proven of one value is not proven of another", () => {
  const held = new Secret("v");
  const record = { state: "stored", failures: 0, held, storedAtMs: 1, proven: true } as const;
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
  const book = new InstanceBook();
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

Deno.test("InstanceBook puts the key of a mount together once", () => {
  const book = new InstanceBook();
  const [instance] = daemon("a", ["1"]).instances;
  if (instance === undefined) throw new Error("there is one");
  strictEqual(book.keyOf(instance), "a/1");
  strictEqual(book.keyOf({ ...instance, snapshotId: "2" }), "a/2");
});
