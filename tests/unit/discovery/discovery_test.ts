import { deepStrictEqual, ok, strictEqual } from "node:assert/strict";
import { Discovery, type DiscoveryOptions } from "../../../lib/discovery/mod.ts";
import type { PeerResult, SnapshotterDaemon } from "../../../lib/model/mod.ts";
import { FakeFiles } from "../../fakes/files.ts";
import { FakeNydusdApi, registryAuth } from "../../fakes/nydusd_api.ts";
import { flushTasks } from "../../fakes/clock.ts";

const ROOT = "/data";
const SYSTEM = "/run/system.sock";

const listed = (
  id: string,
  instances: readonly (readonly [string, string])[],
): SnapshotterDaemon => ({
  id,
  pid: 7,
  apiSocket: `${ROOT}/socket/${id}/api.sock`,
  instances: instances.map(([snapshotId, imageId]) => ({
    snapshotId,
    imageId,
  })),
});

const NO_OTHER_HOSTS = { vpcRegistry: false, allowedHosts: [] };

function stage(
  change: Partial<DiscoveryOptions["config"]> = {},
  hosts: DiscoveryOptions["hosts"] = NO_OTHER_HOSTS,
) {
  const files = new FakeFiles();
  const nydusd = new FakeNydusdApi();
  let list: PeerResult<readonly SnapshotterDaemon[]> = { kind: "ok", value: [] };
  const discovery = new Discovery({
    config: { root: ROOT, systemSocket: SYSTEM, daemonMode: "dedicated", daemons: [], ...change },
    snapshotterApi: { daemons: () => Promise.resolve(list) },
    nydusdApi: nydusd,
    files,
    hosts,
  });
  return {
    files,
    nydusd,
    discovery,
    lists(value: typeof list) {
      list = value;
      if (value.kind !== "ok") return;
      for (const { apiSocket } of value.value) {
        if (files.text(apiSocket) === undefined) files.set(apiSocket, "", "socket");
      }
    },
  };
}

Deno.test("Discovery: takes references from the system API and mount IDs from nydusd", async () => {
  const { discovery, lists, nydusd } = stage();
  lists({ kind: "ok", value: [listed("d1", [["7", "nginx"]])] });
  nydusd.currentAuth.set("/", registryAuth("u:p"));
  const { daemons: [daemon], problems } = await discovery.discover();
  deepStrictEqual(problems, []);
  deepStrictEqual([daemon?.state, daemon?.mode, daemon?.pid], ["running", "dedicated", 7]);
  const [instance] = daemon?.instances ?? [];
  strictEqual(instance?.image?.text, "docker.io/library/nginx:latest");
  strictEqual(instance?.mountId, "/");
  strictEqual(instance?.backend?.host, "registry.example.com");
  strictEqual(instance?.configPath, "/data/config/d1/config.json");
  ok(daemon?.currentAuth?.get("/")?.equals(registryAuth("u:p")));
});

Deno.test("Discovery: distinguishes the mounts of a shared daemon", async () => {
  const { discovery, lists, nydusd } = stage();
  lists({ kind: "ok", value: [listed("s1", [["3", "a:1"], ["5", "a:1"], ["9", "b:1"]])] });
  nydusd.mounts = ["/3", "/5"];
  const { daemons: [daemon] } = await discovery.discover();
  strictEqual(daemon?.mode, "shared");
  deepStrictEqual(daemon?.instances.map(({ mountId }) => mountId), ["/3", "/5", undefined]);
  strictEqual(daemon?.instances[1]?.configPath, "/data/config/s1/5/config.json");
});

Deno.test("Discovery: makes two requests per daemon", async () => {
  const { discovery, lists, nydusd } = stage();
  lists({ kind: "ok", value: [listed("d1", [["7", "a:1"]])] });
  for (let i = 0; i < 3; i++) await discovery.discover();
  deepStrictEqual(nydusd.calls, Array(3).fill(["info", "readAuths"]).flat());
});

Deno.test("Discovery: knows the mounts of a daemon while it is down", async () => {
  const { discovery, lists, nydusd } = stage();
  lists({ kind: "ok", value: [listed("d1", [["7", "a:1"]])] });
  const [running] = (await discovery.discover()).daemons;
  nydusd.fault = () => ({ kind: "timed-out" });
  const [down] = (await discovery.discover()).daemons;
  strictEqual(down?.state, "unresponsive");
  deepStrictEqual(down.instances, running?.instances);
});

Deno.test("Discovery: forgets the mounts of a daemon that no source lists any more", async () => {
  const { discovery, lists, nydusd } = stage();
  const list = { kind: "ok", value: [listed("d1", [["7", "a:1"]])] } as const;
  lists(list);
  await discovery.discover();
  lists({ kind: "ok", value: [] });
  await discovery.discover();
  lists(list);
  nydusd.fault = () => ({ kind: "timed-out" });
  const { daemons: [daemon] } = await discovery.discover();
  strictEqual(daemon?.version, undefined);
  strictEqual(daemon?.instances[0]?.mountId, undefined);
});

