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
  const transform = { transform: () => "object", isEqual: () => true };
  const objects = new ObjectCache(context, "secrets", transform, () => {});
  return { objects, http, clock };
}

function keys(count: number): Set<string> {
  return new Set(Array.from({ length: count }, (_, i) => `n/s${String(i).padStart(3, "0")}`));
}

/** Returns the number of watches per lane. */
function lanes(http: FakeKubeHttp): number[] {
  const counts: number[] = [];
  for (const { request: { lane = -1 } } of http.streams) counts[lane] = (counts[lane] ?? 0) + 1;
  return counts;
}

Deno.test("ObjectCache: distributes watches over connections, and polls beyond their limit", async () => {
  const { objects, http, clock } = stage();
  objects.setReferences(keys(90));
  await flushTasks();
  await objects.waitForList();
  await flushTasks();
  deepEqual(lanes(http), [40, 40, 10]);
  objects.setReferences(keys(250));
  await flushTasks();
  await objects.waitForList();
  await flushTasks();
  deepEqual(lanes(http), [40, 40, 40, 40, 40, 40]);
  equal(objects.items().length, 250);
  const before = http.requests.length;
  await clock.advance(61_000);
  equal(http.requests.filter(({ path }) => path.includes("s249")).length, 2, "it is polled");
  equal(http.requests.length > before, true);
  objects.stop();
});

Deno.test("ObjectCache: reuses the watches of objects that are no longer referenced", async () => {
  const { objects, http, clock } = stage();
  objects.setReferences(keys(240));
  await flushTasks();
  objects.setReferences(new Set());
  await clock.advance(6 * 60_000);
  objects.setReferences(new Set());
  objects.setReferences(new Set(["n/new"]));
  await flushTasks();
  const { lane } = http.streams.at(-1)?.request ?? {};
  deepEqual([http.paths.at(-1)?.includes("metadata.name=new"), lane], [true, 0]);
  objects.stop();
});
