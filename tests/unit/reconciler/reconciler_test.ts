import { deepStrictEqual, ok, strictEqual } from "node:assert/strict";
import { type Daemon, type DaemonState, type NodeView, Secret } from "../../../lib/model/mod.ts";
import { pauseMs } from "../../../lib/reconciler/reconciler.ts";
import { reportViewChanges } from "../../../lib/reconciler/view_changes.ts";
import { FakeClock, settle } from "../../fakes/clock.ts";
import { FakeObserver } from "../../fakes/observer.ts";
import { basic, found, IMAGE, none, SECOND, Stage } from "./reconciler_stage.ts";

const OTHER = "registry.example.com/other:v1";
const auth = (password: string) => btoa(`u:${password}`);

Deno.test("run delivers at start, is ready afterwards, and reaches in-use by its version's delay", async () => {
  const stage = new Stage();
  stage.daemon("d1", [{ snapshotId: "1" }]);
  stage.answer = () => found(stage.clock, "a");
  await stage.run(async () => {
    ok(stage.ready);
    strictEqual(stage.holds("d1", "1"), auth("a"));
    strictEqual(stage.state("d1", "1"), "stored");
    await stage.clock.advance(5 * SECOND);
    strictEqual(stage.state("d1", "1"), "in-use");
  });
});

Deno.test("flaw 1: two RAFS instances of one ref are two deliveries", async () => {
  const stage = new Stage();
  stage.daemon("d1", [{ snapshotId: "1" }]);
  stage.daemon("d2", [{ snapshotId: "2" }, { snapshotId: "3" }]);
  stage.answer = () => found(stage.clock, "a");
  await stage.run(async () => {
    await settle();
    for (const [id, s] of [["d1", "1"], ["d2", "2"], ["d2", "3"]] as const) {
      strictEqual(stage.holds(id, s), auth("a"));
    }
    strictEqual(stage.requests.length, 1);
  });
});

Deno.test("flaw 2: a delivery that failed is tried again without a new rotation", async () => {
  const stage = new Stage();
  stage.daemon("d1", [{ snapshotId: "1" }]);
  stage.answer = () => found(stage.clock, "a");
  let broken = true;
  stage.deliver = (order) =>
    broken
      ? { kind: "unreachable", detail: "timed out", file: { kind: "unchanged" } }
      : stage.store_(order);
  await stage.run(async () => {
    strictEqual(stage.state("d1", "1"), "unreachable");
    broken = false;
    await stage.clock.advance(3 * SECOND);
    strictEqual(stage.holds("d1", "1"), auth("a"));
    strictEqual(stage.requests.length, 1, "no provider had to be asked for it");
  });
});

Deno.test("Deliveries: a different credential does not wait for the pause of one that was rejected", async () => {
  const stage = new Stage();
  stage.daemon("d1", [{ snapshotId: "1" }]);
  stage.answer = () => found(stage.clock, "a", { watched: true });
  stage.deliver = (order) =>
    order.credential.kind === "basic" && order.credential.password.reveal() === "a"
      ? { kind: "rejected", detail: "500", file: { kind: "unchanged" } }
      : stage.store_(order);
  await stage.run(async () => {
    await stage.clock.advance(40 * SECOND);
    const tries = stage.orders.length;
    ok(tries >= 3 && tries <= 9, `${tries} tries of the same credential in 40 s`);
    stage.answer = () => found(stage.clock, "b", { watched: true });
    stage.reconciler.recheck();
    for (let i = 0; i < 6; i++) await settle();
    strictEqual(stage.holds("d1", "1"), auth("b"), "without waiting");
  });
});

Deno.test("a nydusd that lost its credential gets it back at the next look", async () => {
  const stage = new Stage();
  stage.daemon("d1", [{ snapshotId: "1" }]);
  stage.answer = () => found(stage.clock, "a");
  await stage.run(async () => {
    stage.currentAuth.get("d1")?.set("/1", new Secret(auth("stale")));
    await stage.clock.advance(61 * SECOND);
    strictEqual(stage.holds("d1", "1"), auth("a"));
  });
});

