import { deepEqual, equal } from "node:assert/strict";
import { Discovery, type DiscoveryOptions } from "../../../lib/discovery/mod.ts";
import { listRootFolder } from "../../../lib/discovery/listed.ts";
import type { Daemon } from "../../../lib/model/mod.ts";
import { FakeFiles } from "../../fakes/files.ts";
import { FakeNydusdApi } from "../../fakes/nydusd_api.ts";
import { FakeSnapshotterApi } from "../../fakes/snapshotter_api.ts";

const SOCKET = "/data/socket/d1/api.sock";

function stage(change: Partial<DiscoveryOptions["config"]> = {}) {
  const files = new FakeFiles();
  const snapshotter = new FakeSnapshotterApi();
  const nydusd = new FakeNydusdApi();
  const config = {
    root: "/data",
    systemSocket: "/run/system.sock",
    daemonMode: "dedicated" as const,
    daemons: [],
    ...change,
  };
  const discovery = new Discovery({
    config,
    hosts: { vpcRegistry: false, allowedHosts: [] },
    files,
    snapshotterApi: snapshotter,
    nydusdApi: nydusd,
  });
  return { files, snapshotter, nydusd, discovery };
}

function config(id: string | undefined, repo = "a"): string {
  const device = { ...(id !== undefined && { id }), backend: { config: { host: "h.io", repo } } };
  return JSON.stringify({ device });
}

function snapshots(daemon: Daemon | undefined): (readonly (string | undefined)[])[] {
  return (daemon?.instances ?? []).map((i) => [i.snapshotId, i.mountId, i.image?.text]);
}

for (const id of [undefined, "", "/another", "../7"]) {
  Deno.test(`Discovery: lists a dedicated mount once when the ID in its file is ${id}`, async () => {
    const { files, snapshotter, discovery } = stage();
    files.set(SOCKET, "", "socket");
    files.set("/data/config/d1/config.json", config(id));
    snapshotter.list("d1", SOCKET, { "7": "h.io/a:1" });
    await discovery.discover();
    snapshotter.answer = { kind: "timed-out" };
    const { daemons } = await discovery.discover();
    deepEqual(snapshots(daemons[0]), [["7", "/", "h.io/a:1"]]);
  });
}

Deno.test("Discovery: adds mounts of a shared daemon that only the root folder lists", async () => {
  const { files, snapshotter, nydusd, discovery } = stage();
  nydusd.mounts = ["/7", "/8"];
  files.set(SOCKET, "", "socket");
  files.set("/data/config/d1/7/config.json", config("/7"));
  snapshotter.list("d1", SOCKET, { "7": "h.io/a:1" });
  await discovery.discover();
  files.set("/data/config/d1/8/config.json", config("/8", "b"));
  snapshotter.answer = { kind: "no-listener" };
  const { daemons, problems } = await discovery.discover();
  deepEqual(snapshots(daemons[0]), [["7", "/7", "h.io/a:1"], ["8", "/8", "h.io/b"]]);
  deepEqual(problems.map(({ source, subject }) => [source, subject]), [
    ["system-api", "/run/system.sock"],
  ]);
});

Deno.test("Discovery: uses the newest socket that answers, by the root folder alone", async () => {
  const { files, snapshotter, nydusd, discovery } = stage();
  const socket = (name: string) => `/data/socket/d1/${name}.sock`;
  const found = async () => {
    const { daemons } = await discovery.discover();
    equal(daemons.length, 1);
    return [daemons[0]?.apiSocket, daemons[0]?.state, daemons[0]?.instances.length];
  };
  const unavailable = new Set<string>();
  nydusd.fault = (_call, path) => unavailable.has(path) ? { kind: "no-listener" } : undefined;
  files.set("/data/config/d1/config.json", config("/7"));
  snapshotter.answer = { kind: "timed-out" };
  for (const name of ["api", "api1", "api2", "api10"]) {
    files.set(socket(name), "", "socket");
    deepEqual(await found(), [socket(name), "running", 1]);
  }
  const info = nydusd.info.bind(nydusd);
  nydusd.info = async (path) => {
    const answer = await info(path);
    if (answer.kind !== "ok" || path !== socket("api10")) return answer;
    return { kind: "ok", value: { ...answer.value, state: "INIT", mounts: [] } };
  };
  deepEqual(await found(), [socket("api2"), "running", 1], "during the upgrade");
  for (const name of ["api", "api1", "api2"]) unavailable.add(socket(name));
  deepEqual(await found(), [socket("api10"), "starting", 1]);
  unavailable.clear();
  unavailable.add(socket("api10"));
  deepEqual(await found(), [socket("api2"), "running", 1]);
  for (const name of ["api", "api1", "api2"]) unavailable.add(socket(name));
  deepEqual(await found(), [socket("api10"), "no-listener", 1]);
});

