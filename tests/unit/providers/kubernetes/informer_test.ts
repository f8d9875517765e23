import { deepEqual, equal, match, ok } from "node:assert/strict";
import { type FakeClock, flushTasks } from "../../../fakes/clock.ts";
import { answered, FakeKubeHttp } from "../../../fakes/kube_http.ts";
import { informerContext } from "../../../fakes/kube_stage.ts";
import type { KubeStreamEnd } from "../../../../lib/model/mod.ts";
import { Informer, type InformerOptions } from "../../../../lib/providers/kubernetes/informer.ts";

interface Thing {
  readonly text: string;
}

function thing(name: string, version: number, text = "") {
  return { metadata: { name, namespace: "n", resourceVersion: String(version) }, text };
}

function list(version: number, items: unknown[] = []) {
  return answered({ metadata: { resourceVersion: String(version) }, items });
}

function status(code: number) {
  return answered({ kind: "Status", code }, code);
}

/** An informer with a fake API server. */
class Stage implements Disposable {
  readonly clock: FakeClock;
  readonly http = new FakeKubeHttp(() => list(10));
  readonly stop = new AbortController();
  readonly informer: Informer<Thing>;
  changes = 0;

  constructor(options: Partial<InformerOptions<Thing>> = {}) {
    const context = informerContext(this.http);
    this.clock = context.clock;
    this.informer = new Informer({
      ...context,
      random: { next: () => 0.5 },
      resource: "secrets",
      transform: ({ text }) => ({ text: String(text) }),
      changed: () => void this.changes++,
      ...options,
    });
  }

  start(): Promise<void> {
    void this.informer.run(this.stop);
    return flushTasks();
  }

  /** Keys and texts of the cached objects. */
  get cached(): string[] {
    return [...this.informer.items].map(([key, { text }]) => `${key} ${text}`);
  }

  /** Why the cache may be stale. */
  get failure() {
    const problem = this.informer.problem("things");
    return problem?.stale ? problem.failure : undefined;
  }

  /** Why the objects are polled. */
  get watchDenied() {
    const problem = this.informer.problem("things");
    return problem?.stale ? undefined : problem?.failure;
  }

  /** The last stream. */
  get stream() {
    const stream = this.http.streams.at(-1);
    if (stream === undefined) throw new Error("there is no watch");
    return stream;
  }

  /** The query of the last request. */
  get query(): URLSearchParams {
    return new URL(this.http.requests.at(-1)?.path ?? "", "https://x").searchParams;
  }

  [Symbol.dispose](): void {
    this.stop.abort();
  }
}

Deno.test("Informer: lists from the server's cache, then watches from the resource version of the list", async () => {
  using stage = new Stage({ fieldSelector: "spec.nodeName=x" });
  stage.http.answer = () => list(10, [thing("a", 3, "A"), thing("b", 4, "B"), "no object"]);
  await stage.start();
  equal(
    stage.http.paths[0],
    "/api/v1/secrets?fieldSelector=spec.nodeName=x&resourceVersion=0",
  );
  deepEqual(stage.cached, ["n/a A", "n/b B"]);
  equal(stage.query.get("resourceVersion"), "10");
  equal(stage.query.get("allowWatchBookmarks"), "true");
  deepEqual([stage.informer.hasSynced, stage.failure, stage.changes], [true, undefined, 1]);
});

Deno.test("Informer: pauses before the next list when the listener throws", async () => {
  const changed = () => {
    throw new Error("listener");
  };
  using stage = new Stage({ changed });
  await stage.start();
  equal(stage.http.requests.length, 1);
  await stage.clock.advance(30_000);
  equal(stage.http.requests.length, 3, "lists and watches");
});

Deno.test("Informer: applies events, and notifies only when an object changes", async () => {
  using stage = new Stage();
  await stage.start();
  const before = stage.changes;
  stage.stream.send({ type: "ADDED", object: thing("a", 11, "A") });
  stage.stream.send({ type: "MODIFIED", object: thing("a", 12, "A") });
  equal(stage.changes, before + 1);
  stage.stream.send({ type: "MODIFIED", object: thing("a", 13, "B") });
  deepEqual(stage.cached, ["n/a B"]);
  stage.stream.send({ type: "DELETED", object: thing("a", 14) });
  stage.stream.send({ type: "DELETED", object: thing("never", 15) });
  stage.stream.send({ type: "NONSENSE", object: thing("x", 15) });
  stage.stream.send(["not an event"]);
  deepEqual([stage.cached, stage.changes], [[], before + 3]);
});

