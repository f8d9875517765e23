import { deepEqual, equal } from "node:assert/strict";
import { defined } from "../../../../lib/model/mod.ts";
import { flushTasks } from "../../../fakes/clock.ts";
import { answered } from "../../../fakes/kube_http.ts";
import { kubeStage } from "../../../fakes/kube_stage.ts";
import { pairs, requestFor } from "../exec_plugin/plugins.ts";
import { secretObject } from "./secrets.ts";

const UNREACHABLE = { kind: "unreachable", detail: "no route" } as const;

/** An API server with a pod that references a secret. */
function cluster(path: string) {
  if (path.includes("/pods")) {
    const metadata = { namespace: "default", name: "app", uid: "1" };
    const pod = { metadata, spec: { imagePullSecrets: [{ name: "pull" }] }, status: {} };
    return answered({ metadata: { resourceVersion: "1" }, items: [pod] });
  }
  return answered(secretObject({ auths: { "reg.io": { username: "u", password: "p" } } }));
}

Deno.test("Kube.staleWatches: returns nothing before the first request, nor while watches succeed", async () => {
  using stage = kubeStage(cluster);
  const { kube } = stage;
  deepEqual(kube.staleWatches(), []);
  equal((await kube.secrets().provide(requestFor("reg.io/app:1"))).kind, "found");
  deepEqual(kube.staleWatches(), []);
});

Deno.test("Kube.staleWatches: returns the watches of an unreachable server until it is reachable", async () => {
  using stage = kubeStage(() => UNREACHABLE);
  const { kube, http, clock } = stage;
  equal((await kube.secrets().provide(requestFor("reg.io/app:1"))).kind, "failed");
  deepEqual(kube.staleWatches().map(({ subject, reason }) => [subject, reason]), [
    ["pods of node one", "source-unreachable"],
  ]);
  http.answer = cluster;
  await clock.advance(60_000);
  deepEqual(kube.staleWatches(), []);
  // The open watches end, and new ones fail.
  http.refuse = () => UNREACHABLE;
  for (const { end } of http.streams) end({ kind: "cut" });
  for (let i = 0; i < 4; i++) await clock.advance(250);
  equal(kube.staleWatches().length, 2);
  equal((await kube.secrets().provide(requestFor("reg.io/app:1"))).kind, "found", "cached");
});

Deno.test("Kube.staleWatches: returns nothing for secrets that are polled because RBAC forbids watches", async () => {
  using stage = kubeStage(cluster);
  const { kube, http } = stage;
  http.refuse = () => answered({}, 403);
  equal((await kube.secrets().provide(requestFor("reg.io/app:1"))).kind, "found");
  deepEqual(kube.staleWatches(), []);
});

Deno.test("Kube: reports changes within a short time once", async () => {
  let changes = 0;
  using stage = kubeStage(cluster, () => changes++);
  const { kube, http, clock } = stage;
  kube.accounts();
  await kube.secrets().provide(requestFor("reg.io/app:1"));
  await clock.advance(10_000);
  const before = changes;
  const [pods] = http.streams;
  for (const uid of ["2", "3"]) {
    const metadata = { namespace: "default", name: `app-${uid}`, uid, resourceVersion: uid };
    pods?.send({ type: "ADDED", object: { metadata, spec: {}, status: {} } });
  }
  await clock.advance(10_000);
  equal(changes - before, 1);
  deepEqual(new Set(http.requests.map(({ timeoutMs }) => timeoutMs)), new Set([30_000]));
});

Deno.test("Kube: ends its watches, and does nothing, when it is disposed of", async () => {
  let changes = 0;
  using stage = kubeStage(cluster, () => changes++);
  const { kube, http, clock } = stage;
  await kube.secrets().provide(requestFor("reg.io/app:1"));
  await flushTasks();
  equal(http.openStreams, 2);
  kube[Symbol.dispose]();
  await clock.advance(600_000);
  deepEqual([http.openStreams, http.requests.length, changes], [0, 4, 0]);
});

Deno.test("KubeSecretProvider: reads the secret again for a request that needs a newer credential", async () => {
  using stage = kubeStage(cluster);
  const { kube, http, clock } = stage;
  const provide = async (newerThanMs?: number) => {
    const request = requestFor("reg.io/app:1", defined({ newerThanMs }));
    return pairs(await kube.secrets().provide(request));
  };
  deepEqual(await provide(), ["u:p"]);
  http.answer = (path) =>
    path.includes("/pods")
      ? cluster(path)
      : answered(secretObject({ auths: { "reg.io": { username: "u", password: "new" } } }));
  deepEqual(await provide(), ["u:p"], "no event has reported the change");
  deepEqual(await provide(clock.wallMs()), ["u:new"]);
});