Deno.test("Reconciler: does not take an older observation for the result of a delivery", async () => {
  const stage = new Stage();
  stage.daemon("d1", [{ snapshotId: "1" }]);
  stage.answer = () => found(stage.clock, "a", { watched: true });
  await stage.run(async () => {
    await stage.clock.advance(SECOND);
    const discovery = Promise.withResolvers<void>();
    stage.discoveryEnds = () => discovery.promise;
    stage.reconciler.trigger("requested");
    await settle(); // it has read what the daemons hold
    stage.answer = () => found(stage.clock, "b", { watched: true });
    stage.reconciler.recheck();
    await stage.clock.advance(SECOND);
    strictEqual(stage.holds("d1", "1"), auth("b"));
    const orders = stage.orders.length;
    const deliveredAtMs = stage.mount("d1", "1")?.deliveredAtMs;
    discovery.resolve();
    await stage.clock.advance(SECOND);
    strictEqual(stage.orders.length, orders, "no redundant PUT");
    strictEqual(stage.mount("d1", "1")?.deliveredAtMs, deliveredAtMs);
    await stage.clock.advance(4 * SECOND);
    strictEqual(stage.state("d1", "1"), "in-use", "counted from the delivery");
    stage.currentAuth.get("d1")?.set("/1", new Secret(auth("stale")));
    await stage.clock.advance(61 * SECOND);
    strictEqual(stage.holds("d1", "1"), auth("b"), "a later observation counts");
  });
});

Deno.test("Reconciler: goes on after a defect in a delivery, which it reports", async () => {
  const stage = new Stage();
  stage.daemon("d1", [{ snapshotId: "1" }, { snapshotId: "2" }]);
  stage.answer = () => found(stage.clock, "a", { watched: true });
  const { notify } = stage.observer;
  stage.observer.notify = (event) => {
    notify.call(stage.observer, event);
    const isPoison = event.kind === "delivery-attempted" && event.snapshotId === "1";
    if (isPoison && stage.clock.monotonicMs() < 30 * SECOND) throw new Error("a defect");
  };
  await stage.run(async () => {
    ok(stage.ready);
    strictEqual(stage.state("d1", "2"), "stored", "the other mount is served");
    ok(stage.observer.of("warning").some(({ code }) => code === "delivery-error"));
    await stage.clock.advance(120 * SECOND);
    strictEqual(stage.state("d1", "1"), "in-use");
  });
});

Deno.test("Reconciler: never overlaps deliveries to one daemon, also across a reload", async () => {
  const stage = new Stage();
  const open = new Map<string, number>();
  let most = 0;
  let daemons = 0;
  stage.daemon("d1", [{ snapshotId: "1" }, { snapshotId: "2", image: OTHER }]);
  stage.daemon("d2", [{ snapshotId: "3" }]);
  stage.deliver = async (order) => {
    const { id } = order.daemon;
    open.set(id, (open.get(id) ?? 0) + 1);
    most = Math.max(most, open.get(id) ?? 0);
    daemons = Math.max(daemons, [...open.values()].filter((count) => count > 0).length);
    await stage.clock.sleep(SECOND);
    open.set(id, (open.get(id) ?? 0) - 1);
    return stage.store_(order);
  };
  let issued = 0;
  stage.answer = () => found(stage.clock, `t${++issued}`, { watched: true });
  await stage.run(async () => {
    for (let i = 0; i < 10; i++) {
      stage.reload();
      await stage.clock.advance(300);
    }
    await stage.clock.advance(10 * SECOND);
    ok(stage.orders.length >= 3);
    deepStrictEqual([most, daemons], [1, 2]);
  });
});

Deno.test("Reconciler: keeps what it knows, and goes on, while discovery fails", async () => {
  const stage = new Stage();
  stage.daemon("d1", [{ snapshotId: "1" }]);
  stage.answer = () => found(stage.clock, "a", { watched: true });
  await stage.run(async () => {
    stage.discoveryEnds = () => Promise.reject(new Error("a defect"));
    stage.answer = () => found(stage.clock, "b", { watched: true });
    stage.reconciler.recheck();
    await stage.clock.advance(121 * SECOND);
    strictEqual(stage.holds("d1", "1"), auth("b"));
    strictEqual(stage.orders.length, 2, "an old observation does not undo the delivery");
    ok(stage.observer.of("warning").some(({ code }) => code === "reconcile-failed"));
  });
});

