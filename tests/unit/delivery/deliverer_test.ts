import { deepStrictEqual, ok, strictEqual } from "node:assert/strict";
import { dirname } from "node:path";
import { Deliverer, inUseDelayMs } from "../../../lib/delivery/mod.ts";
import {
  type Credential,
  type Daemon,
  type DeliveryRequest,
  parseImageReference,
  Secret,
} from "../../../lib/model/mod.ts";
import { FakeFiles } from "../../fakes/files.ts";
import { FakeNydusdApi, registryAuth } from "../../fakes/nydusd_api.ts";

const PATH = "/data/config/d1/config.json";
const OLD_FILE = `{"device":{"backend":{"config":{"auth":"${btoa("u:old")}"}}}}`;
const BASIC: Credential = { kind: "basic", username: "u", password: new Secret("new") };

function stage(
  configFiles: "auto" | "always" | "never" = "auto",
  fsDriver: "fusedev" | "fscache" = "fusedev",
) {
  const nydusd = new FakeNydusdApi();
  nydusd.currentAuth.set("/", registryAuth("u:old"));
  const files = new FakeFiles();
  files.set(PATH, OLD_FILE);
  const deliverer = new Deliverer({
    nydusdApi: nydusd,
    files,
    fsDriver,
    configFiles,
  });
  return { nydusd, files, deliverer };
}

function order(change: Partial<Daemon> = {}, credential = BASIC, mountId = "/"): DeliveryRequest {
  const instance = { snapshotId: "1", mountId, configPath: PATH };
  const daemon: Daemon = {
    id: "d1",
    apiSocket: "/run/d1.sock",
    source: "system-api",
    state: "running",
    version: "v2.4.4",
    configApi: "supported",
    instances: [instance],
    ...change,
  };
  return { daemon, instance, credential };
}

Deno.test("Deliverer: compares, puts, reads back, and rewrites the file", async () => {
  const { nydusd, files, deliverer } = stage();
  deepStrictEqual(await deliverer.deliver(order()), {
    kind: "delivered",
    file: { kind: "written" },
  });
  deepStrictEqual(nydusd.calls, ["readAuths", "putAuth /", "readAuths"]);
  ok(nydusd.currentAuth.get("/")?.equals(registryAuth("u:new")));
  ok(files.text(PATH)?.includes(btoa("u:new")));
});

Deno.test("Deliverer: an abort reaches every request", async () => {
  const { nydusd, deliverer } = stage();
  const { signal } = new AbortController();
  strictEqual((await deliverer.deliver(order(), { signal })).kind, "delivered");
  deepStrictEqual(nydusd.signals, [signal, signal, signal]);
});

Deno.test("Deliverer: adds a credential to a file without one only with `always`", async () => {
  for (const configFiles of ["auto", "always"] as const) {
    const { files, deliverer } = stage(configFiles);
    files.set(PATH, `{"device":{"backend":{"config":{}}}}`);
    strictEqual((await deliverer.deliver(order())).kind, "delivered");
    strictEqual(files.text(PATH)?.includes(btoa("u:new")), configFiles === "always");
  }
});

Deno.test("Deliverer: reads the credential of its mount only, before and after", async () => {
  const { nydusd, deliverer } = stage();
  const read: unknown[] = [];
  const readAuths = nydusd.readAuths.bind(nydusd);
  nydusd.readAuths = (path, options) => {
    read.push(options?.mountId);
    return readAuths(path, options);
  };
  strictEqual((await deliverer.deliver(order())).kind, "delivered");
  deepStrictEqual(read, ["/", "/"]);
});

Deno.test("Deliverer: makes no PUT and no write without a change", async () => {
  const { nydusd, files, deliverer } = stage();
  await deliverer.deliver(order());
  const outcome = await deliverer.deliver(order());
  deepStrictEqual(outcome, { kind: "unchanged", file: { kind: "unchanged" } });
  strictEqual(nydusd.calls.filter((call) => call.startsWith("put")).length, 1);
  deepStrictEqual(files.writes.map(({ options }) => options), [{
    mode: 0o600,
    owner: { uid: 7, gid: 8 },
  }]);
});

Deno.test("Deliverer: rejects a 204 when the value read back differs", async () => {
  const { nydusd, deliverer } = stage();
  nydusd.putAuth = () => Promise.resolve({ kind: "ok", value: undefined });
  strictEqual((await deliverer.deliver(order())).kind, "rejected");
});

Deno.test("Deliverer: reloads nydusd even if the file cannot be written", async () => {
  const { files, deliverer, nydusd } = stage();
  files.refuseWriting(dirname(PATH));
  const outcome = await deliverer.deliver(order());
  strictEqual(outcome.kind, "delivered");
  strictEqual(outcome.file.kind, "failed");
  ok(nydusd.currentAuth.get("/")?.equals(registryAuth("u:new")));
});

Deno.test("Deliverer: rewrites the file even if nydusd does not answer", async () => {
  const { files, deliverer, nydusd } = stage();
  nydusd.fault = () => ({ kind: "timed-out" });
  const outcome = await deliverer.deliver(order());
  strictEqual(outcome.kind, "unreachable");
  ok(files.text(PATH)?.includes(btoa("u:new")));
});