Deno.test("Informer: lists again when a watch ends, from the version of the last event or bookmark", async () => {
  using stage = new Stage();
  await stage.start();
  stage.stream.send({ type: "ADDED", object: thing("a", 11) });
  stage.stream.send({ type: "BOOKMARK", object: { metadata: { resourceVersion: "40" } } });
  await stage.clock.advance(300_000);
  stage.http.answer = () => list(90, [thing("b", 80)]);
  stage.stream.end({ kind: "cut" });
  await flushTasks();
  await stage.clock.advance(250);
  deepEqual(stage.cached, ["n/b "]);
  equal(stage.http.paths.at(-2), "/api/v1/secrets?resourceVersion=40");
  equal(stage.query.get("resourceVersion"), "90");
});

Deno.test("Informer: lists from any version when the server does not have the last one", async () => {
  using stage = new Stage();
  await stage.start();
  stage.http.answer = (path) => path.includes("=10") ? status(504) : list(5);
  stage.stream.end({ kind: "cut" });
  await flushTasks();
  await stage.clock.advance(10_000);
  const lists = stage.http.paths.filter((path) => !path.includes("watch=true"));
  deepEqual(lists, [
    "/api/v1/secrets?resourceVersion=0",
    "/api/v1/secrets?resourceVersion=10",
    "/api/v1/secrets",
  ]);
  equal(stage.query.get("resourceVersion"), "5");
});

Deno.test("Informer: a watch that ends within five seconds has failed", async () => {
  for (const [lastedMs, isFailure] of [[4_999, true], [5_000, false]] as const) {
    using stage = new Stage();
    await stage.start();
    await stage.clock.advance(lastedMs);
    stage.stream.end();
    await flushTasks();
    equal(stage.failure !== undefined, isFailure, `${lastedMs} ms`);
  }
});

Deno.test("Informer: keeps its cache and backs off while lists fail for an hour", async () => {
  using stage = new Stage();
  stage.http.answer = () => list(10, [thing("a", 3)]);
  await stage.start();
  stage.http.answer = () => status(500);
  stage.stream.send({ type: "ERROR", object: { kind: "Status", code: 410 } });
  stage.stream.end();
  await flushTasks();
  await stage.clock.advance(60 * 60_000);
  deepEqual(stage.cached, ["n/a "]);
  equal(stage.failure?.detail, "the API server responded with status 500");
  const count = stage.http.requests.length;
  ok(count > 60 && count < 300, `${count} requests in an hour`);
  stage.http.answer = () => list(20, [thing("b", 15)]);
  await stage.clock.advance(30_000);
  deepEqual([stage.cached, stage.failure], [["n/b "], undefined]);
});

Deno.test("Informer: waits for Retry-After, but at most five minutes", async () => {
  for (const [retryAfterMs, waitsMs] of [[20_000, 20_000], [3_600_000, 300_000]] as const) {
    using stage = new Stage();
    stage.http.answer = () => answered({}, 429, retryAfterMs);
    await stage.start();
    await stage.clock.advance(waitsMs - 1_000);
    equal(stage.http.requests.length, 1);
    await stage.clock.advance(1_001);
    equal(stage.http.requests.length, 2);
  }
});

Deno.test("Informer: backs off when watches end immediately", async () => {
  using stage = new Stage();
  stage.http.refuse = () => ({ kind: "ended" });
  await stage.start();
  await stage.clock.advance(60_000);
  ok(stage.http.requests.length < 20, `${stage.http.requests.length} requests in a minute`);
  match(stage.failure?.detail ?? "", /watches end immediately after they start/);
  stage.http.refuse = undefined;
  await stage.clock.advance(30_000);
  equal(stage.failure, undefined);
});

Deno.test("Informer: polls while RBAC forbids watches", async () => {
  using stage = new Stage();
  stage.http.refuse = () => status(403);
  await stage.start();
  equal(stage.watchDenied?.reason, "forbidden-by-rbac");
  stage.http.answer = () => list(20, [thing("a", 15, "new")]);
  await stage.clock.advance(60_000);
  deepEqual([stage.cached, stage.failure], [["n/a new"], undefined]);
  stage.http.refuse = undefined;
  await stage.clock.advance(60_000);
  equal(stage.watchDenied, undefined);
});