Deno.test("Reconciler: delivers again, pass after pass, what nydusd accepts and does not keep", async () => {
  const stage = new Stage();
  stage.answer = () => found(stage.clock, "a", { watched: true });
  stage.daemon("d1", [{ snapshotId: "1" }]);
  stage.deliver = () => ({ kind: "delivered", file: { kind: "written" } });
  await stage.run(async () => {
    await stage.clock.advance(181 * SECOND);
    strictEqual(stage.orders.length, 4);
  });
});

Deno.test("pauseMs: grows while something is down, and less for a hung daemon", () => {
  const view = (...states: DaemonState[]): NodeView => ({
    daemons: states.map((state) => ({ state }) as Daemon),
    problems: [],
  });
  const problem = { source: "root", subject: "/", detail: "EIO" } as const;
  const table: readonly (readonly [NodeView, number, number])[] = [
    [view("running"), 0, 60 * SECOND],
    [view("running", "no-socket"), 1, SECOND],
    [view("no-socket"), 3, 4 * SECOND],
    [view("no-socket"), 9, 10 * SECOND],
    [view("unresponsive"), 9, 30 * SECOND],
    [view("unresponsive", "no-listener"), 9, 10 * SECOND],
    [{ ...view("unresponsive"), problems: [problem] }, 9, 10 * SECOND],
    [{ ...view(), problems: [problem] }, 100, 10 * SECOND],
  ];
  for (const [found, passes, wantedMs] of table) {
    strictEqual(pauseMs(found, passes, 60 * SECOND), wantedMs);
    strictEqual(pauseMs(found, passes, 500), 500);
  }
});

Deno.test("reportViewChanges: reports what differs, once", () => {
  const observer = new FakeObserver();
  const of = (id: string, state: DaemonState) => ({ id, state }) as Daemon;
  const problem = (detail: string) => ({ source: "root", subject: "/", detail }) as const;
  const views: readonly NodeView[] = [
    { daemons: [of("a", "running"), of("b", "running")], problems: [] },
    { daemons: [of("a", "terminating"), of("b", "running")], problems: [problem("EIO")] },
    { daemons: [of("a", "terminating"), of("b", "running")], problems: [problem("EIO")] },
    { daemons: [of("b", "running"), of("c", "starting")], problems: [problem("EACCES")] },
    { daemons: [of("b", "running"), of("c", "starting")], problems: [] },
  ];
  let before: NodeView = { daemons: [], problems: [] };
  for (const after of views) {
    reportViewChanges(before, after, observer);
    before = after;
  }
  deepStrictEqual(
    observer.of("daemon-state-changed").map(({ daemonId, from, to }) => [daemonId, from, to]),
    [
      ["a", undefined, "running"],
      ["b", undefined, "running"],
      ["a", "running", "terminating"],
      ["c", undefined, "starting"],
      ["a", "terminating", "gone"],
    ],
  );
  deepStrictEqual(observer.of("discovery-problem").map(({ detail }) => detail), ["EIO", "EACCES"]);
  strictEqual(observer.of("discovery-recovered").length, 1);
});

Deno.test("a steady node is looked at and nothing is delivered or asked", async () => {
  const stage = new Stage();
  stage.daemon("d1", [{ snapshotId: "1" }]);
  stage.answer = () => found(stage.clock, "a", { watched: true });
  await stage.run(async () => {
    const { orders, requests } = stage;
    const before = [orders.length, requests.length];
    const looks = stage.looks;
    await stage.clock.advance(600 * SECOND);
    deepStrictEqual([orders.length, requests.length], before);
    ok(stage.looks - looks >= 9 && stage.looks - looks <= 11, `${stage.looks - looks} looks`);
  });
});