Deno.test("Deliverer: returns why a delivery is not possible", async () => {
  const { nydusd, deliverer } = stage();
  const kindOf = async (o: DeliveryRequest) => (await deliverer.deliver(o)).kind;
  const token: Credential = { kind: "registry-token", token: new Secret("t") };
  const identity: Credential = { kind: "identity-token", username: "", token: new Secret("t") };
  strictEqual(await kindOf(order({}, token)), "file-only");
  for (
    const [credential, reason] of [
      [identity, /identity token/],
      [{ ...token, token: new Secret("") }, /is empty/],
    ] as const
  ) {
    const outcome = await deliverer.deliver(order({}, credential));
    ok(outcome.kind === "unsupported" && reason.test(outcome.detail));
  }
  strictEqual(await kindOf(order({ configApi: "unsupported", version: "v2.4.0" })), "file-only");
  strictEqual(await kindOf(order({ state: "unresponsive" })), "unreachable");
  nydusd.fault = (call) =>
    call.startsWith("put") ? { kind: "refused", status: 500, detail: "status 500" } : undefined;
  strictEqual(await kindOf(order()), "rejected");
  strictEqual(nydusd.calls.some((call) => call === "info"), false);
});

Deno.test("Deliverer: skips files when configured, and when they do not exist", async () => {
  const never = stage("never");
  strictEqual((await never.deliverer.deliver(order())).file.kind, "skipped");
  strictEqual(never.files.text(PATH), OLD_FILE);
  const gone = stage();
  gone.files.remove(PATH);
  strictEqual((await gone.deliverer.deliver(order())).file.kind, "absent");
});

Deno.test("inUseDelayMs: returns the delay of each version", () => {
  const table: readonly (readonly [string, number | undefined])[] = [
    ["v2.3.0", undefined],
    ["2.4.0", undefined],
    ["v2.4.1", 0],
    ["v2.4.1-rc1", 0],
    ["2.4.2", 5_000],
    ["v2.4.4", 5_000],
    ["v2.10.0", 5_000],
    ["v3.0.0", undefined],
    ["v3", undefined],
    ["", 5_000],
  ];
  for (const [version, delay] of table) strictEqual(inUseDelayMs(version), delay, version);
});

Deno.test("Deliverer: writes only the file of a daemon that reads its credential once at start", async () => {
  const table = [
    [{ version: "v3" }, "nydusd v3 reads its credential once at start"],
    [{ version: "v3.1.2", configApi: "unsupported" }, "nydusd v3.1.2 reads its credential"],
    [{ version: "v2.3.1", configApi: "unsupported" }, "nydusd v2.3.1 has no configuration API"],
    [{ version: "", configApi: "unsupported" }, "nydusd  has no configuration API"],
  ] as const;
  for (const [change, detail] of table) {
    const { nydusd, deliverer } = stage();
    const outcome = await deliverer.deliver(order(change));
    ok(outcome.kind === "file-only" && outcome.detail.startsWith(detail), JSON.stringify(outcome));
    strictEqual(outcome.file.kind, "written");
    deepStrictEqual(nydusd.calls, []);
  }
});

Deno.test("Deliverer: skips a file with another registry when the endpoint is unknown", async () => {
  const image = parseImageReference("registry.example.com/app:1");
  const fileOf = (host: string) =>
    JSON.stringify({ device: { backend: { config: { host, auth: btoa("u:old") } } } });
  for (const [host, kind] of [["mirror:5000", "skipped"], [image.registry, "written"]] as const) {
    const { files, deliverer } = stage();
    files.set(PATH, fileOf(host));
    const given = order();
    const instance = { ...given.instance, image };
    strictEqual((await deliverer.deliver({ ...given, instance })).file.kind, kind);
    strictEqual(files.text(PATH)?.includes(btoa("u:new")), kind === "written");
  }
  // If the endpoint is known, a file with another one is a failure.
  for (const [host, kind] of [["mirror:5000", "written"], [image.registry, "failed"]] as const) {
    const { files, deliverer } = stage();
    files.set(PATH, fileOf("mirror:5000"));
    const given = order();
    const backend = { host, skipVerify: false, caFiles: [], mirrors: [] };
    const instance = { ...given.instance, image, backend };
    strictEqual((await deliverer.deliver({ ...given, instance })).file.kind, kind);
    strictEqual(files.text(PATH)?.includes(btoa("u:new")), kind === "written");
  }
});

Deno.test("Deliverer: a mount that nydusd does not list is retried, but not with fscache", async () => {
  for (const [driver, kind] of [["fusedev", "unreachable"], ["fscache", "file-only"]] as const) {
    const { deliverer } = stage("auto", driver);
    const given = order();
    const { mountId: _, ...instance } = { mountId: "/", ...given.instance };
    strictEqual((await deliverer.deliver({ ...given, instance })).kind, kind);
  }
});
