import { deepStrictEqual, strictEqual } from "node:assert/strict";
import { parseImageReference, Secret } from "../../../lib/model/mod.ts";
import { InstanceBook } from "../../../lib/reconcile/mod.ts";
import { SettledDaemons } from "../../../lib/reconcile/settled_daemons.ts";
import { CredentialStore, type StoreEntry } from "../../../lib/store/mod.ts";
import { FakeRandom } from "../../fakes/random.ts";
import { found, IMAGE, SECOND, Stage } from "./reconciler_stage.ts";

const OTHER = parseImageReference("registry.example.com/other:v1");

function newStore(): CredentialStore {
  const settings = { leadTimeMs: "auto", refreshIntervalMs: 240 * SECOND } as const;
  const store = new CredentialStore({ settings, seed: "node", random: new FakeRandom() });
  store.ensure(IMAGE, 0);
  return store;
}

Deno.test("a daemon is settled until it, the book or the store says something else", () => {
  const [store, book, held] = [newStore(), new InstanceBook(), new Secret("v")];
  const settled = new SettledDaemons(book, store);
  const daemon = {
    ...new Stage().daemon("a", [{ snapshotId: "1" }]),
    held: new Map([["/1", held]]),
  };
  const entry = store.get(IMAGE.text) as StoreEntry;
  const record = { state: "stored", failures: 0, held, settledWith: entry } as const;
  book.set("a/1", record);
  strictEqual(settled.has(daemon), false);
  const settle = () => settled.add(daemon);
  const [instance] = daemon.instances;
  strictEqual(instance && settled.isMountSettled(daemon, instance), true);
  settle();
  strictEqual(settled.has({ ...daemon }), true);
  book.set("a/1", { ...record, proven: true, provenReads: 7 }); // says nothing of what it holds
  book.set("b/1", { state: "unreachable", failures: 1, retryAtMs: 5 }); // nor does another's pause
  strictEqual(settled.has(daemon), true);
  strictEqual(settled.has({ ...daemon, held: new Map(daemon.held) }), false);
  strictEqual(settled.has({ ...daemon, pid: 2 }), false);
  strictEqual(settled.has({ ...daemon, state: "dying" }), false); // it may answer all the same
  strictEqual(settled.has({ ...daemon, instances: [...daemon.instances] }), false);
  const changes: readonly (() => void)[] = [
    () => book.set("a/1", { ...record, held: new Secret("w") }),
    () => book.set("a/1", { state: "stored", failures: 0, held }),
    () => store.ensure(OTHER, 0),
    () => store.recordFailure(IMAGE, { reason: "plugin-failed", detail: "" }, 1),
    () => store.withdraw(IMAGE), // of nothing: it stays
  ];
  const after = changes.map((change) => {
    settle();
    change();
    return settled.has(daemon);
  });
  deepStrictEqual(after, [false, false, false, false, true]);
});

Deno.test("a look at daemons that are settled compares nothing", async () => {
  const stage = new Stage();
  stage.answer = () => found(stage.clock, "one", { watched: true }); // never due
  stage.daemon("a", [{ snapshotId: "1" }, { snapshotId: "2" }]);
  stage.daemon("b", [{ snapshotId: "3", image: OTHER.text }]);
  let compared = 0;
  const { store } = stage;
  const [get, ensure] = [store.get.bind(store), store.ensure.bind(store)];
  store.get = (key) => (compared++, get(key));
  store.ensure = (image, nowMs) => (compared++, ensure(image, nowMs));
  await stage.run(async () => {
    await stage.clock.advance(181 * SECOND); // delivered, found right, and found right once more
    compared = 0;
    const before = stage.looks;
    await stage.clock.advance(61 * SECOND);
    deepStrictEqual([stage.looks > before, compared], [true, 0]);
    // Somebody else gives one of them something: that look compares again.
    stage.held.get("a")?.set("/2", new Secret("other"));
    await stage.clock.advance(60 * SECOND);
    strictEqual(atob(stage.holds("a", "2")), "u:one");
  });
});

Deno.test("what nydusd takes and does not keep is given again, look after look", async () => {
  const stage = new Stage();
  stage.answer = () => found(stage.clock, "one", { watched: true }); // never due
  stage.daemon("a", [{ snapshotId: "1" }]);
  await stage.run(async () => {
    await stage.clock.advance(241 * SECOND);
    stage.answer = () => found(stage.clock, "two");
    stage.deliver = () => ({ kind: "delivered", file: { kind: "written" } });
    const before = stage.orders.length;
    stage.reconciler.recheck();
    await stage.clock.advance(181 * SECOND);
    const given = stage.orders.slice(before).map(({ credential }) =>
      credential.kind === "basic" && credential.password.reveal()
    );
    deepStrictEqual(given.slice(0, 3), ["two", "two", "two"]);
  });
});
