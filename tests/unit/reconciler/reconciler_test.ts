import { deepStrictEqual, ok, strictEqual } from "node:assert/strict";
import { type Daemon, type DaemonState, type NodeView, Secret } from "../../../lib/model/mod.ts";
import { passDelayMs, reportViewChanges } from "../../../lib/reconciler/reconciler.ts";
import { FakeClock, flushTasks } from "../../fakes/clock.ts";
import { FakeObserver } from "../../fakes/observer.ts";
import { basic, found, IMAGE, none, SECOND, Stage } from "./reconciler_stage.ts";

const OTHER = "registry.example.com/other:v1";
const auth = (password: string) => btoa(`u:${password}`);

Deno.test("Reconciler: delivers at start, then is ready, and reports in-use after the delay of the version", async () => {
  const stage = new Stage();
  stage.daemon("d1", [{ snapshotId: "1" }]);
  stage.answer = () => found(stage.clock, "a");
  await stage.run(async () => {
    ok(stage.ready);
    strictEqual(stage.clock.sleeping, 2, "only its loops");
    strictEqual(stage.authOf("d1", "1"), auth("a"));
    strictEqual(stage.state("d1", "1"), "stored");
    const states = stage.observer.of("delivery-state-changed").map(({ from, to }) => [from, to]);
    deepStrictEqual(states, [["pending", "stored"]]);
    deepStrictEqual(stage.observer.of("credential-renewed").map(({ changed }) => changed), [true]);
    await stage.clock.advance(5 * SECOND);
    strictEqual(stage.state("d1", "1"), "in-use");
  });
});

Deno.test("Reconciler: is ready when the first deliveries have completed", async () => {
  const stage = new Stage();
  stage.daemon("d1", [{ snapshotId: "1" }]);
  stage.answer = () => found(stage.clock, "a");
  const delivered = Promise.withResolvers<void>();
  stage.deliver = async (order) => {
    await delivered.promise;
    return stage.store_(order);
  };
  await stage.run(async () => {
    strictEqual(stage.ready, false);
    delivered.resolve();
    await flushTasks();
    strictEqual(stage.ready, true);
  });
});

Deno.test("Reconciler: is ready after 30 s although a provider has not answered", async () => {
  const stage = new Stage();
  stage.daemon("d1", [{ snapshotId: "1" }]);
  const answer = Promise.withResolvers<ReturnType<typeof none>>();
  stage.answer = () => answer.promise;
  await stage.run(async () => {
    await stage.clock.advance(30 * SECOND - 1);
    strictEqual(stage.ready, false);
    await stage.clock.advance(1);
    strictEqual(stage.ready, true);
    answer.resolve(none());
  });
});

Deno.test("Reconciler: a reload replaces the stages", async () => {
  const stage = new Stage();
  await stage.run(async () => {
    await stage.clock.advance(60 * SECOND);
    strictEqual(stage.discoveries, 2);
    stage.reload({ checkIntervalMs: 10 * SECOND });
    await stage.clock.advance(60 * SECOND);
    strictEqual(stage.discoveries, 8);
  });
});

Deno.test("Reconciler: completes the deliveries in flight before it ends", async () => {
  const stage = new Stage();
  stage.daemon("d1", [{ snapshotId: "1" }]);
  stage.answer = () => found(stage.clock, "a");
  let isDelivered = false;
  stage.deliver = async (order) => {
    await new Promise((resolve) => stage.stop.signal.addEventListener("abort", resolve));
    await flushTasks();
    isDelivered = true;
    return stage.store_(order);
  };
  await stage.run(() => Promise.resolve());
  ok(isDelivered);
});

Deno.test("Reconciler: delivers to each RAFS instance of one image", async () => {
  const stage = new Stage();
  stage.daemon("d1", [{ snapshotId: "1" }]);
  stage.daemon("d2", [{ snapshotId: "2" }, { snapshotId: "3" }]);
  stage.answer = () => found(stage.clock, "a");
  await stage.run(async () => {
    await flushTasks();
    for (const [id, s] of [["d1", "1"], ["d2", "2"], ["d2", "3"]] as const) {
      strictEqual(stage.authOf(id, s), auth("a"));
    }
    strictEqual(stage.requests.length, 1);
  });
});