Deno.test("Discovery: uses the last list while the system API does not answer", async () => {
  const { discovery, lists, files } = stage();
  lists({ kind: "ok", value: [listed("d1", [["7", "a:1"]])] });
  await discovery.discover();
  lists({ kind: "timed-out" });
  files.set(`${ROOT}/socket/d2/api.sock`, "", "socket");
  files.set(`${ROOT}/config/d2/config.json`, fuseConfig("registry.example.com", "b", "/4"));
  const { daemons, problems } = await discovery.discover();
  deepStrictEqual(daemons.map(({ id, source }) => [id, source]), [["d1", "system-api"], [
    "d2",
    "root",
  ]]);
  strictEqual(daemons[0]?.instances[0]?.image?.text, "docker.io/library/a:1");
  strictEqual(problems[0]?.source, "system-api");
  ok(problems[0]?.detail.includes("no answer in time"));
});

Deno.test("Discovery: takes over the last list after a reload of the same snapshotter", async () => {
  const { discovery: before, lists } = stage();
  lists({ kind: "ok", value: [listed("d1", [["7", "a:1"]])] });
  await before.discover();
  const listedAfter = async (change: Partial<DiscoveryOptions["config"]>) => {
    const { discovery, lists: answers } = stage(change);
    answers({ kind: "timed-out" });
    discovery.inherit(before);
    return (await discovery.discover()).daemons.map(({ id }) => id);
  };
  deepStrictEqual(await listedAfter({}), ["d1"]);
  deepStrictEqual(await listedAfter({ root: "/other" }), []);
  deepStrictEqual(await listedAfter({ systemSocket: "/run/other.sock" }), []);
});

Deno.test("Discovery: finds hosts, repositories and snapshots in the root folder alone", async () => {
  const { discovery, files, nydusd } = stage({ daemonMode: "shared" });
  const { systemSocket: _, ...config } = {
    root: ROOT,
    systemSocket: "",
    daemonMode: "shared" as const,
  };
  const alone = new Discovery({
    config: { ...config, daemons: [] },
    hosts: NO_OTHER_HOSTS,
    snapshotterApi: { daemons: () => Promise.reject(new Error("must not be called")) },
    nydusdApi: nydusd,
    files,
  });
  files.set(`${ROOT}/socket/s1/api.sock`, "", "socket");
  files.set(`${ROOT}/config/s1/config.json`, fuseConfig("", "", ""));
  files.set(`${ROOT}/config/s1/3/config.json`, fuseConfig("index.docker.io", "library/x", "/3"));
  files.set(`${ROOT}/config/s1/4/config.json`, "{ half");
  files.set(`${ROOT}/socket/f1/api.sock`, "", "socket");
  files.set(
    `${ROOT}/config/f1/config.json`,
    `{"config":{"backend_config":{"host":"h.example.com","repo":"y"}}}`,
  );
  nydusd.mounts = ["/3", "/4"];
  const { daemons } = await alone.discover();
  deepStrictEqual(
    daemons.map(({ id, instances }) => [id, instances.map((i) => i.image?.text ?? "?")]),
    [["f1", ["h.example.com/y"]], ["s1", ["docker.io/library/x", "?"]]],
  );
  deepStrictEqual(alone.watchPaths(), [`${ROOT}/socket`, `${ROOT}/config`]);
  deepStrictEqual(discovery.watchPaths(), [`${ROOT}/socket`, `${ROOT}/config`, SYSTEM]);
});

Deno.test("Discovery: reports and leaves out IDs that are no path segment", async () => {
  const { discovery, lists } = stage();
  const hostile = [
    listed("../../etc", [["7", "a:1"]]),
    listed("d1", [["../x", "a:1"], ["7", "a:1"]]),
  ];
  lists({ kind: "ok", value: hostile });
  const { daemons, problems } = await discovery.discover();
  deepStrictEqual(daemons.map(({ id }) => id), ["d1"]);
  deepStrictEqual(daemons[0]?.instances.map(({ snapshotId }) => snapshotId), ["7"]);
  strictEqual(problems.length, 2);
});

Deno.test("Discovery: an invalid image reference affects only its mount", async () => {
  const { discovery, lists } = stage();
  lists({ kind: "ok", value: [listed("d1", [["7", "foo/Bar"]]), listed("d2", [["8", "a:1"]])] });
  const { daemons } = await discovery.discover();
  ok(daemons[0]?.instances[0]?.imageProblem?.includes("lower case"));
  ok(daemons[1]?.instances[0]?.image);
});

Deno.test("Discovery: finds configured daemons and watches their sockets", async () => {
  const { discovery, files, nydusd } = stage({
    daemons: [
      { id: "one", socket: "/run/one.sock", ref: "a:1" },
      { id: "two", socket: "/run/n2/api.sock", ref: "b:1" },
    ],
  });
  const sockets = ["/run/n2/api.sock", "/run/one.sock"];
  for (const path of sockets) files.set(path, "", "socket");
  const { daemons } = await discovery.discover();
  deepStrictEqual(daemons.map(({ apiSocket }) => apiSocket).sort(), sockets);
  deepStrictEqual(daemons.map(({ id }) => id), ["one", "two"]);
  deepStrictEqual(discovery.watchPaths().slice(-2).sort(), sockets);
  ok(daemons.every(({ instances: [i] }) => i?.mountId === "/" && i.configPath === undefined));
  nydusd.mounts = ["/3", "/5"];
  const { daemons: shared } = await discovery.discover();
  deepStrictEqual(shared.map(({ instances: [i] }) => i?.mountId), [undefined, undefined]);
});

