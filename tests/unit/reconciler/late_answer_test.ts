import { deepEqual, equal, ok } from "node:assert/strict";
import { type CredentialProvider, type ProviderOutcome, Secret } from "../../../lib/model/mod.ts";
import { FakeClock, flushTasks } from "../../fakes/clock.ts";
import { VirtualNode } from "../../fakes/virtual_node.ts";

const NONE: ProviderOutcome = { kind: "none", reason: "no-entry-for-registry", notes: [] };

function found(clock: FakeClock, password: string): ProviderOutcome {
  const credential = { kind: "basic", username: "u", password: new Secret(password) } as const;
  const candidate = { credential, origin: "test", fetchedAtMs: clock.wallMs(), watched: true };
  return { kind: "found", reason: "found", candidates: [candidate], notes: [] };
}

Deno.test("Reconciler: a hanging provider delays neither mounts nor local requests, and its late answer is delivered", async () => {
  const clock = new FakeClock();
  const hanging = Promise.withResolvers<ProviderOutcome>();
  let hasAnswered = false;
  const docker: CredentialProvider = {
    name: "docker",
    renewable: true,
    provide: () => hasAnswered ? Promise.resolve(found(clock, "docker")) : hanging.promise,
  };
  const kubelet: CredentialProvider = {
    name: "kubelet",
    renewable: true,
    provide: ({ image }) =>
      Promise.resolve(image.registry === "a.io" ? found(clock, "kubelet") : NONE),
  };
  const node = new VirtualNode({ clock, providers: [docker, kubelet], providerTimeoutMs: 5_000 });
  const [first, second] = [node.mount("a.io/app:1"), node.mount("b.io/app:1")];
  const currentAuths = () => [first, second].map((mount) => node.currentAuthOf(mount));
  await node.run(async () => {
    await clock.advance(6_000);
    deepEqual(currentAuths(), ["u:kubelet", ""]);
    const startedMs = clock.monotonicMs();
    let completedMs = Infinity;
    const request = { image: node.store.get("b.io/app:1")?.image ?? fail(), labels: {} };
    const answer = node.reconciler.onDemand.credential(request)
      .finally(() => completedMs = clock.monotonicMs());
    await flushTasks();
    await clock.advance(1_000);
    equal((await answer).answer, undefined);
    ok(completedMs - startedMs <= 500, "an overdue provider is not waited for again");
    hasAnswered = true;
    hanging.resolve(found(clock, "docker"));
    await flushTasks();
    await clock.advance(1_000);
    deepEqual(currentAuths(), ["u:docker", "u:docker"]);
  });
});

function fail(): never {
  throw new Error("the image is not in the store");
}
