import { deepEqual, equal, match, ok } from "node:assert/strict";
import { FakeClock, settle } from "../../../fakes/clock.ts";
import { FakeFiles } from "../../../fakes/files.ts";
import { answered, FakeKubeHttp } from "../../../fakes/kube_http.ts";
import { FakeProcessRunner } from "../../../fakes/process.ts";
import type { KubeStreamEnd } from "../../../../lib/model/mod.ts";
import { KubeAccess } from "../../../../lib/providers/kubernetes/kube_access.ts";
import { KubeClient } from "../../../../lib/providers/kubernetes/kube_client.ts";
import { ListWatch } from "../../../../lib/providers/kubernetes/list_watch.ts";
import type { ListWatchOptions } from "../../../../lib/providers/kubernetes/list_watch_options.ts";

const KUBECONFIG = `
current-context: c
contexts: [{name: c, context: {cluster: c}}]
clusters: [{name: c, cluster: {server: "https://api"}}]
`;

interface Thing {
  readonly text: string;
}

function thing(name: string, version: number, text = "") {
  return { metadata: { name, namespace: "n", resourceVersion: String(version) }, text };
}

function list(version: number, items: unknown[] = [], more?: string) {
  return answered({ metadata: { resourceVersion: String(version), continue: more }, items });
}

function status(code: number) {
  return answered({ kind: "Status", code }, code);
}

class Stage implements Disposable {
  readonly clock = new FakeClock();
  readonly http = new FakeKubeHttp(() => list(10));
  readonly stop = new AbortController();
  readonly watch: ListWatch<Thing>;
  changes = 0;

  constructor(options: Partial<ListWatchOptions<Thing>> = {}) {
    const files = new FakeFiles();
    files.set("/kubeconfig", KUBECONFIG);
    const processRunner = new FakeProcessRunner(() => "");
    const { clock } = this;
    const access = new KubeAccess({
      kubeconfigPath: "/kubeconfig",
      files,
      processRunner,
      clock,
      env: {},
    });
    this.watch = new ListWatch({
      client: new KubeClient(this.http, access),
      clock,
      random: { next: () => 0.5 },
      resource: "secrets",
      pollMs: 60_000,
      read: ({ text }) => ({ text: String(text) }),
      same: (a, b) => a.text === b.text,
      changed: () => void this.changes++,
      ...options,
    });
  }

  start(): Promise<void> {
    void this.watch.run(this.stop);
    return settle();
  }

  /** Names and texts of what is known. */
  get known(): string[] {
    return [...this.watch.items].map(([key, { text }]) => `${key} ${text}`);
  }

  /** The stream opened last. */
  get stream() {
    const stream = this.http.streams.at(-1);
    if (stream === undefined) throw new Error("there is no watch");
    return stream;
  }

  /** The query of what was asked last. */
  get query(): URLSearchParams {
    return new URL(this.http.requests.at(-1)?.path ?? "", "https://x").searchParams;
  }

  [Symbol.dispose](): void {
    this.stop.abort();
  }
}

Deno.test("ListWatch reads every page, then watches from the version of the list", async () => {
  using stage = new Stage({ fieldSelector: "type=x" });
  stage.http.answer = (path) =>
    path.includes("continue=two")
      ? list(10, [thing("b", 4, "B")])
      : list(10, [thing("a", 3, "A")], "two");
  await stage.start();
  deepEqual(stage.http.paths.slice(0, 2), [
    "/api/v1/secrets?fieldSelector=type=x&limit=500",
    "/api/v1/secrets?fieldSelector=type=x&limit=500&continue=two",
  ]);
  deepEqual(stage.known, ["n/a A", "n/b B"]);
  equal(stage.query.get("resourceVersion"), "10");
  equal(stage.query.get("allowWatchBookmarks"), "true");
  deepEqual([stage.watch.synced, stage.watch.failure, stage.changes], [true, undefined, 1]);
});

Deno.test("ListWatch takes events, and tells only what makes a difference", async () => {
  using stage = new Stage();
  await stage.start();
  const before = stage.changes;
  stage.stream.send({ type: "ADDED", object: thing("a", 11, "A") });
  stage.stream.send({ type: "MODIFIED", object: thing("a", 12, "A") });
  equal(stage.changes, before + 1);
  stage.stream.send({ type: "MODIFIED", object: thing("a", 13, "B") });
  deepEqual(stage.known, ["n/a B"]);
  stage.stream.send({ type: "DELETED", object: thing("a", 14) });
  stage.stream.send({ type: "DELETED", object: thing("never", 15) });
  stage.stream.send({ type: "NONSENSE", object: thing("x", 15) });
  stage.stream.send(["no event"]);
  deepEqual([stage.known, stage.changes], [[], before + 3]);
});

