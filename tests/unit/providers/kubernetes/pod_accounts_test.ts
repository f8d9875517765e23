import { deepEqual, equal, match, ok } from "node:assert/strict";
import { parseImageReference } from "../../../../lib/model/mod.ts";
import { readPod } from "../../../../lib/providers/kubernetes/node_pods.ts";
import { answered } from "../../../fakes/kube_http.ts";
import { kubeStage } from "../../../fakes/kube_stage.ts";

const IMAGE = parseImageReference("reg.io/app:1");

function pod(name: string, account?: string, phase = "Running") {
  return {
    metadata: { name, namespace: "n", uid: `uid-of-${name}` },
    spec: {
      ...(account !== undefined && { serviceAccountName: account }),
      containers: [{ name: "main", image: IMAGE.text }],
    },
    status: { phase },
  };
}

function stage(pods = [pod("static"), pod("web-1", "web")]) {
  const status = { token: "a.b.c", expirationTimestamp: "2999-01-01T00:00:00Z" };
  const stage = kubeStage((path) => {
    if (path.endsWith("/token")) return answered({ status }, 201);
    if (path.includes("/serviceaccounts/")) {
      return answered({ metadata: { name: "web", namespace: "n", uid: "u1" } });
    }
    return answered({ metadata: { resourceVersion: "1" }, items: pods });
  });
  return { ...stage, accounts: stage.kube.accounts() };
}

Deno.test("readPod: returns no service account for a static pod", () => {
  equal(readPod(pod("static")).serviceAccount, "");
  equal(readPod(pod("web-1", "web")).serviceAccount, "web");
});

Deno.test("readPod: a pod has ended when its phase is Succeeded or Failed", () => {
  const phases = ["Pending", "Running", "Succeeded", "Failed", "Unknown"];
  const ended = phases.filter((phase) => readPod(pod("web-1", "web", phase)).ended);
  deepEqual(ended, ["Succeeded", "Failed"]);
});

Deno.test("NodePods: reads no service account for a pod without one", async () => {
  using kube = stage();
  const answer = await kube.accounts.podsOf(IMAGE);
  ok(answer.kind === "pods");
  deepEqual(answer.pods.map(({ name }) => name), ["static", "web-1"]);
  const paths = kube.http.paths.filter((path) => path.includes("/serviceaccounts"));
  ok(
    paths.length > 0 && paths.every((path) => /serviceaccounts(\/web)?\?/.test(path)),
    `${paths}`,
  );
});

Deno.test("NodePods: requests a token bound to the pod, the audience and the service account", async () => {
  using kube = stage();
  const answer = await kube.accounts.podsOf(IMAGE);
  const web = answer.kind === "pods" ? answer.pods[1] : undefined;
  ok(web);
  const token = await kube.accounts.token(web, "registry", "u1");
  ok(token.kind === "token");
  equal(token.expiresAtMs, Date.parse("2999-01-01T00:00:00Z"));
  const request = kube.http.requests.at(-1);
  deepEqual([request?.method, request?.path], [
    "POST",
    "/api/v1/namespaces/n/serviceaccounts/web/token",
  ]);
  deepEqual(JSON.parse(request?.body ?? ""), {
    apiVersion: "authentication.k8s.io/v1",
    kind: "TokenRequest",
    metadata: { uid: "u1" },
    spec: {
      audiences: ["registry"],
      boundObjectRef: { apiVersion: "v1", kind: "Pod", name: "web-1", uid: "uid-of-web-1" },
    },
  });
  for (const status of [404, 409]) {
    kube.http.answer = () => answered({}, status);
    equal((await kube.accounts.token(web, "registry", "u1")).kind, "gone");
  }
  kube.http.answer = () => answered({}, 403);
  const refused = await kube.accounts.token(web, "registry", "u1");
  ok(refused.kind === "failed");
  match(
    refused.detail,
    /RBAC does not allow the agent to create serviceaccounts\/token \(web\) in namespace n; .*request-serviceaccounts-token/,
  );
});

Deno.test("NodePods: suggests to check the node name when the API server returns no pods", async () => {
  using none = stage([]);
  const answer = await none.accounts.podsOf(IMAGE);
  match(answer.kind === "pods" ? answer.detail ?? "" : "", /node one: .*check the node name/);
  using others = stage();
  const fine = await others.accounts.podsOf(parseImageReference("reg.io/other:1"));
  deepEqual(fine, { kind: "pods", pods: [] });
});

Deno.test("NodePods: returns the current state of a service account", async () => {
  const pods = [pod("web-1", "web"), pod("done", "web", "Succeeded")];
  using kube = stage(pods);
  const [web, done] = pods.map(readPod);
  ok(web && done);
  const account = await kube.accounts.account(web);
  ok(account.kind === "account");
  equal(account.uid, "u1");
  equal((await kube.accounts.account(done)).kind, "gone");
  equal((await kube.accounts.account({ ...web, uid: "recreated" })).kind, "gone");
});