Deno.test("Reconciler: retries a failed delivery without another rotation", async () => {
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
    strictEqual(stage.authOf("d1", "1"), auth("a"));
    strictEqual(stage.requests.length, 1, "no further request");
  });
});

Deno.test("Deliveries: another credential does not wait for the retry delay of a rejected one", async () => {
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
    for (let i = 0; i < 6; i++) await flushTasks();
    strictEqual(stage.authOf("d1", "1"), auth("b"), "without waiting");
  });
});

Deno.test("Reconciler: restores a changed credential on the next reconcile", async () => {
  const stage = new Stage();
  stage.daemon("d1", [{ snapshotId: "1" }]);
  stage.answer = () => found(stage.clock, "a");
  await stage.run(async () => {
    stage.currentAuth.get("d1")?.set("/1", new Secret(auth("stale")));
    await stage.clock.advance(61 * SECOND);
    strictEqual(stage.authOf("d1", "1"), auth("a"));
  });
});

Deno.test("Reconciler: ignores an observation that is older than a delivery", async () => {
  const stage = new Stage();
  stage.daemon("d1", [{ snapshotId: "1" }]);
  stage.answer = () => found(stage.clock, "a", { watched: true });
  await stage.run(async () => {
    await stage.clock.advance(SECOND);
    const discovery = Promise.withResolvers<void>();
    stage.discoveryEnds = () => discovery.promise;
    stage.reconciler.trigger("requested");
    await flushTasks(); // discovery has read the credentials
    stage.answer = () => found(stage.clock, "b", { watched: true });
    stage.reconciler.recheck();
    await stage.clock.advance(SECOND);
    strictEqual(stage.authOf("d1", "1"), auth("b"));
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
    strictEqual(stage.authOf("d1", "1"), auth("b"), "a later observation counts");
  });
});

Deno.test("Reconciler: continues after an unexpected error of a delivery and reports it", async () => {
  const stage = new Stage();
  stage.daemon("d1", [{ snapshotId: "1" }, { snapshotId: "2" }]);
  stage.answer = () => found(stage.clock, "a", { watched: true });
  const { notify } = stage.observer;
  stage.observer.notify = (event) => {
    notify.call(stage.observer, event);
    const isDefect = event.kind === "delivery-attempted" && event.snapshotId === "1";
    if (isDefect && stage.clock.monotonicMs() < 30 * SECOND) throw new Error("a defect");
  };
  await stage.run(async () => {
    ok(stage.ready);
    strictEqual(stage.state("d1", "2"), "stored", "the other mount is served");
    ok(stage.observer.of("warning").some(({ code }) => code === "delivery-error"));
    await stage.clock.advance(120 * SECOND);
    strictEqual(stage.state("d1", "1"), "in-use");
  });
});