Deno.test("Discovery: returns the state of a daemon for each failure", async () => {
  const { discovery, lists, nydusd } = stage();
  lists({ kind: "ok", value: [listed("d1", [["7", "a:1"]])] });
  const daemon = async () => (await discovery.discover()).daemons[0];
  const state = async () => (await daemon())?.state;
  for (const [reported, name] of [["INIT", "starting"], ["STOPPED", "stopped"], ["?", "broken"]]) {
    nydusd.state = reported ?? "";
    strictEqual(await state(), name);
  }
  nydusd.state = "RUNNING";
  nydusd.fault = () => ({ kind: "timed-out" });
  const hung = await daemon();
  strictEqual(hung?.state, "unresponsive");
  strictEqual(hung.stateDetail, "it accepts connections but does not answer in time");
  nydusd.fault = () => ({ kind: "no-listener" });
  strictEqual(await state(), "no-listener");
  nydusd.fault = () => ({ kind: "broken", detail: "x" });
  strictEqual(await state(), "broken");
  nydusd.fault = (call) =>
    call === "readAuths" ? { kind: "refused", status: 404, detail: "x" } : undefined;
  const [old] = (await discovery.discover()).daemons;
  deepStrictEqual([old?.state, old?.configApi], ["running", "unsupported"]);
  nydusd.fault = () => ({ kind: "no-socket" });
  strictEqual(await state(), "no-socket");
});

Deno.test("Discovery: a hanging daemon does not delay the requests to the others", async () => {
  const { discovery, lists, nydusd } = stage();
  lists({ kind: "ok", value: ["a", "b", "c"].map((id) => listed(id, [["7", "a:1"]])) });
  const requested: string[] = [];
  let release = () => {};
  const hung = new Promise<void>((resolve) => release = resolve);
  const currentAuth = nydusd.readAuths.bind(nydusd);
  nydusd.readAuths = async (socket) => {
    requested.push(socket);
    if (socket.includes("/a/")) await hung;
    return await currentAuth(socket);
  };
  const discovering = discovery.discover();
  await flushTasks();
  strictEqual(requested.length, 3);
  release();
  strictEqual((await discovering).daemons.length, 3);
});

Deno.test("Discovery: returns the endpoint of a mount and what approves its host", async () => {
  const hosts = { mirrorsDir: "/certs.d", vpcRegistry: false, allowedHosts: [] };
  const { discovery, lists, nydusd, files } = stage({}, hosts);
  ok(discovery.watchPaths().includes("/certs.d"));
  lists({ kind: "ok", value: [listed("d1", [["7", "registry.example.com/app:1"]])] });
  nydusd.currentAuth.set("/", registryAuth("u:p"));
  const instance = async () => (await discovery.discover()).daemons[0]?.instances[0];
  strictEqual((await instance())?.endpoint, undefined, "its own registry is no endpoint");
  nydusd.backend = { ...nydusd.backend, host: "mirror:5000", repo: "cache/app" };
  files.set(`${ROOT}/socket/d1/api.sock`, "", "socket");
  const foreign = await instance();
  strictEqual(foreign?.image?.text, "registry.example.com/app:1");
  strictEqual(foreign?.endpoint?.target?.text, "mirror:5000/cache/app:1");
  deepStrictEqual(foreign?.endpoint?.hosts.map(({ approvedBy }) => approvedBy), [undefined]);
  files.set("/certs.d/_default/hosts.toml", '[host."http://mirror:5000"]');
  const path = "/certs.d/_default/hosts.toml";
  deepStrictEqual((await instance())?.endpoint?.hosts.map(({ approvedBy }) => approvedBy), [path]);
});

Deno.test("Discovery: reads the endpoint from the configuration file before a daemon answers", async () => {
  const { discovery, lists, nydusd, files } = stage();
  lists({ kind: "ok", value: [listed("d1", [["7", "registry.example.com/app:1"]])] });
  nydusd.fault = () => ({ kind: "no-listener" });
  const instance = async () => (await discovery.discover()).daemons[0]?.instances[0];
  strictEqual((await instance())?.backend, undefined);
  const path = `${ROOT}/config/d1/config.json`;
  files.set(path, fuseConfig("mirror:5000", "app", "/7"));
  strictEqual((await instance())?.endpoint?.target?.text, "mirror:5000/app:1");
  files.set(path, fuseConfig("registry.example.com", "app", "/7"));
  strictEqual((await instance())?.endpoint, undefined);
  files.set(path, "{ half");
  strictEqual((await instance())?.backend, undefined);
});

function fuseConfig(host: string, repo: string, id: string): string {
  return JSON.stringify({ device: { id, backend: { type: "registry", config: { host, repo } } } });
}
