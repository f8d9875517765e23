import { deepEqual, equal } from "node:assert/strict";
import { Deliverer } from "../../../lib/delivery/mod.ts";
import { type Credential, type DeliveryRequest, Secret } from "../../../lib/model/mod.ts";
import { FakeFiles } from "../../fakes/files.ts";
import { FakeNydusdApi, registryAuth } from "../../fakes/nydusd_api.ts";

const PATH = "/data/config/d1/config.json";
const FILE = `{"device":{"backend":{"type":"registry","config":{"auth":"${btoa("u:old")}"}}}}`;
const BASIC: Credential = { kind: "basic", username: "u", password: new Secret("new") };

function stage() {
  const nydusd = new FakeNydusdApi();
  nydusd.currentAuth.set("/", registryAuth("u:old"));
  const files = new FakeFiles();
  files.set(PATH, FILE);
  const options = { nydusdApi: nydusd, files, fsDriver: "fusedev", configFiles: "always" } as const;
  return { nydusd, files, deliverer: new Deliverer(options) };
}

function order(credential: Credential): DeliveryRequest {
  const instance = { snapshotId: "1", mountId: "/", configPath: PATH };
  const daemon = {
    id: "d1",
    apiSocket: "/run/d1.sock",
    source: "system-api",
    state: "running",
    configApi: "supported",
    instances: [instance],
  } as const;
  return { daemon, instance, credential };
}

for (
  const empty of [
    { kind: "basic", username: "u", password: new Secret("") },
    { kind: "registry-token", token: new Secret("") },
  ] as const
) {
  Deno.test(`Deliverer: never replaces a credential by an empty ${empty.kind}`, async () => {
    const { nydusd, files, deliverer } = stage();
    equal((await deliverer.deliver(order(empty))).kind, "unsupported");
    deepEqual(nydusd.calls, []);
    deepEqual(files.writes, []);
  });
}

Deno.test("Deliverer: writes a registry token only to the file", async () => {
  const { nydusd, files, deliverer } = stage();
  const token = { kind: "registry-token", token: new Secret("t0") } as const;
  const outcome = await deliverer.deliver(order(token));
  deepEqual([outcome.kind, outcome.file.kind], ["file-only", "written"]);
  deepEqual(nydusd.calls, []);
  deepEqual(JSON.parse(files.text(PATH) ?? "").device.backend.config, { registry_token: "t0" });
  deepEqual(files.writes[0]?.options, { mode: 0o600, owner: { uid: 7, gid: 8 } });
});

Deno.test("Deliverer: returns file-only when the API answers 404", async () => {
  const { nydusd, deliverer } = stage();
  nydusd.fault = () => ({ kind: "refused", status: 404, detail: "it responded with status 404" });
  const { kind, file } = await deliverer.deliver(order(BASIC));
  deepEqual([kind, file.kind], ["file-only", "written"]);
});

Deno.test("Deliverer: writes the file later when the folder becomes writable", async () => {
  const { files, deliverer } = stage();
  files.refuseWriting("/data/config/d1");
  const first = await deliverer.deliver(order(BASIC));
  deepEqual([first.kind, first.file.kind], ["delivered", "failed"]);
  files.refuseWriting("/data/config/d1", false);
  const second = await deliverer.deliver(order(BASIC));
  deepEqual([second.kind, second.file.kind], ["unchanged", "written"]);
});

Deno.test("Deliverer: does not follow links", async () => {
  const { files, deliverer } = stage();
  files.set("/etc/passwd", files.text(PATH));
  files.set(PATH, "/etc/passwd", "symlink");
  equal((await deliverer.deliver(order(BASIC))).file.kind, "failed");
  deepEqual(files.writes, []);
});