Deno.test("ListWatch goes on from the last event or bookmark after a cut", async () => {
  using stage = new Stage();
  await stage.start();
  stage.stream.send({ type: "ADDED", object: thing("a", 11) });
  stage.stream.send({ type: "BOOKMARK", object: { metadata: { resourceVersion: "40" } } });
  stage.stream.end({ kind: "cut" });
  await settle();
  await stage.clock.advance(250);
  equal(stage.query.get("resourceVersion"), "40");
  equal(stage.http.streams.length, 2);
  equal(stage.http.paths.filter((path) => !path.includes("watch=true")).length, 1);
});

Deno.test("ListWatch lists anew when its version is gone", async () => {
  using stage = new Stage();
  await stage.start();
  stage.stream.send({ type: "ADDED", object: thing("a", 11) });
  stage.http.answer = () => list(90, [thing("b", 80)]);
  stage.stream.send({ type: "ERROR", object: { kind: "Status", code: 410 } });
  stage.stream.end();
  await settle();
  await stage.clock.advance(250);
  deepEqual(stage.known, ["n/b "]);
  equal(stage.query.get("resourceVersion"), "90");
});

Deno.test("ListWatch keeps what it knows while lists fail for an hour, and rests ever longer", async () => {
  using stage = new Stage();
  stage.http.answer = () => list(10, [thing("a", 3)]);
  await stage.start();
  stage.http.answer = () => status(500);
  stage.stream.send({ type: "ERROR", object: { kind: "Status", code: 410 } });
  stage.stream.end();
  await settle();
  await stage.clock.advance(60 * 60_000);
  deepEqual(stage.known, ["n/a "]);
  equal(stage.watch.failure?.detail, "the API server answered with status 500");
  const asked = stage.http.requests.length;
  ok(asked > 60 && asked < 300, `${asked} requests in an hour`);
  stage.http.answer = () => list(20, [thing("b", 15)]);
  await stage.clock.advance(30_000);
  deepEqual([stage.known, stage.watch.failure], [["n/b "], undefined]);
});

Deno.test("ListWatch waits as long as Retry-After says", async () => {
  using stage = new Stage();
  stage.http.answer = () => answered({}, 429, 20_000);
  await stage.start();
  await stage.clock.advance(19_000);
  equal(stage.http.requests.length, 1);
  await stage.clock.advance(1_001);
  equal(stage.http.requests.length, 2);
});

Deno.test("ListWatch is not hurried by watches that end at once", async () => {
  using stage = new Stage();
  stage.http.refuse = () => ({ kind: "ended" });
  await stage.start();
  await stage.clock.advance(60_000);
  ok(stage.http.requests.length < 20, `${stage.http.requests.length} requests in a minute`);
  match(stage.watch.failure?.detail ?? "", /watches end as soon as they begin/);
  stage.http.refuse = undefined;
  await stage.clock.advance(30_000);
  equal(stage.watch.failure, undefined);
});

Deno.test("ListWatch looks from time to time where it may not watch", async () => {
  using stage = new Stage();
  stage.http.refuse = () => status(403);
  await stage.start();
  equal(stage.watch.unwatchable?.reason, "forbidden-by-rbac");
  stage.http.answer = () => list(20, [thing("a", 15, "new")]);
  await stage.clock.advance(60_000);
  deepEqual([stage.known, stage.watch.failure], [["n/a new"], undefined]);
  stage.http.refuse = undefined;
  await stage.clock.advance(60_000);
  equal(stage.watch.unwatchable, undefined);
});

Deno.test("ListWatch begins its list anew when the pages under way are gone", async () => {
  using stage = new Stage();
  let isGone = true;
  stage.http.answer = (path) => {
    if (!path.includes("continue=")) return list(10, [thing("a", 3)], "two");
    return isGone ? status(410) : list(10, [thing("b", 4)]);
  };
  await stage.start();
  deepEqual([stage.known, stage.watch.synced], [[], false], "half a list is none");
  isGone = false;
  await stage.clock.advance(2_000);
  deepEqual(stage.known, ["n/a ", "n/b "]);
});

Deno.test("ListWatch takes smaller pages where one was too large", async () => {
  using stage = new Stage();
  stage.http.answer = (path) =>
    Number(/limit=(\d+)/.exec(path)?.[1]) > 100 ? { kind: "too-large" } : list(10, [thing("a", 3)]);
  await stage.start();
  await stage.clock.advance(60_000);
  deepEqual(stage.known, ["n/a "]);
  ok(stage.http.paths.some((path) => path.includes("limit=31")));
});