Deno.test("Reconciler: never overlaps deliveries to one daemon, even across a reload", async () => {
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

Deno.test("Reconciler: keeps the last view and continues while discovery fails", async () => {
  const stage = new Stage();
  stage.daemon("d1", [{ snapshotId: "1" }]);
  stage.answer = () => found(stage.clock, "a", { watched: true });
  await stage.run(async () => {
    stage.discoveryEnds = () => Promise.reject(new Error("a defect"));
    stage.answer = () => found(stage.clock, "b", { watched: true });
    stage.reconciler.recheck();
    await stage.clock.advance(121 * SECOND);
    strictEqual(stage.authOf("d1", "1"), auth("b"));
    strictEqual(stage.orders.length, 2, "an old observation does not undo the delivery");
    ok(stage.observer.of("warning").some(({ code }) => code === "reconcile-failed"));
  });
});

Deno.test("Reconciler: ends although discovery hangs", async () => {
  const stage = new Stage();
  let isAborted = false;
  await stage.run(async () => {
    stage.discoveryEnds = async (options) => {
      await stage.clock.sleep(Infinity, options).finally(() => isAborted = true);
    };
    await stage.clock.advance(61 * SECOND);
    strictEqual(isAborted, false);
  });
  strictEqual(isAborted, true);
});

Deno.test("Reconciler: delivers on every pass when nydusd does not keep the credential", async () => {
  const stage = new Stage();
  stage.answer = () => found(stage.clock, "a", { watched: true });
  stage.daemon("d1", [{ snapshotId: "1" }]);
  stage.deliver = () => ({ kind: "delivered", file: { kind: "written" } });
  await stage.run(async () => {
    await stage.clock.advance(181 * SECOND);
    strictEqual(stage.orders.length, 4);
  });
});

Deno.test("Reconciler: triggers cause at most one pass in 200 ms", async () => {
  const stage = new Stage();
  await stage.run(async () => {
    for (const [ms, passes] of [[0, 1], [199, 1], [1, 2], [100, 2], [100, 3]] as const) {
      await stage.clock.advance(ms);
      stage.reconciler.trigger("node-changed");
      await flushTasks();
      strictEqual(stage.discoveries, passes, `at ${stage.clock.monotonicMs()} ms`);
    }
  });
});

Deno.test("passDelayMs: backs off up to 10 s while a daemon or a source of discovery fails", () => {
  const delays = [0, 1, 2, 3, 4, 5, 100].map((passes) => passDelayMs(passes, 60 * SECOND) / SECOND);
  deepStrictEqual(delays, [60, 1, 2, 4, 8, 10, 10]);
  deepStrictEqual([0, 1, 100].map((passes) => passDelayMs(passes, 500)), [500, 500, 500]);
});

Deno.test("reportViewChanges: reports each difference once", () => {
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

Deno.test("Reconciler: delivers and requests nothing on a node without changes", async () => {
  const stage = new Stage();
  stage.daemon("d1", [{ snapshotId: "1" }]);
  stage.answer = () => found(stage.clock, "a", { watched: true });
  await stage.run(async () => {
    const { orders, requests } = stage;
    const before = [orders.length, requests.length];
    const discoveriesBefore = stage.discoveries;
    await stage.clock.advance(600 * SECOND);
    deepStrictEqual([orders.length, requests.length], before);
    const discoveries = stage.discoveries - discoveriesBefore;
    ok(discoveries >= 9 && discoveries <= 11, `${discoveries} discoveries`);
  });
});

Deno.test("Reconciler: requests a newer credential when due and delivers it immediately", async () => {
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
    strictEqual(stage.authOf("d1", "1"), auth("t2"));
  });
});

Deno.test("Reconciler: keeps the credential while its provider fails, and requests urgently near the expiry", async () => {
  const stage = new Stage();
  stage.daemon("d1", [{ snapshotId: "1" }]);
  const end = stage.clock.wallMs() + 600 * SECOND;
  stage.answer = () => found(stage.clock, "a", { expiresAtMs: end });
  await stage.run(async () => {
    stage.answer = () => ({ kind: "failed", reason: "plugin-failed", detail: "exit 1", notes: [] });
    await stage.clock.advance(700 * SECOND);
    strictEqual(stage.authOf("d1", "1"), auth("a"));
    ok(stage.requests.some(({ urgent }) => urgent), "no urgent request");
    const failures = stage.observer.of("renewal-failed").map(({ expired }) => expired);
    deepStrictEqual([failures[0], failures.at(-1)], [false, true]);
    strictEqual(stage.reconciler.status().images[0]?.window, "expired");
  });
});

Deno.test("Reconciler: adopts the credential in nydusd when no provider has one, and never clears it", async () => {
  const stage = new Stage();
  stage.daemon("d1", [{ snapshotId: "1" }], auth("current"));
  await stage.run(async () => {
    await stage.clock.advance(130 * SECOND);
    strictEqual(stage.state("d1", "1"), "adopted");
    strictEqual(stage.authOf("d1", "1"), auth("current"));
    strictEqual(stage.orders.length, 0);
    strictEqual(stage.observer.of("credential-adopted").length, 1);
    strictEqual(stage.observer.of("renewal-failed").length, 0, "no credential is not a failure");
  });
});

Deno.test("Reconciler: delivers the stored credential to a nydusd that restarts without one, every time", async () => {
  for (const isAdopted of [true, false]) {
    const stage = new Stage();
    stage.daemon("d1", [{ snapshotId: "1" }], auth("current"));
    if (!isAdopted) stage.answer = () => found(stage.clock, "current", { watched: true });
    await stage.run(async () => {
      for (let restart = 0; restart < 3; restart++) {
        stage.currentAuth.get("d1")?.delete("/1");
        await stage.clock.advance(61 * SECOND);
        strictEqual(stage.authOf("d1", "1"), auth("current"));
      }
    });
  }
});

Deno.test("Reconciler: delivers the stored credential to a nydusd whose credential was cleared", async () => {
  const stage = new Stage();
  stage.daemon("d1", [{ snapshotId: "1" }], auth("current"));
  await stage.run(async () => {
    stage.currentAuth.get("d1")?.set("/1", new Secret(""));
    await stage.clock.advance(61 * SECOND);
    strictEqual(stage.authOf("d1", "1"), auth("current"));
  });
});

Deno.test("Reconciler: delivers a remembered credential only to mounts without one", async () => {
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
    strictEqual(stage.authOf("d1", "1"), auth("pulled"));
    strictEqual(stage.authOf("d2", "2"), auth("newer"));
    stage.answer = () => found(stage.clock, "a", { watched: true });
    stage.reconciler.recheck();
    await stage.clock.advance(SECOND);
    deepStrictEqual([stage.authOf("d1", "1"), stage.authOf("d2", "2")], [auth("a"), auth("a")]);
  });
});

