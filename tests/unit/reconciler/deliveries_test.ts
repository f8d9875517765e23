import { equal } from "node:assert/strict";
import {
  type Daemon,
  parseImageReference,
  type RafsInstance,
  Secret,
} from "../../../lib/model/mod.ts";
import { Deliveries } from "../../../lib/reconciler/deliveries.ts";
import { MountRecords, Mounts } from "../../../lib/reconciler/mounts.ts";
import { CredentialStore } from "../../../lib/credentials/mod.ts";
import { FakeClock } from "../../fakes/clock.ts";
import { FakeObserver } from "../../fakes/observer.ts";
import { FakeRandom } from "../../fakes/random.ts";

const instance: RafsInstance = {
  daemonId: "d1",
  snapshotId: "1",
  mountId: "/",
  image: parseImageReference("registry.example.com/app:1"),
};
const daemon: Daemon = {
  id: "d1",
  apiSocket: "/run/d1.sock",
  source: "system-api",
  state: "running",
  version: "2.4.4",
  configApi: "supported",
  instances: [instance],
};

Deno.test("Deliveries: failed reads make no credential suspect when nydusd has none", () => {
  const records = new MountRecords();
  const settings = { leadTimeMs: "auto", refreshIntervalMs: 240_000 } as const;
  const deliveries = new Deliveries({
    records,
    mounts: new Mounts(),
    store: new CredentialStore({ settings, seed: "s", random: new FakeRandom() }),
    deliverer: () => ({ deliver: () => Promise.reject(new Error("not called")) }),
    observer: new FakeObserver(),
    clock: new FakeClock(),
    isRenewing: () => false,
    remembered: () => undefined,
    unapprovedHostPolicy: () => "warn",
    inUseDelayMs: () => 5_000,
    onCompleted: () => {},
  });
  const finding = { daemon, instance, verdict: "failed", reads: 5, sinceMs: 60_000 } as const;
  for (const state of ["adopted", "stored"] as const) {
    for (const currentAuth of [undefined, "", btoa("u:p")]) {
      records.set("d1/1", {
        state,
        failures: 0,
        storedAtMs: 0,
        ...(currentAuth !== undefined && { currentAuth: new Secret(currentAuth) }),
      });
      equal(
        deliveries.judge(finding),
        currentAuth ? "suspect" : "unrelated",
        `${state}, ${currentAuth}`,
      );
    }
  }
});
