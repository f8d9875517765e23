import { deepEqual, equal } from "node:assert/strict";
import { FakeClock, flushTasks } from "../../../fakes/clock.ts";
import { FakeFiles } from "../../../fakes/files.ts";
import { answered, FakeKubeHttp } from "../../../fakes/kube_http.ts";
import { FakeProcessRunner } from "../../../fakes/process.ts";
import { FakeRandom } from "../../../fakes/random.ts";
import { KubeClient } from "../../../../lib/providers/kubernetes/client.ts";
import { ConnectionResolver } from "../../../../lib/providers/kubernetes/connection.ts";
import { ObjectCache } from "../../../../lib/providers/kubernetes/object_cache.ts";

const KUBECONFIG = `
current-context: c
contexts: [{name: c, context: {cluster: c}}]
clusters: [{name: c, cluster: {server: "https://api"}}]
`;

function stage() {
  const files = new FakeFiles();
  files.set("/kubeconfig", KUBECONFIG);
  const clock = new FakeClock();
  const http = new FakeKubeHttp((path) => {
    const name = path.split("/").at(-1);
    return answered({ metadata: { name, namespace: "n", resourceVersion: "1" } });
  });
  const processRunner = new FakeProcessRunner(() => "");
  const connections = new ConnectionResolver({
    kubeconfigPath: "/kubeconfig",
    files,
    processRunner,
    clock,
    env: {},
  });
  const context = {
    client: new KubeClient(http, connections),
    clock,
    random: new FakeRandom(),
    pollMs: 60_000,
  };
  const objects = new ObjectCache({
    ...context,
    transform: () => "object",
    isEqual: () => true,
    resource: "secrets",
    changed: () => {},
  });
  return { objects, http, clock };
}

function keys(count: number): Set<string> {
  return new Set(Array.from({ length: count }, (_, i) => `n/s${String(i).padStart(3, "0")}`));
}

Deno.test("ObjectCache: polls objects beyond the limit of watches", async () => {
  const { objects, http, clock } = stage();
  objects.setReferences(keys(50));
  await flushTasks();
  await objects.waitForList();
  await flushTasks();
  equal(http.streams.length, 40);
  equal(objects.items().length, 50);
  await clock.advance(76_000);
  equal(http.requests.filter(({ path }) => path.includes("s049")).length, 2, "it is polled");
  objects.stop();
});

Deno.test("ObjectCache: reuses the watches of objects that are no longer referenced", async () => {
  const { objects, http, clock } = stage();
  objects.setReferences(keys(40));
  await flushTasks();
  objects.setReferences(new Set());
  deepEqual(objects.items(), []);
  await clock.advance(6 * 60_000);
  objects.setReferences(new Set());
  objects.setReferences(new Set(["n/new"]));
  await flushTasks();
  equal(http.paths.at(-1)?.includes("metadata.name=new"), true);
  objects.stop();
});

Deno.test("ObjectCache.refresh: reads an object again, at most every five seconds", async () => {
  const { objects, http, clock } = stage();
  objects.setReferences(keys(1));
  await flushTasks();
  const reads = () => http.paths.filter((path) => !path.includes("watch=true")).length;
  for (const expected of [2, 2]) {
    await objects.refresh(["n/s000", "n/unknown"]);
    equal(reads(), expected);
  }
  await clock.advance(5_000);
  await objects.refresh(["n/s000"]);
  equal(reads(), 3);
  objects.stop();
});