Deno.test("renewal asks for something newer, and the new credential is delivered at once", async () => {
  const stage = new Stage();
  stage.daemon("d1", [{ snapshotId: "1" }]);
  let issued = 0;
  stage.answer = () =>
    found(stage.clock, `t${++issued}`, { refreshAtMs: stage.clock.wallMs() + 10 * SECOND });
  await stage.run(async () => {
    const [first] = stage.requests;
    strictEqual(first?.newerThanMs, undefined);
    await stage.clock.advance(10 * SECOND);
    strictEqual(issued, 2);
    strictEqual(stage.requests[1]?.newerThanMs, stage.clock.wallMs() - stage.clock.monotonicMs());
    strictEqual(stage.holds("d1", "1"), auth("t2"));
  });
});

Deno.test("a failing provider leaves the credential in force and is asked urgently near the end", async () => {
  const stage = new Stage();
  stage.daemon("d1", [{ snapshotId: "1" }]);
  const end = stage.clock.wallMs() + 600 * SECOND;
  stage.answer = () => found(stage.clock, "a", { expiresAtMs: end });
  await stage.run(async () => {
    stage.answer = () => ({ kind: "failed", reason: "plugin-failed", detail: "exit 1", notes: [] });
    await stage.clock.advance(700 * SECOND);
    strictEqual(stage.holds("d1", "1"), auth("a"));
    ok(stage.requests.some(({ urgent }) => urgent), "never urgent");
    const failures = stage.observer.of("renewal-failed");
    ok(failures.some(({ expired }) => expired), "never said that it expired");
    strictEqual(stage.reconciler.status().images[0]?.window, "expired");
  });
});

Deno.test("what nydusd holds is adopted where no source answers, and never overwritten with nothing", async () => {
  const stage = new Stage();
  stage.daemon("d1", [{ snapshotId: "1" }], auth("held"));
  await stage.run(async () => {
    await stage.clock.advance(130 * SECOND);
    strictEqual(stage.state("d1", "1"), "adopted");
    strictEqual(stage.holds("d1", "1"), auth("held"));
    strictEqual(stage.orders.length, 0);
    strictEqual(stage.observer.of("credential-adopted").length, 1);
    strictEqual(stage.observer.of("renewal-failed").length, 0, "none is not a failure");
  });
});

Deno.test("Reconciler: returns the stored credential to a nydusd that restarts empty, every time", async () => {
  for (const isAdopted of [true, false]) {
    const stage = new Stage();
    stage.daemon("d1", [{ snapshotId: "1" }], auth("held"));
    if (!isAdopted) stage.answer = () => found(stage.clock, "held", { watched: true });
    await stage.run(async () => {
      for (let restart = 0; restart < 3; restart++) {
        stage.currentAuth.get("d1")?.delete("/1");
        await stage.clock.advance(61 * SECOND);
        strictEqual(stage.holds("d1", "1"), auth("held"));
      }
    });
  }
});

Deno.test("Reconciler: returns the stored credential to a nydusd that was told to clear it", async () => {
  const stage = new Stage();
  stage.daemon("d1", [{ snapshotId: "1" }], auth("held"));
  await stage.run(async () => {
    stage.currentAuth.get("d1")?.set("/1", new Secret(""));
    await stage.clock.advance(61 * SECOND);
    strictEqual(stage.holds("d1", "1"), auth("held"));
  });
});

Deno.test("Reconciler: gives a remembered credential to mounts that hold none, and to no other", async () => {
  const stage = new Stage();
  stage.remembered = {
    credential: basic("pulled"),
    origin: "from a remembered pull over CRI",
    fetchedAtMs: stage.clock.wallMs(),
    watched: true,
  };
  stage.daemon("d1", [{ snapshotId: "1" }]);
  stage.daemon("d2", [{ snapshotId: "2" }], auth("newer"));
  await stage.run(async () => {
    await stage.clock.advance(SECOND);
    strictEqual(stage.holds("d1", "1"), auth("pulled"));
    strictEqual(stage.holds("d2", "2"), auth("newer"));
    stage.answer = () => found(stage.clock, "a", { watched: true });
    stage.reconciler.recheck();
    await stage.clock.advance(SECOND);
    deepStrictEqual([stage.holds("d1", "1"), stage.holds("d2", "2")], [auth("a"), auth("a")]);
  });
});

