import { strictEqual } from "node:assert/strict";
import {
  type Daemon,
  encodeRegistryAuth,
  parseImageReference,
  Secret,
} from "../../../lib/model/mod.ts";
import type { InstanceRecord } from "../../../lib/reconciler/mounts.ts";
import { readsFailAtMs } from "../../../lib/reconciler/reconciler.ts";
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

/** A password of ECR, which contains its expiry. */
function token(expiresAtMs: number) {
  const payload = { payload: "x", version: "2", type: "DATA_KEY", expiration: expiresAtMs / 1_000 };
  const password = new Secret(btoa(JSON.stringify(payload)));
  return { kind: "basic", username: "AWS", password } as const;
}

function stored(expiresAtMs: number) {
  const settings = { leadTimeMs: "auto", refreshIntervalMs: 240_000 } as const;
  const store = new CredentialStore({ settings, seed: "node", random: new FakeRandom() });
  const candidate = {
    credential: token(expiresAtMs),
    origin: "plugin p",
    fetchedAtMs: NOW,
    watched: false,
    expiresAtMs,
  };
  store.put(IMAGE, { provider: "kubelet", candidate }, NOW);
  return store.get(IMAGE.text);
}

const recordWith = (
  expiresAtMs: number,
  state: InstanceRecord["state"] = "stored",
): InstanceRecord => ({
  state,
  failures: 0,
  currentAuth: encodeRegistryAuth(token(expiresAtMs)),
});

const EARLY = NOW + 600_000;
const LATE = NOW + 3_600_000;

Deno.test("readsFailAtMs: uses the expiry in nydusd, or of the credential that can be delivered", () => {
  const end = (state: Daemon["state"], record: InstanceRecord, ours: number) =>
    readsFailAtMs({ ...DAEMON, state }, record, stored(ours), NOW);
  strictEqual(end("running", recordWith(LATE), LATE), LATE, "equal credentials");
  strictEqual(end("running", recordWith(EARLY), LATE), LATE, "about to be delivered");
  strictEqual(end("unresponsive", recordWith(EARLY), LATE), EARLY, "cannot be delivered");
  strictEqual(end("running", recordWith(EARLY, "refused"), LATE), EARLY, "nydusd refuses it");
  strictEqual(end("running", recordWith(EARLY, "withheld"), LATE), EARLY, "not delivered");
  strictEqual(end("running", recordWith(LATE), EARLY), LATE, "the one in nydusd expires later");
  strictEqual(end("no-listener", { state: "unreachable", failures: 1 }, LATE), undefined);
  strictEqual(end("running", { state: "pending", failures: 0 }, LATE), LATE);
  const old = { state: "file-only", failures: 0 } as const;
  strictEqual(end("running", old, LATE), undefined, "nydusd 2.4.0 does not report its credential");
});

Deno.test("readsFailAtMs: is undefined when no expiry is known", () => {
  strictEqual(readsFailAtMs(DAEMON, recordWith(LATE), undefined, NOW), undefined);
  const invalid = { state: "refused", failures: 0, currentAuth: new Secret("%%%") } as const;
  strictEqual(readsFailAtMs(DAEMON, invalid, stored(LATE), NOW), undefined);
  strictEqual(readsFailAtMs(DAEMON, { state: "stored", failures: 0 }, stored(LATE), NOW), LATE);
});
