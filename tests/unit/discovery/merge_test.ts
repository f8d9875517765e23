import { deepEqual, equal } from "node:assert/strict";
import { Discovery, type DiscoveryOptions } from "../../../lib/discovery/mod.ts";
import type { Daemon } from "../../../lib/model/mod.ts";
import { FakeFiles } from "../../fakes/files.ts";
import { FakeNydusdApi } from "../../fakes/nydusd_api.ts";
import { FakeSnapshotterApi } from "../../fakes/snapshotter_api.ts";

const SOCKET = "/data/socket/d1/api.sock";

function stage(change: Partial<DiscoveryOptions["config"]> = {}, maxParallel?: number) {
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
    files,
    snapshotterApi: snapshotter,
    nydusdApi: nydusd,
    ...(maxParallel !== undefined && { maxParallel }),
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
  Deno.test(`look does not take a dedicated mount twice, its file's id being ${id}`, async () => {
    const { files, snapshotter, discovery } = stage();
    files.set(SOCKET, "", "socket");
    files.set("/data/config/d1/config.json", config(id));
    snapshotter.list("d1", SOCKET, { "7": "h.io/a:1" });
    await discovery.look();
    snapshotter.answer = { kind: "timed-out" };
    const { daemons } = await discovery.look();
    deepEqual(snapshots(daemons[0]), [["7", "/", "h.io/a:1"]]);
  });
}

Deno.test("look takes in a shared daemon's mounts that only the root folder knows", async () => {
  const { files, snapshotter, nydusd, discovery } = stage();
  nydusd.mounts = ["/7", "/8"];
  files.set(SOCKET, "", "socket");
  files.set("/data/config/d1/7/config.json", config("/7"));
  snapshotter.list("d1", SOCKET, { "7": "h.io/a:1" });
  await discovery.look();
  files.set("/data/config/d1/8/config.json", config("/8", "b"));
  snapshotter.answer = { kind: "no-listener" };
  const { daemons, problems } = await discovery.look();
  deepEqual(snapshots(daemons[0]), [["7", "/7", "h.io/a:1"], ["8", "/8", "h.io/b"]]);
  deepEqual(problems.map(({ source, subject }) => [source, subject]), [
    ["system-api", "/run/system.sock"],
  ]);
});

Deno.test("Discovery: finds the newest socket that answers, by the root folder alone", async () => {
  const { files, snapshotter, nydusd, discovery } = stage();
  const socket = (name: string) => `/data/socket/d1/${name}.sock`;
  const found = async () => {
    const { daemons } = await discovery.look();
    equal(daemons.length, 1);
    return [daemons[0]?.apiSocket, daemons[0]?.state, daemons[0]?.instances.length];
  };
  const isExpired = new Set<string>();
  nydusd.fault = (_call, path) => isExpired.has(path) ? { kind: "no-listener" } : undefined;
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
  deepEqual(await found(), [socket("api2"), "running", 1], "the upgrade is under way");
  for (const name of ["api", "api1", "api2"]) isExpired.add(socket(name));
  deepEqual(await found(), [socket("api10"), "starting", 1]);
  isExpired.clear();
  isExpired.add(socket("api10"));
  deepEqual(await found(), [socket("api2"), "running", 1]);
  for (const name of ["api", "api1", "api2"]) isExpired.add(socket(name));
  deepEqual(await found(), [socket("api10"), "no-listener", 1]);
});

Deno.test("Discovery: follows an upgrade while the system API does not answer", async () => {
  const { files, snapshotter, discovery } = stage();
  files.set(SOCKET, "", "socket");
  snapshotter.list("d1", SOCKET, { "7": "h.io/a:1" });
  await discovery.look();
  snapshotter.answer = { kind: "timed-out" };
  files.set("/data/socket/d1/api1.sock", "", "socket");
  const { daemons } = await discovery.look();
  deepEqual(daemons.map(({ id, apiSocket }) => [id, apiSocket]), [
    ["d1", "/data/socket/d1/api1.sock"],
  ]);
  deepEqual(snapshots(daemons[0]), [["7", "/", "h.io/a:1"]]);
});