Deno.test("an image without any credential is none, not a failure", async () => {
  const stage = new Stage();
  stage.daemon("d1", [{ snapshotId: "1" }]);
  await stage.run(async () => {
    await stage.clock.advance(10 * SECOND);
    strictEqual(stage.state("d1", "1"), "none");
    strictEqual(stage.orders.length, 0);
  });
});

Deno.test("flaws 18 and 19: a daemon that does not answer holds up nobody, and heals when it is back", async () => {
  const stage = new Stage();
  const hung = stage.daemon("d1", [{ snapshotId: "1" }, { snapshotId: "2" }]);
  stage.daemon("d2", [{ snapshotId: "3" }]);
  stage.daemons[0] = { ...hung, state: "unresponsive" };
  stage.answer = () => found(stage.clock, "a");
  stage.deliver = (order) =>
    order.daemon.state === "running" ? stage.store_(order) : {
      kind: "unreachable",
      detail: "timed out",
      file: { kind: "written" },
    };
  await stage.run(async () => {
    strictEqual(stage.holds("d2", "3"), auth("a"));
    strictEqual(stage.state("d1", "1"), "unreachable");
    stage.daemons[0] = hung;
    await stage.clock.advance(11 * SECOND);
    strictEqual(stage.holds("d1", "1"), auth("a"));
    strictEqual(stage.holds("d1", "2"), auth("a"));
  });
});

Deno.test("flaw 12: a changed source is asked and delivered without waiting for a tick", async () => {
  const stage = new Stage();
  stage.daemon("d1", [{ snapshotId: "1" }]);
  stage.answer = () => found(stage.clock, "a", { watched: true });
  await stage.run(async () => {
    stage.answer = () => found(stage.clock, "b", { watched: true });
    stage.reconciler.recheck();
    await settle();
    await settle();
    strictEqual(stage.holds("d1", "1"), auth("b"));
  });
});

Deno.test("recheck during a question asks again, so that no change is lost", async () => {
  const stage = new Stage();
  stage.daemon("d1", [{ snapshotId: "1" }]);
  let release = () => {};
  const currentAuth = new Promise<void>((resolve) => release = resolve);
  stage.answer = async () => {
    const answer = found(stage.clock, "old", { watched: true });
    await currentAuth;
    return answer;
  };
  await stage.run(async () => {
    stage.answer = () => found(stage.clock, "new", { watched: true });
    stage.reconciler.recheck();
    release();
    await settle();
    await settle();
    strictEqual(stage.holds("d1", "1"), auth("new"));
  });
});

Deno.test("a held credential that outlives ours is not replaced with the older one", async () => {
  const token = (end: number) =>
    btoa(JSON.stringify({ payload: "x", version: "2", type: "DATA_KEY", expiration: end }));
  const stage = new Stage();
  const nowS = stage.clock.wallMs() / 1000;
  const newer = auth(token(nowS + 7200));
  stage.daemon("d1", [{ snapshotId: "1" }], newer);
  stage.answer = () =>
    found(stage.clock, token(nowS + 3600), { expiresAtMs: (nowS + 3600) * 1000 });
  await stage.run(async () => {
    await stage.clock.advance(1 * SECOND);
    strictEqual(stage.holds("d1", "1"), newer);
  });
});

Deno.test("an image that is gone is evicted, and its daemon reported gone", async () => {
  const stage = new Stage();
  stage.daemon("d1", [{ snapshotId: "1" }]);
  stage.answer = () => found(stage.clock, "a");
  await stage.run(async () => {
    stage.daemons = [];
    await stage.clock.advance(400 * SECOND);
    strictEqual(stage.observer.of("credential-evicted").length, 1);
    deepStrictEqual(stage.observer.of("daemon-state-changed").map(({ to }) => to), [
      "running",
      "gone",
    ]);
    deepStrictEqual(stage.reconciler.status().images, []);
  });
});