Deno.test("Reconciler: an image without any credential is no failure", async () => {
  const stage = new Stage();
  stage.daemon("d1", [{ snapshotId: "1" }]);
  await stage.run(async () => {
    await stage.clock.advance(10 * SECOND);
    strictEqual(stage.state("d1", "1"), "none");
    strictEqual(stage.orders.length, 0);
  });
});

Deno.test("Reconciler: an unresponsive daemon does not delay the others, and recovers", async () => {
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
    strictEqual(stage.authOf("d2", "3"), auth("a"));
    strictEqual(stage.state("d1", "1"), "unreachable");
    stage.daemons[0] = hung;
    await stage.clock.advance(11 * SECOND);
    strictEqual(stage.authOf("d1", "1"), auth("a"));
    strictEqual(stage.authOf("d1", "2"), auth("a"));
  });
});

Deno.test("Reconciler: requests and delivers a changed source immediately", async () => {
  const stage = new Stage();
  stage.daemon("d1", [{ snapshotId: "1" }]);
  stage.answer = () => found(stage.clock, "a", { watched: true });
  await stage.run(async () => {
    stage.answer = () => found(stage.clock, "b", { watched: true });
    stage.reconciler.recheck();
    await flushTasks();
    await flushTasks();
    strictEqual(stage.authOf("d1", "1"), auth("b"));
  });
});

Deno.test("Reconciler: a recheck during a request requests again", async () => {
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
    await flushTasks();
    await flushTasks();
    strictEqual(stage.authOf("d1", "1"), auth("new"));
  });
});

Deno.test("Reconciler: does not replace a credential in nydusd that expires later", async () => {
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
    strictEqual(stage.authOf("d1", "1"), newer);
  });
});

Deno.test("Reconciler: evicts an image without mounts and reports its daemon as gone", async () => {
  const stage = new Stage();
  stage.daemon("d1", [{ snapshotId: "1" }]);
  stage.answer = () => found(stage.clock, "a");
  await stage.run(async () => {
    stage.daemons = [];
    const evicted = () => stage.observer.of("credential-evicted").length;
    await stage.clock.advance(150 * SECOND); // seen without a mount after 60 s
    strictEqual(evicted(), 0);
    await stage.clock.advance(100 * SECOND);
    strictEqual(evicted(), 1);
    deepStrictEqual(stage.observer.of("daemon-state-changed").map(({ to }) => to), [
      "running",
      "gone",
    ]);
    deepStrictEqual(stage.reconciler.status().images, []);
  });
});