Deno.test("Informer: reads a single object, and watches it", async () => {
  using stage = new Stage({ namespace: "n", name: "a" });
  stage.http.answer = () => answered(thing("a", 100, "new"));
  await stage.start();
  equal(stage.http.paths[0], "/api/v1/namespaces/n/secrets/a?resourceVersion=0");
  equal(stage.query.get("fieldSelector"), "metadata.name=a");
  equal(stage.query.get("resourceVersion"), "0");
  stage.stream.send({ type: "MODIFIED", object: thing("a", 101, "newer") });
  deepEqual(stage.cached, ["n/a newer"]);
});

Deno.test("Informer: watches a single object that does not exist yet", async () => {
  using stage = new Stage({ namespace: "n", name: "a" });
  stage.http.answer = () => status(404);
  await stage.start();
  deepEqual([stage.informer.hasSynced, stage.cached], [true, []]);
  stage.stream.send({ type: "ADDED", object: thing("a", 9, "here") });
  deepEqual(stage.cached, ["n/a here"]);
});

Deno.test("Informer: detects a deletion before the watch when the watch ends", async () => {
  using stage = new Stage({ namespace: "n", name: "a" });
  stage.http.answer = () => answered(thing("a", 9, "here"));
  await stage.start();
  stage.http.answer = () => status(404);
  await stage.clock.advance(300_000);
  stage.stream.end();
  await flushTasks();
  await stage.clock.advance(250);
  deepEqual([stage.cached, stage.informer.hasSynced], [[], true]);
});

Deno.test("Informer: lists with backoff while every watch is refused, and watches when one succeeds", async () => {
  const refusals: [string, KubeStreamEnd | undefined][] = [
    ["with a status", status(500)],
    ["in its first event", undefined],
    ["by its end", { kind: "ended" }],
    ["as gone", status(410)],
  ];
  for (const [how, end] of refusals) {
    using stage = new Stage();
    stage.http.refuse = () => end;
    stage.http.onStream = () => {
      if (end !== undefined || stage.http.refuse === undefined) return;
      stage.stream.send({ type: "ERROR", object: { kind: "Status", code: 500 } });
      stage.stream.end();
    };
    await stage.start();
    stage.http.answer = () => list(20, [thing("a", 15, "new")]);
    await stage.clock.advance(60_000);
    deepEqual(stage.cached, ["n/a new"], how);
    await stage.clock.advance(60 * 60_000);
    ok(
      stage.http.requests.length < 500,
      `${how}: ${stage.http.requests.length} requests in an hour`,
    );
    stage.http.refuse = undefined;
    await stage.clock.advance(60_000);
    deepEqual([stage.failure, stage.http.streams.length > 0], [undefined, true], how);
  }
});

Deno.test("Informer.refresh: lists immediately during a watch", async () => {
  using stage = new Stage({ namespace: "n", name: "a" });
  stage.http.answer = () => answered(thing("a", 1, "old"));
  await stage.start();
  stage.http.answer = () => answered(thing("a", 2, "new"));
  const refreshed = stage.informer.refresh();
  await flushTasks();
  await refreshed;
  deepEqual(stage.cached, ["n/a new"]);
  equal(stage.http.paths.at(-2), "/api/v1/namespaces/n/secrets/a", "from no cache");
  equal(stage.http.streams.length, 2);
});

Deno.test("Informer.refresh: waits for the list", async () => {
  using stage = new Stage({ namespace: "n", name: "a" });
  await stage.start();
  const { promise, resolve } = Promise.withResolvers<ReturnType<typeof answered>>();
  stage.http.request = () => promise;
  let isRefreshed = false;
  const refreshed = stage.informer.refresh().then(() => isRefreshed = true);
  await flushTasks();
  equal(isRefreshed, false);
  resolve(answered(thing("a", 2, "new")));
  await refreshed;
  deepEqual(stage.cached, ["n/a new"]);
});

Deno.test("Informer.refresh: resolves the promise of the refresh that it replaces", async () => {
  using stage = new Stage({ namespace: "n", name: "a" });
  await stage.start();
  stage.http.request = (_, { signal } = {}) =>
    // the server does not respond
    new Promise((_, reject) => signal?.addEventListener("abort", () => reject(signal.reason)));
  const first = stage.informer.refresh();
  await flushTasks();
  const second = stage.informer.refresh();
  await first;
  await flushTasks();
  stage.stop.abort();
  await second;
  await stage.informer.refresh();
});

Deno.test("Informer: sends no request after it is stopped", async () => {
  using stage = new Stage();
  await stage.start();
  stage.stop.abort();
  await flushTasks();
  const count = stage.http.requests.length;
  await stage.clock.advance(3_600_000);
  equal(stage.http.requests.length, count);
});
