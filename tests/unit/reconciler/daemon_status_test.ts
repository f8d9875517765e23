import { strictEqual } from "node:assert/strict";
import {
  type Daemon,
  encodeRegistryAuth,
  parseImageReference,
  Secret,
} from "../../../lib/model/mod.ts";
import type { InstanceRecord } from "../../../lib/reconciler/mod.ts";
import { readsFailAtMs } from "../../../lib/reconciler/daemon_status.ts";
import { CredentialStore } from "../../../lib/credentials/mod.ts";
import { FakeRandom } from "../../fakes/random.ts";

const NOW = Date.UTC(2026, 0, 1);
const IMAGE = parseImageReference("registry.example.com/team/app:v1");
const DAEMON: Daemon = {
  id: "d1",
  apiSocket: "/run/d1.sock",
  source: "configured",
  state: "running",
  configApi: "supported",
  instances: [],
};

/** A password as ECR makes them, which tells when it ends. */
function token(endsAtMs: number) {
  const payload = { payload: "x", version: "2", type: "DATA_KEY", expiration: endsAtMs / 1_000 };
  const password = new Secret(btoa(JSON.stringify(payload)));
  return { kind: "basic", username: "AWS", password } as const;
}

function stored(endsAtMs: number) {
  const settings = { leadTimeMs: "auto", refreshIntervalMs: 240_000 } as const;
  const store = new CredentialStore({ settings, seed: "node", random: new FakeRandom() });
  const candidate = {
    credential: token(endsAtMs),
    origin: "plugin p",
    fetchedAtMs: NOW,
    watched: false,
    expiresAtMs: endsAtMs,
  };
  store.put(IMAGE, { provider: "kubelet", candidates: [candidate] }, NOW);
  return store.get(IMAGE.text);
}

const holding = (endsAtMs: number, state: InstanceRecord["state"] = "stored"): InstanceRecord => ({
  state,
  failures: 0,
  currentAuth: encodeRegistryAuth(token(endsAtMs)),
});

const SOON = NOW + 600_000;
const LATE = NOW + 3_600_000;

Deno.test("readsEnd: what is held counts, or what can still be delivered", () => {
  const end = (state: Daemon["state"], record: InstanceRecord, ours: number) =>
    readsFailAtMs({ ...DAEMON, state }, record, stored(ours), NOW);
  strictEqual(end("running", holding(LATE), LATE), LATE, "the same");
  strictEqual(end("running", holding(SOON), LATE), LATE, "it is about to be delivered");
  strictEqual(end("unresponsive", holding(SOON), LATE), SOON, "it cannot be told");
  strictEqual(end("running", holding(SOON, "refused"), LATE), SOON, "it does not take it");
  strictEqual(end("running", holding(SOON, "withheld"), LATE), SOON, "it is not given it");
  strictEqual(end("running", holding(LATE), SOON), LATE, "what it holds lives longer");
  strictEqual(end("no-listener", { state: "unreachable", failures: 1 }, LATE), undefined);
  strictEqual(end("running", { state: "pending", failures: 0 }, LATE), LATE);
  const old = { state: "file-only", failures: 0 } as const;
  strictEqual(end("running", old, LATE), undefined, "what nydusd 2.4.0 reads with nobody knows");
});

Deno.test("readsEnd: no end is known where nothing tells it", () => {
  strictEqual(readsFailAtMs(DAEMON, holding(LATE), undefined, NOW), undefined);
  const garbage = { state: "refused", failures: 0, currentAuth: new Secret("%%%") } as const;
  strictEqual(readsFailAtMs(DAEMON, garbage, stored(LATE), NOW), undefined);
  strictEqual(readsFailAtMs(DAEMON, { state: "stored", failures: 0 }, stored(LATE), NOW), LATE);
});