Deno.test("look lets a daemon go that the answering system API no longer lists", async () => {
  const { files, snapshotter, discovery } = stage();
  files.set(SOCKET, "", "socket");
  snapshotter.list("d1", SOCKET, { "7": "h.io/a:1" });
  equal((await discovery.look()).daemons.length, 1);
  snapshotter.answer = { kind: "ok", value: [] };
  equal((await discovery.look()).daemons.length, 0);
});

Deno.test("look merges one socket that is named twice, the system API's word first", async () => {
  const { files, snapshotter, discovery } = stage({
    daemons: [{ id: "by-hand", socket: SOCKET, ref: "h.io/other:1" }],
  });
  files.set(SOCKET, "", "socket");
  snapshotter.list("d1", SOCKET, { "7": "h.io/a:1" });
  const { daemons } = await discovery.look();
  deepEqual(daemons.map(({ id, source }) => [id, source]), [["d1", "system-api"]]);
  deepEqual(snapshots(daemons[0]), [["7", "/", "h.io/a:1"]]);
});

Deno.test("look tells of a root folder that cannot be read, and goes on", async () => {
  const { files, snapshotter, discovery } = stage();
  files.set(SOCKET, "", "socket");
  snapshotter.list("d1", SOCKET, { "7": "h.io/a:1" });
  await discovery.look();
  snapshotter.answer = { kind: "broken", detail: "the response is not JSON" };
  files.refuseReading("/data/socket");
  const { daemons, problems } = await discovery.look();
  equal(daemons.length, 1);
  deepEqual(problems.map(({ source }) => source), ["system-api", "root"]);
});

Deno.test("look never takes an instance for the mount of another", async () => {
  const { files, snapshotter, nydusd, discovery } = stage();
  files.set(SOCKET, "", "socket");
  snapshotter.list("d1", SOCKET, { "7": "h.io/a:1" });
  nydusd.mounts = ["/9"];
  deepEqual(snapshots((await discovery.look()).daemons[0]), [["7", undefined, "h.io/a:1"]]);
  nydusd.mounts = ["/", "/9"];
  deepEqual(snapshots((await discovery.look()).daemons[0]), [["7", undefined, "h.io/a:1"]]);
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
  Deno.test(`look calls a nydusd that says "${word}" ${state}`, async () => {
    const { files, snapshotter, nydusd, discovery } = stage();
    files.set(SOCKET, "", "socket");
    snapshotter.list("d1", SOCKET, { "7": "h.io/a:1" });
    nydusd.state = word;
    equal((await discovery.look()).daemons[0]?.state, state);
  });
}

Deno.test("look rejects with the reason of its signal", async () => {
  const { discovery } = stage();
  const stop = AbortSignal.abort(new Error("stop"));
  const error = await discovery.look({ signal: stop }).catch((reason) => reason);
  equal(error.message, "stop");
});

Deno.test("look tells a socket that it may not look at from one that is not there", async () => {
  const { files, snapshotter, nydusd, discovery } = stage();
  files.set(SOCKET, "", "socket");
  files.refuseReading(SOCKET);
  snapshotter.list("d1", SOCKET, { "7": "h.io/a:1" });
  const [daemon] = (await discovery.look()).daemons;
  deepEqual([daemon?.state, daemon?.stateDetail], ["broken", `look at ${SOCKET}: EACCES`]);
  deepEqual(nydusd.calls, []);
});

Deno.test("watchPaths names no wildcard, which is no path", () => {
  const { discovery } = stage({
    daemons: [
      { id: "a", socket: "/run/nydus/*/api.sock", ref: "h.io/a:1" },
      { id: "b", socket: "/run/n*/api.sock", ref: "h.io/a:1" },
    ],
  });
  deepEqual(discovery.watchPaths(), [
    "/data/socket",
    "/data/config",
    "/run/system.sock",
    "/run/nydus",
  ]);
});