Deno.test("Discovery: follows an upgrade while the system API does not answer", async () => {
  const { files, snapshotter, discovery } = stage();
  files.set(SOCKET, "", "socket");
  snapshotter.list("d1", SOCKET, { "7": "h.io/a:1" });
  await discovery.discover();
  snapshotter.answer = { kind: "timed-out" };
  files.set("/data/socket/d1/api1.sock", "", "socket");
  const { daemons } = await discovery.discover();
  deepEqual(daemons.map(({ id, apiSocket }) => [id, apiSocket]), [
    ["d1", "/data/socket/d1/api1.sock"],
  ]);
  deepEqual(snapshots(daemons[0]), [["7", "/", "h.io/a:1"]]);
});

Deno.test("listRootFolder: lists the sockets of all upgrades and no other file", async () => {
  const files = new FakeFiles();
  for (const name of ["api.sock", "api1.sock", "api2.sock.tmp"]) {
    files.set(`/data/socket/d1/${name}`, "", "socket");
  }
  const [daemon] = await listRootFolder("/data", files);
  equal(daemon?.apiSocket, "/data/socket/d1/api1.sock");
  deepEqual(daemon?.olderSockets, ["/data/socket/d1/api.sock"]);
  for (let i = 2; i < 9; i++) files.set(`/data/socket/d1/api${i}.sock`, "", "socket");
  const [upgraded] = await listRootFolder("/data", files);
  const newest = [upgraded?.apiSocket, ...upgraded?.olderSockets ?? []];
  deepEqual(newest, [8, 7, 6, 5].map((i) => `/data/socket/d1/api${i}.sock`));
});

Deno.test("Discovery: an abort reaches the snapshotter and every nydusd", async () => {
  const { files, snapshotter, nydusd, discovery } = stage();
  files.set(SOCKET, "", "socket");
  snapshotter.list("d1", SOCKET, { "7": "h.io/a:1" });
  const { signal } = new AbortController();
  await discovery.discover({ signal });
  deepEqual([...snapshotter.signals, ...nydusd.signals], [signal, signal]);
});

Deno.test("Discovery: removes a daemon that the system API no longer lists", async () => {
  const { files, snapshotter, discovery } = stage();
  files.set(SOCKET, "", "socket");
  snapshotter.list("d1", SOCKET, { "7": "h.io/a:1" });
  equal((await discovery.discover()).daemons.length, 1);
  snapshotter.answer = { kind: "ok", value: [] };
  equal((await discovery.discover()).daemons.length, 0);
});

Deno.test("Discovery: merges daemons with the same socket, the system API takes precedence", async () => {
  const { files, snapshotter, discovery } = stage({
    daemons: [{ id: "configured", socket: SOCKET, ref: "h.io/other:1" }],
  });
  files.set(SOCKET, "", "socket");
  snapshotter.list("d1", SOCKET, { "7": "h.io/a:1" });
  const { daemons } = await discovery.discover();
  deepEqual(daemons.map(({ id, source }) => [id, source]), [["d1", "system-api"]]);
  deepEqual(snapshots(daemons[0]), [["7", "/", "h.io/a:1"]]);
});

Deno.test("Discovery: reports an unreadable root folder and continues", async () => {
  const { files, snapshotter, discovery } = stage();
  files.set(SOCKET, "", "socket");
  snapshotter.list("d1", SOCKET, { "7": "h.io/a:1" });
  await discovery.discover();
  snapshotter.answer = { kind: "broken", detail: "the answer is not JSON" };
  files.refuseReading("/data/socket");
  const { daemons, problems } = await discovery.discover();
  equal(daemons.length, 1);
  deepEqual(problems.map(({ source }) => source), ["system-api", "root"]);
});

Deno.test("Discovery: never assigns the mount of another instance", async () => {
  const { files, snapshotter, nydusd, discovery } = stage();
  files.set(SOCKET, "", "socket");
  snapshotter.list("d1", SOCKET, { "7": "h.io/a:1" });
  nydusd.mounts = ["/9"];
  deepEqual(snapshots((await discovery.discover()).daemons[0]), [["7", undefined, "h.io/a:1"]]);
  nydusd.mounts = ["/", "/9"];
  deepEqual(snapshots((await discovery.discover()).daemons[0]), [["7", undefined, "h.io/a:1"]]);
});

for (
  const [word, state] of [
    ["INIT", "starting"],
    ["READY", "starting"],
    ["DIE", "terminating"],
    ["DYING", "terminating"],
    ["DESTROYED", "terminating"],
    ["STOPPED", "stopped"],
    ["running", "running"],
    ["", "broken"],
  ] as const
) {
  Deno.test(`Discovery: maps the nydusd state "${word}" to ${state}`, async () => {
    const { files, snapshotter, nydusd, discovery } = stage();
    files.set(SOCKET, "", "socket");
    snapshotter.list("d1", SOCKET, { "7": "h.io/a:1" });
    nydusd.state = word;
    equal((await discovery.discover()).daemons[0]?.state, state);
  });
}

Deno.test("Discovery: rejects with the reason of the signal", async () => {
  const { discovery } = stage();
  const stop = AbortSignal.abort(new Error("stop"));
  const error = await discovery.discover({ signal: stop }).catch((reason) => reason);
  equal(error.message, "stop");
});