Deno.test("Reconciler: an error of a provider is a failure", async () => {
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

Deno.test("Reconciler: does not deliver the credential of a deleted account to another mount", async () => {
  const stage = new Stage();
  stage.daemon("d1", [{ snapshotId: "1" }]);
  stage.answer = () => found(stage.clock, "of-a", { plugin: "p", account: "n/a (1)" });
  await stage.run(async () => {
    strictEqual(stage.authOf("d1", "1"), auth("of-a"));
    const gone = (...validAccounts: string[]) => () =>
      ({ kind: "none", reason: "no-service-account", notes: [], validAccounts }) as const;
    stage.answer = gone("p n/a (1)");
    stage.reconciler.recheck();
    await flushTasks();
    ok(stage.store.get(IMAGE.text)?.stored, "the account is valid");
    stage.answer = none;
    stage.reconciler.recheck();
    await flushTasks();
    ok(stage.store.get(IMAGE.text)?.stored, "the accounts are unknown");
    stage.answer = gone();
    stage.reconciler.recheck();
    await flushTasks();
    strictEqual(stage.store.get(IMAGE.text)?.stored, undefined);
    stage.daemon("d2", [{ snapshotId: "2" }]);
    stage.reconciler.trigger("requested");
    await stage.clock.advance(60 * SECOND);
    strictEqual(stage.authOf("d2", "2"), "");
    strictEqual(stage.authOf("d1", "1"), auth("of-a"), "nydusd keeps it");
    strictEqual(stage.store.get(IMAGE.text)?.stored, undefined, "not adopted from nydusd");
    stage.answer = () => found(stage.clock, "of-b", { plugin: "p", account: "n/b (2)" });
    stage.reconciler.recheck();
    await flushTasks();
    deepStrictEqual([stage.authOf("d1", "1"), stage.authOf("d2", "2")], [
      auth("of-b"),
      auth("of-b"),
    ]);
  });
});

Deno.test("Reconciler: does not share an adopted credential while the registry refuses those of accounts", async () => {
  const stage = new Stage(new FakeClock(), {
    select: ({ inUse, offered }) => {
      const [first] = offered;
      ok(first);
      const kind = inUse === undefined ? "selected" : "kept";
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
  stage.daemon("d1", [{ snapshotId: "1" }], auth("of-a-deleted-account"));
  await stage.run(async () => {
    await stage.clock.advance(60 * SECOND);
    strictEqual(stage.state("d1", "1"), "adopted");
    stage.answer = () => found(stage.clock, "of-b", { plugin: "p", account: "n/b (2)" });
    stage.reconciler.recheck();
    stage.daemon("d2", [{ snapshotId: "2" }]);
    await stage.clock.advance(120 * SECOND);
    strictEqual(stage.authOf("d1", "1"), auth("of-a-deleted-account"));
    strictEqual(stage.authOf("d2", "2"), "");
  });
});

Deno.test("Reconciler: the credential of an account replaces one that expires later", async () => {
  const stage = new Stage();
  const later = stage.clock.wallMs() + 9 * 3_600_000;
  const earlier = stage.clock.wallMs() + 3_600_000;
  const part = (value: unknown) => btoa(JSON.stringify(value)).replace(/=+$/, "");
  const jwt = (expMs: number) => `${part({ alg: "x" })}.${part({ exp: expMs / 1000 })}.s`;
  stage.daemon("d1", [{ snapshotId: "1" }], btoa(`u:${jwt(later)}`));
  stage.answer = () => found(stage.clock, jwt(earlier), { plugin: "p", account: "n/a (1)" });
  await stage.run(async () => {
    await flushTasks();
    strictEqual(stage.authOf("d1", "1"), auth(jwt(earlier)));
  });
});