Deno.test("a provider that throws is a failure like any other", async () => {
  const stage = new Stage();
  stage.daemon("d1", [{ snapshotId: "1" }]);
  stage.answer = () => {
    throw new Error("boom");
  };
  await stage.run(async () => {
    await stage.clock.advance(SECOND);
    ok(stage.ready);
    strictEqual(stage.reconciler.status().images[0]?.lastFailure?.reason, "internal-error");
  });
});

Deno.test("what was got in the name of an account that is gone reaches no other mount", async () => {
  const stage = new Stage();
  stage.daemon("d1", [{ snapshotId: "1" }]);
  stage.answer = () => found(stage.clock, "of-a", { plugin: "p", account: "n/a (1)" });
  await stage.run(async () => {
    strictEqual(stage.holds("d1", "1"), auth("of-a"));
    const gone = (...validAccounts: string[]) => () =>
      ({ kind: "none", reason: "no-service-account", notes: [], validAccounts }) as const;
    stage.answer = gone("p n/a (1)");
    stage.reconciler.recheck();
    await settle();
    ok(stage.store.get(IMAGE.text)?.stored, "it stands, so it stays");
    stage.answer = none;
    stage.reconciler.recheck();
    await settle();
    ok(stage.store.get(IMAGE.text)?.stored, "nobody knows, so it stays");
    stage.answer = gone();
    stage.reconciler.recheck();
    await settle();
    strictEqual(stage.store.get(IMAGE.text)?.stored, undefined);
    stage.daemon("d2", [{ snapshotId: "2" }]);
    stage.reconciler.trigger("requested");
    await stage.clock.advance(60 * SECOND);
    strictEqual(stage.holds("d2", "2"), "");
    strictEqual(stage.holds("d1", "1"), auth("of-a"), "nydusd is never told to forget");
    strictEqual(stage.store.get(IMAGE.text)?.stored, undefined, "nor adopted from there");
    stage.answer = () => found(stage.clock, "of-b", { plugin: "p", account: "n/b (2)" });
    stage.reconciler.recheck();
    await settle();
    deepStrictEqual([stage.holds("d1", "1"), stage.holds("d2", "2")], [auth("of-b"), auth("of-b")]);
  });
});

Deno.test("what a mount holds is given to no other while the registry refuses what accounts got", async () => {
  const stage = new Stage(new FakeClock(), {
    elect: ({ inUse, offered }) => {
      const [first] = offered;
      ok(first);
      const kind = inUse === undefined ? "elected" : "kept";
      const winner = inUse ?? first;
      return Promise.resolve({
        kind,
        winner,
        otherCandidates: [],
        reason: "in-use",
        detail: "refused",
        exhausted: false,
      });
    },
  });
  stage.answer = () => ({ ...none(), validAccounts: [] });
  stage.daemon("d1", [{ snapshotId: "1" }], auth("of-a-that-is-gone"));
  await stage.run(async () => {
    await stage.clock.advance(60 * SECOND);
    strictEqual(stage.state("d1", "1"), "adopted");
    stage.answer = () => found(stage.clock, "of-b", { plugin: "p", account: "n/b (2)" });
    stage.reconciler.recheck();
    stage.daemon("d2", [{ snapshotId: "2" }]);
    await stage.clock.advance(120 * SECOND);
    strictEqual(stage.holds("d1", "1"), auth("of-a-that-is-gone"));
    strictEqual(stage.holds("d2", "2"), "");
  });
});

Deno.test("an account's credential takes the place of one that would live longer", async () => {
  const stage = new Stage();
  const later = stage.clock.wallMs() + 9 * 3_600_000;
  const sooner = stage.clock.wallMs() + 3_600_000;
  const part = (value: unknown) => btoa(JSON.stringify(value)).replace(/=+$/, "");
  const jwt = (expMs: number) => `${part({ alg: "x" })}.${part({ exp: expMs / 1000 })}.s`;
  stage.daemon("d1", [{ snapshotId: "1" }], btoa(`u:${jwt(later)}`));
  stage.answer = () => found(stage.clock, jwt(sooner), { plugin: "p", account: "n/a (1)" });
  await stage.run(async () => {
    await settle();
    strictEqual(stage.holds("d1", "1"), auth(jwt(sooner)));
  });
});