Deno.test("ListWatch gets a single object, and no older one replaces it", async () => {
  using stage = new Stage({ namespace: "n", name: "a" });
  stage.http.answer = () => answered(thing("a", 100, "new"));
  await stage.start();
  equal(stage.http.paths[0], "/api/v1/namespaces/n/secrets/a");
  equal(stage.query.get("fieldSelector"), "metadata.name=a");
  equal(stage.query.get("resourceVersion"), "0");
  stage.stream.send({ type: "ADDED", object: thing("a", 99, "old") });
  deepEqual(stage.known, ["n/a new"]);
  stage.stream.send({ type: "MODIFIED", object: thing("a", 101, "newer") });
  deepEqual(stage.known, ["n/a newer"]);
});

Deno.test("ListWatch follows a single object that is not there yet", async () => {
  using stage = new Stage({ namespace: "n", name: "a" });
  stage.http.answer = () => status(404);
  await stage.start();
  deepEqual([stage.watch.synced, stage.known], [true, []]);
  stage.stream.send({ type: "ADDED", object: thing("a", 9, "here") });
  deepEqual(stage.known, ["n/a here"]);
});

Deno.test("ListWatch notices an object that went before its watch began", async () => {
  using stage = new Stage({ namespace: "n", name: "a" });
  stage.http.answer = () => answered(thing("a", 9, "here"));
  await stage.start();
  deepEqual(stage.known, ["n/a here"]);
  stage.http.answer = () => status(404);
  await stage.clock.advance(2_000); // the watch says nothing: there is nothing to begin with
  deepEqual([stage.known, stage.watch.synced], [[], true]);
});

Deno.test("ListWatch notices the same where the watch begins with a bookmark, as newer servers do", async () => {
  using stage = new Stage({ namespace: "n", name: "a" });
  stage.http.answer = () => answered(thing("a", 9, "here"));
  await stage.start();
  const metadata = { resourceVersion: "20", annotations: { "k8s.io/initial-events-end": "true" } };
  stage.stream.send({ type: "BOOKMARK", object: { metadata } });
  stage.http.answer = () => status(404);
  await stage.clock.advance(2_000);
  deepEqual([stage.known, stage.watch.synced], [[], true]);
});

Deno.test("ListWatch lists where every watch is refused, without haste, and goes on when one is not", async () => {
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
    deepEqual(stage.known, ["n/a new"], how);
    await stage.clock.advance(60 * 60_000);
    ok(
      stage.http.requests.length < 500,
      `${how}: ${stage.http.requests.length} requests in an hour`,
    );
    stage.http.refuse = undefined;
    await stage.clock.advance(60_000);
    deepEqual([stage.watch.failure, stage.http.streams.length > 0], [undefined, true], how);
  }
});

Deno.test("ListWatch asks once about an object that its watch does not begin with", async () => {
  using stage = new Stage({ namespace: "n", name: "a" });
  stage.http.answer = () => answered(thing("a", 9, "here"));
  await stage.start();
  await stage.clock.advance(60_000);
  deepEqual([stage.known, stage.http.requests.length], [["n/a here"], 4]);
  stage.stream.send({ type: "MODIFIED", object: thing("a", 10, "changed") });
  deepEqual(stage.known, ["n/a changed"]);
});

Deno.test("ListWatch refresh asks at once, whatever is going on", async () => {
  using stage = new Stage({ namespace: "n", name: "a" });
  stage.http.answer = () => answered(thing("a", 1, "old"));
  await stage.start();
  stage.http.answer = () => answered(thing("a", 2, "new"));
  const refreshed = stage.watch.refresh();
  await settle();
  await refreshed;
  deepEqual(stage.known, ["n/a new"]);
  equal(stage.http.streams.length, 2);
});

Deno.test("ListWatch.refresh: settles the promise of the refresh that it replaces", async () => {
  using stage = new Stage({ namespace: "n", name: "a" });
  await stage.start();
  stage.http.request = (_, { signal } = {}) =>
    // a server that hangs
    new Promise((_, reject) => signal?.addEventListener("abort", () => reject(signal.reason)));
  const first = stage.watch.refresh();
  await settle();
  const second = stage.watch.refresh();
  await first;
  await settle();
  stage.stop.abort();
  await second;
  await stage.watch.refresh();
});

Deno.test("ListWatch asks nothing once it is stopped", async () => {
  using stage = new Stage();
  await stage.start();
  stage.stop.abort();
  await settle();
  const asked = stage.http.requests.length;
  await stage.clock.advance(3_600_000);
  equal(stage.http.requests.length, asked);
});
