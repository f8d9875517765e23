import { deepEqual, equal } from "node:assert/strict";
import { flushTasks } from "../../../fakes/clock.ts";
import { answered, FakeKubeHttp } from "../../../fakes/kube_http.ts";
import { informerContext } from "../../../fakes/kube_stage.ts";
import { isFields } from "../../../../lib/formats/mod.ts";
import { ObjectCache } from "../../../../lib/providers/kubernetes/informer.ts";

function stage() {
  const http = new FakeKubeHttp((path) => {
    const name = path.split("?")[0]?.split("/").at(-1);
    return answered({ metadata: { name, namespace: "n", resourceVersion: "1" } });
  });
  const context = informerContext(http);
  const objects = new ObjectCache({
    ...context,
    transform: ({ metadata }) => String(isFields(metadata) && metadata["name"]),
    resource: "secrets",
    changed: () => {},
  });
  return { objects, http, clock: context.clock };
}

function keys(count: number): Set<string> {
  return new Set(Array.from({ length: count }, (_, i) => `n/s${String(i).padStart(3, "0")}`));
}

Deno.test("ObjectCache: returns the objects by namespace and name", async () => {
  const { objects } = stage();
  objects.setReferences(new Set(["n/b"]));
  objects.setReferences(new Set(["n/a", "n/b"]));
  await flushTasks();
  deepEqual(objects.items(), ["a", "b"]);
  objects.stop();
});

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

Deno.test("ObjectCache: stops the watches of objects that are no longer referenced", async () => {
  const { objects, http } = stage();
  objects.setReferences(keys(40));
  await flushTasks();
  objects.setReferences(new Set(["n/new"]));
  await flushTasks();
  deepEqual([objects.items(), objects.get("n/s000")], [["new"], undefined]);
  equal(http.openStreams, 1);
  equal(http.paths.at(-1)?.includes("metadata.name=new"), true);
  objects.stop();
});

Deno.test("ObjectCache: omits objects beyond the limit, and reports them", async () => {
  const { objects } = stage();
  objects.setReferences(keys(1_002));
  await flushTasks();
  await objects.waitForList();
  equal(objects.items().length, 1_000);
  const [problem] = objects.problems();
  deepEqual([problem?.subject, problem?.unsynced, problem?.stale], ["secrets", true, false]);
  equal(problem?.failure.detail, "2 are omitted: the limit is 1000");
  objects.setReferences(keys(1_000));
  deepEqual(objects.problems(), []);
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
