import { deepEqual, equal } from "node:assert/strict";
import { defined, type KubeHttpFailure, type KubeHttpResponse } from "../../../../lib/model/mod.ts";
import { openKube } from "../../../../lib/providers/kubernetes/mod.ts";
import { FakeClock } from "../../../fakes/clock.ts";
import { FakeFiles } from "../../../fakes/files.ts";
import { answered, FakeKubeHttp } from "../../../fakes/kube_http.ts";
import { FakeProcessRunner } from "../../../fakes/process.ts";
import { FakeRandom } from "../../../fakes/random.ts";
import { pairs, requestFor } from "../exec_plugin/plugins.ts";
import { secretObject } from "./secrets.ts";

const KUBECONFIG = `
current-context: c
contexts: [{name: c, context: {cluster: c, user: u}}]
clusters: [{name: c, cluster: {server: "https://api:6443"}}]
users: [{name: u, user: {token: t}}]
`;
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

async function kubeOf(answer: (path: string) => KubeHttpResponse | KubeHttpFailure) {
  const files = new FakeFiles();
  files.set("/kubeconfig", KUBECONFIG);
  const clock = new FakeClock();
  const http = new FakeKubeHttp(answer);
  const kube = await openKube({
    http,
    clock,
    files,
    processRunner: new FakeProcessRunner(() => ""),
    random: new FakeRandom(),
    env: {},
    kubeconfigPath: "/kubeconfig",
    nodeName: "one",
    changed: () => {},
  });
  return { kube, http, clock };
}

Deno.test("Kube.stale: returns nothing before the first request, nor while watches succeed", async () => {
  const { kube } = await kubeOf(cluster);
  deepEqual(kube.stale(), []);
  equal((await kube.secrets().provide(requestFor("reg.io/app:1"))).kind, "found");
  deepEqual(kube.stale(), []);
  kube.stop();
});

Deno.test("Kube.stale: returns the watches of an unreachable server until it is reachable", async () => {
  const { kube, http, clock } = await kubeOf(() => UNREACHABLE);
  equal((await kube.secrets().provide(requestFor("reg.io/app:1"))).kind, "failed");
  deepEqual(kube.stale().map(({ subject, reason }) => [subject, reason]), [
    ["pods of node one", "source-unreachable"],
  ]);
  http.answer = cluster;
  await clock.advance(60_000);
  deepEqual(kube.stale(), []);
  // The open watches end, and new ones fail.
  http.refuse = () => UNREACHABLE;
  for (const { end } of http.streams) end({ kind: "cut" });
  for (let i = 0; i < 4; i++) await clock.advance(250);
  equal(kube.stale().length, 2);
  equal((await kube.secrets().provide(requestFor("reg.io/app:1"))).kind, "found", "cached");
  kube.stop();
});

Deno.test("Kube.stale: returns nothing for secrets that are polled because RBAC forbids watches", async () => {
  const { kube, http } = await kubeOf(cluster);
  http.refuse = () => answered({}, 403);
  equal((await kube.secrets().provide(requestFor("reg.io/app:1"))).kind, "found");
  deepEqual(kube.stale(), []);
  kube.stop();
});

Deno.test("KubeSecretProvider: reads the secret again for a request that needs a newer credential", async () => {
  const { kube, http, clock } = await kubeOf(cluster);
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
  kube.stop();
});
