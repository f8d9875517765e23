import { deepStrictEqual, equal } from "node:assert/strict";
import {
  type Daemon,
  encodeRegistryAuth,
  parseImageReference,
  Secret,
} from "../../../lib/model/mod.ts";
import { Deliveries } from "../../../lib/reconciler/deliveries.ts";
import { Mounts } from "../../../lib/reconciler/mounts.ts";
import { CredentialStore } from "../../../lib/credentials/mod.ts";
import { FakeClock, flushTasks } from "../../fakes/clock.ts";
import { FakeObserver } from "../../fakes/observer.ts";
import { FakeRandom } from "../../fakes/random.ts";
import { selectFirst } from "../../fakes/selector.ts";

const IMAGE = parseImageReference("registry.example.com/app:1");
const settings = { leadTimeMs: "auto", refreshIntervalMs: 240_000 } as const;

function daemon(id: string, snapshotIds: readonly string[]): Daemon {
  return {
    id,
    apiSocket: `/run/${id}.sock`,
    source: "system-api",
    state: "running",
    configApi: "supported",
    instances: snapshotIds.map((snapshotId) => ({
      snapshotId,
      mountId: `/${snapshotId}`,
      image: IMAGE,
    })),
  };
}

/** Deliveries of a stored credential that the test completes. */
function stage(daemons: readonly Daemon[]) {
  const clock = new FakeClock();
  const store = new CredentialStore({ settings, seed: "s", random: new FakeRandom() });
  const credential = { kind: "basic", username: "u", password: new Secret("p") } as const;
  const candidate = { credential, origin: "o", fetchedAtMs: clock.wallMs(), watched: true };
  store.put(IMAGE, { provider: "docker", candidate }, clock.wallMs());
  const mounts = new Mounts();
  mounts.observe(daemons, 0);
  const started: string[] = [];
  const open = new Map<string, (error?: Error) => void>();
  const observer = new FakeObserver();
  let completed = 0;
  const deliveries = new Deliveries({
    mounts,
    store,
    observer,
    clock,
    selector: selectFirst,
    inUseDelayMs: () => 5_000,
    wake: () => completed++,
    stages: () => ({
      discoverer: { discover: () => Promise.reject(new Error("not called")) },
      resolver: { resolve: () => Promise.reject(new Error("not called")) },
      deliverer: {
        deliver: async ({ daemon: { id }, instance: { snapshotId } }) => {
          started.push(`${id}/${snapshotId}`);
          const { promise, resolve } = Promise.withResolvers<void>();
          open.set(id, () => resolve());
          await promise;
          return { kind: "delivered", file: { kind: "written" } };
        },
      },
      checkIntervalMs: 60_000,
      renewalEnabled: true,
    }),
  });
  return {
    deliveries,
    observer,
    store,
    mounts,
    started,
    completed: () => completed,
    async end(id: string) {
      open.get(id)?.();
      open.delete(id);
      await flushTasks();
    },
  };
}

Deno.test("Deliveries: delivers to daemons concurrently, and to the mounts of one in sequence", async () => {
  const { deliveries, started, end, completed } = stage([
    daemon("a", ["1", "2"]),
    daemon("b", ["1"]),
  ]);
  deliveries.schedule();
  await flushTasks();
  deepStrictEqual(started, ["a/1", "b/1"]);
  deliveries.schedule(IMAGE.text);
  await end("a");
  deepStrictEqual(started, ["a/1", "b/1", "a/2"]);
  await end("b");
  await end("a");
  await deliveries.idle();
  deepStrictEqual(started, ["a/1", "b/1", "a/2"], "the second pass finds them delivered");
  equal(completed(), 2);
});

Deno.test("Deliveries: processes at most 16 daemons at a time, and starts none after stop", async () => {
  const daemons = Array.from({ length: 20 }, (_, i) => daemon(`d${i}`, ["1", "2"]));
  const { deliveries, started, end } = stage(daemons);
  deliveries.schedule();
  await flushTasks();
  equal(started.length, 16);
  await end("d0");
  equal(started.length, 17, "the second mount of d0");
  const stopped = deliveries.stop();
  for (const { id } of daemons) await end(id);
  await stopped;
  equal(started.length, 17);
  deliveries.schedule();
  equal(started.length, 17);
});

Deno.test("Deliveries: a withdrawn credential stays in nydusd, and is not adopted", async () => {
  const auth = encodeRegistryAuth({ kind: "basic", username: "u", password: new Secret("p") });
  const { deliveries, store, mounts, started } = stage([
    { ...daemon("d1", ["1"]), currentAuth: new Map([["/1", auth]]) },
  ]);
  store.withdraw(IMAGE);
  for (const mount of mounts.all) mount.record = { ...mount.record, failures: 3 };
  deliveries.schedule();
  await deliveries.idle();
  deepStrictEqual(mounts.all.map(({ record }) => [record.state, record.failures]), [[
    "adopted",
    0,
  ]]);
  deepStrictEqual(started, []);
  equal(store.get(IMAGE.text)?.stored, undefined);
});

Deno.test("Deliveries: reports an unexpected error and continues with the next mount", async () => {
  const { deliveries, observer, started, end } = stage([daemon("a", ["1", "2"])]);
  const notify = observer.notify.bind(observer);
  observer.notify = (event) => {
    notify(event);
    if (event.kind === "delivery-attempted" && event.snapshotId === "1") throw new Error("defect");
  };
  deliveries.schedule();
  await flushTasks();
  await end("a");
  deepStrictEqual(started, ["a/1", "a/2"]);
  await end("a");
  await deliveries.idle();
  equal(
    observer.events.some((event) =>
      event.kind === "warning" && event.text.includes("mount 1 of daemon a: defect")
    ),
    true,
  );
});
