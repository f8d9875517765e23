import { deepEqual, equal } from "node:assert/strict";
import { FakeClock, settle } from "../../../fakes/clock.ts";
import { FakeFiles } from "../../../fakes/files.ts";
import { answered, FakeKubeHttp } from "../../../fakes/kube_http.ts";
import { FakeProcessRunner } from "../../../fakes/process.ts";
import { FakeRandom } from "../../../fakes/random.ts";
import { KubeAccess } from "../../../../lib/providers/kubernetes/kube_access.ts";
import { KubeClient } from "../../../../lib/providers/kubernetes/kube_client.ts";
import { FollowedObjects } from "../../../../lib/providers/kubernetes/kube_sources.ts";

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
  const access = new KubeAccess({
    kubeconfigPath: "/kubeconfig",
    files,
    processRunner,
    clock,
    env: {},
  });
  const following = {
    client: new KubeClient(http, access),
    clock,
    random: new FakeRandom(),
    pollMs: 60_000,
  };
  const projection = { read: () => "there", same: () => true };
  const objects = new FollowedObjects(following, "secrets", projection, () => {});
  return { objects, http, clock };
}

function keys(count: number): Set<string> {
  return new Set(Array.from({ length: count }, (_, i) => `n/s${String(i).padStart(3, "0")}`));
}

/** How many watches each lane has. */
function lanes(http: FakeKubeHttp): number[] {
  const counts: number[] = [];
  for (const { request: { lane = -1 } } of http.streams) counts[lane] = (counts[lane] ?? 0) + 1;
  return counts;
}

Deno.test("FollowedObjects spreads its watches over connections, and polls what goes beyond", async () => {
  const { objects, http, clock } = stage();
  objects.want(keys(90));
  await settle();
  await objects.attempted();
  await settle();
  deepEqual(lanes(http), [40, 40, 10]);
  objects.want(keys(250));
  await settle();
  await objects.attempted();
  await settle();
  deepEqual(lanes(http), [40, 40, 40, 40, 40, 40]);
  equal([...objects.items()].length, 250);
  const asked = http.requests.length;
  await clock.advance(61_000);
  equal(http.requests.filter(({ path }) => path.includes("s249")).length, 2, "it is got again");
  equal(http.requests.length > asked, true);
  objects.stop();
});

Deno.test("FollowedObjects gives the place of what was let go to what comes", async () => {
  const { objects, http, clock } = stage();
  objects.want(keys(240));
  await settle();
  objects.want(new Set());
  await clock.advance(6 * 60_000);
  objects.want(new Set());
  objects.want(new Set(["n/new"]));
  await settle();
  const { lane } = http.streams.at(-1)?.request ?? {};
  deepEqual([http.paths.at(-1)?.includes("metadata.name=new"), lane], [true, 0]);
  objects.stop();
});
