import { deepEqual, equal, ok, rejects } from "node:assert/strict";
import { join } from "node:path";
import {
  type SimBackend,
  type SimDaemon,
  SimNode,
  type SimNodeOptions,
  SimRegistry,
} from "../../../lib/simulator/mod.ts";
import { fetchUnix } from "../../fakes/unix_fetch.ts";

const MAIN = new URL("../../../lib/simulator/daemon_process.ts", import.meta.url).pathname;
const SELF = [Deno.execPath(), "run", "-A", "--quiet", MAIN];
/** Longer than any test, so that new values are never applied by polling. */
const NEVER_MS = 3_600_000;

function start(options: Partial<SimNodeOptions> = {}): SimNode {
  return SimNode.start({ selfCommand: SELF, pollMs: NEVER_MS, ...options });
}

function base(node: SimNode): string {
  return `${node.passwordRegistry.host}/base/os:12`;
}

const get = fetchUnix;

async function put(daemon: SimDaemon, mountId: string, pair: string): Promise<number> {
  const path = `/api/v1/config?id=${encodeURIComponent(mountId)}`;
  const body = JSON.stringify({ registry_auth: btoa(pair) });
  return (await fetchUnix(daemon.apiSocket, path, { method: "PUT", body })).status;
}

/** Returns whether a promise is still pending after a short time. */
async function isBlocked(work: Promise<unknown>): Promise<boolean> {
  const later = Promise.withResolvers<boolean>();
  const timer = setTimeout(() => later.resolve(true), 200);
  const blocked = await Promise.race([work.then(() => false), later.promise]);
  clearTimeout(timer);
  return blocked;
}

async function statuses(node: SimNode): Promise<number[]> {
  return (await node.readAll()).map(({ status }) => status);
}

async function mode(path: string): Promise<number> {
  return ((await Deno.stat(path)).mode ?? 0) & 0o777;
}

Deno.test("SimNode: creates the root folder like the snapshotter", async () => {
  await using node = start();
  const dedicated = await node.addDaemon({ id: "d1", mode: "dedicated", images: [base(node)] });
  const shared = await node.addDaemon({ id: "d2", mode: "shared", images: [base(node)] });
  equal(dedicated.apiSocket, join(node.root, "socket/d1/api.sock"));
  deepEqual(dedicated.instances.map(({ mountId, configPath }) => [mountId, configPath]), [
    ["/", join(node.root, "config/d1/config.json")],
  ]);
  const [instance] = shared.instances;
  ok(instance);
  equal(instance.mountId, `/${instance.snapshotId}`);
  equal(instance.configPath, join(node.root, `config/d2/${instance.snapshotId}/config.json`));
  equal(await mode(instance.configPath), 0o600);
  const template = await Deno.readTextFile(join(node.root, "config/d2/config.json"));
  equal("auth" in JSON.parse(template).device.backend.config, false);
  const { auth } = JSON.parse(await Deno.readTextFile(instance.configPath)).device.backend.config;
  equal(auth, btoa("robot:first"));
  deepEqual(await statuses(node), [200, 200]);
});

Deno.test("SimNode: the system API lists daemons as text/plain", async () => {
  await using node = start();
  const daemon = await node.addDaemon({ id: "d1", mode: "shared", images: [base(node)] });
  const answer = await get(node.systemSocket, "/api/v1/daemons");
  equal(answer.headers.get("content-type"), "text/plain; charset=utf-8");
  const [listed] = await answer.json();
  deepEqual([listed.id, listed.pid, listed.api_socket], ["d1", daemon.pid, daemon.apiSocket]);
  const [instance] = daemon.instances;
  ok(instance);
  deepEqual(listed.instances, {
    [instance.snapshotId]: {
      snapshot_id: instance.snapshotId,
      snapshot_dir: join(node.root, "snapshots", instance.snapshotId),
      mountpoint: join(node.root, "mnt", instance.snapshotId),
      image_id: base(node),
    },
  });
  equal(node.snapshotter?.backendCalls, 0);
});

Deno.test("SimNode: counts backend calls, which return the credential", async () => {
  await using node = start();
  await node.addDaemon({ id: "d1", mode: "dedicated", images: [base(node)] });
  const answer = await get(node.systemSocket, "/api/v1/daemons/d1/backend");
  equal((await answer.json()).config.auth, btoa("robot:first"));
  equal(node.snapshotter?.backendCalls, 1);
});

Deno.test("SimNode: a paused nydusd blocks the list until it is resumed", async () => {
  await using node = start();
  const daemon = await node.addDaemon({ id: "d1", mode: "dedicated", images: [base(node)] });
  await node.addDaemon({ id: "d2", mode: "dedicated", images: [base(node)] });
  daemon.pause();
  const list = get(node.systemSocket, "/api/v1/daemons");
  equal(await isBlocked(list), true);
  daemon.resume();
  equal((await (await list).json()).length, 2);
});

Deno.test("SimNode: the system API returns garbage on request, and can be stopped", async () => {
  await using node = start();
  ok(node.snapshotter);
  node.snapshotter.fault = "garbage";
  await rejects((await get(node.systemSocket, "/api/v1/daemons")).json(), SyntaxError);
  await node.stopSnapshotter();
  await rejects(get(node.systemSocket, "/api/v1/daemons"));
  node.startSnapshotter();
  deepEqual(await (await get(node.systemSocket, "/api/v1/daemons")).json(), []);
});

Deno.test("SimNode: stopping the snapshotter does not wait for responses", async () => {
  await using node = start();
  ok(node.snapshotter);
  node.snapshotter.fault = "unresponsive";
  const response = get(node.systemSocket, "/api/v1/daemons").then(
    () => "answered",
    () => "cut off",
  );
  await node.stopSnapshotter();
  equal(await response, "cut off");
});

Deno.test("SimNode: counts reads that fail with a revoked password", async () => {
  await using node = start();
  const daemon = await node.addDaemon({ id: "d1", mode: "dedicated", images: [base(node)] });
  deepEqual(await statuses(node), [200]);
  node.passwordRegistry.revoke("robot", "first");
  deepEqual(await statuses(node), [401]);
  const { read_count, read_errors } = await (await get(daemon.apiSocket, "/api/v1/metrics/backend"))
    .json();
  deepEqual([read_count, read_errors], [2, 1]);
});

Deno.test("SimNode: only the new password is the newest after a rotation", async () => {
  await using node = start();
  const daemon = await node.addDaemon({ id: "d1", mode: "dedicated", images: [base(node)] });
  equal(await node.allNewest(), true);
  node.rotatePassword("second", 0);
  equal(node.newestPair(base(node)), "robot:second");
  equal(await node.allNewest(), false);
  deepEqual(await statuses(node), [401]);
  const { auths } = JSON.parse(await Deno.readTextFile(node.dockerConfigPath));
  equal(auths[node.passwordRegistry.host].auth, btoa("robot:second"));
  equal(await put(daemon, "/", "robot:second"), 204);
  equal(await node.allNewest(), true);
});

Deno.test("SimNode: responds with 204 to an unknown id and does not change the mount", async () => {
  await using node = start({ pollMs: 10 });
  const daemon = await node.addDaemon({ id: "d1", mode: "dedicated", images: [base(node)] });
  node.rotatePassword("second", 0);
  const snapshotId = daemon.instances[0]?.snapshotId ?? "";
  equal(await put(daemon, `/${snapshotId}`, "robot:second"), 204);
  equal(await daemon.currentAuth("/"), "robot:first");
  deepEqual(await statuses(node), [401]);
});

for (
  const [version, stored, read] of [
    ["2.4.0", 404, 401],
    ["2.4.1", 204, 200],
    ["2.4.4", 204, 401], // stored, and not used before the next poll
  ] as const
) {
  Deno.test(`SimNode: ${version} responds with ${stored}, and its next read gets ${read}`, async () => {
    await using node = start();
    const images = [base(node)];
    const daemon = await node.addDaemon({ id: "d1", mode: "dedicated", images, version });
    node.rotatePassword("second", 0);
    equal(await put(daemon, "/", "robot:second"), stored);
    deepEqual(await statuses(node), [read]);
  });
}

Deno.test("SimNode: 2.4.4 applies a stored value when it polls", async () => {
  await using node = start({ pollMs: 10 });
  const daemon = await node.addDaemon({ id: "d1", mode: "dedicated", images: [base(node)] });
  node.rotatePassword("second", 0);
  await put(daemon, "/", "robot:second");
  let last = await statuses(node);
  for (let tries = 0; last[0] !== 200 && tries < 1_000; tries++) last = await statuses(node);
  deepEqual(last, [200]);
});

Deno.test("SimDaemon: leaves its socket file when killed, and reads its files when restarted", async () => {
  await using node = start();
  const daemon = await node.addDaemon({ id: "d1", mode: "dedicated", images: [base(node)] });
  await put(daemon, "/", "robot:only-in-memory");
  const pid = daemon.pid;
  await daemon.kill();
  equal((await Deno.lstat(daemon.apiSocket)).isSocket, true);
  await rejects(Deno.connect({ transport: "unix", path: daemon.apiSocket }));
  equal(await daemon.currentAuth("/"), undefined);
  deepEqual(await node.readAll(), []);
  await daemon.restart();
  equal(await daemon.currentAuth("/"), "robot:first");
  ok(daemon.pid !== pid);
});

Deno.test("SimDaemon: a running shared daemon mounts and unmounts images", async () => {
  await using node = start();
  const daemon = await node.addDaemon({ id: "d1", mode: "shared", images: [base(node)] });
  const added = await node.addInstance(daemon, base(node));
  equal(await daemon.currentAuth(added.mountId), "robot:first");
  deepEqual(await statuses(node), [200, 200]);
  await daemon.unmount(added.snapshotId);
  deepEqual(await statuses(node), [200]);
  await rejects(Deno.stat(added.configPath), Deno.errors.NotFound);
  await rejects(daemon.unmount("no-such"), /no-such/);
  equal(daemon.instances.length, 1);
});

Deno.test("SimDaemon: removing a daemon removes its files", async () => {
  await using node = start();
  const daemon = await node.addDaemon({ id: "d1", mode: "dedicated", images: [base(node)] });
  await node.removeDaemon(daemon);
  deepEqual(await (await get(node.systemSocket, "/api/v1/daemons")).json(), []);
  deepEqual(await Array.fromAsync(Deno.readDir(join(node.root, "socket"))), []);
  deepEqual(await Array.fromAsync(Deno.readDir(join(node.root, "config"))), []);
});

Deno.test("SimDaemon: faults can be set and removed", async () => {
  await using node = start();
  const daemon = await node.addDaemon({ id: "d1", mode: "dedicated", images: [base(node)] });
  const path = "/api/v1/config";
  await daemon.setFault("error-500");
  equal((await get(daemon.apiSocket, path)).status, 500);
  await daemon.setFault("truncated");
  await rejects(get(daemon.apiSocket, path));
  await daemon.setFault("unresponsive");
  const currentAuth = get(daemon.apiSocket, path);
  equal(await isBlocked(currentAuth), true);
  await daemon.setFault("none");
  equal((await currentAuth).status, 200);
});

Deno.test("SimDaemon: responds without a reason phrase and ignores Connection: close", async () => {
  await using node = start();
  const daemon = await node.addDaemon({ id: "d1", mode: "dedicated", images: [base(node)] });
  using connection = await Deno.connect({ transport: "unix", path: daemon.apiSocket });
  const body = "{}";
  const close = "Host: x\r\nConnection: close\r\n";
  const put = `PUT /api/v1/config?id=/ HTTP/1.1\r\n${close}Content-Length: 2\r\n\r\n${body}`;
  const get = `GET /nope HTTP/1.1\r\n${close}\r\n`;
  await connection.write(new TextEncoder().encode(put + get + get));
  let text = "";
  const bytes = new Uint8Array(4_096);
  while ((text.match(/NoRoute/g) ?? []).length < 2) {
    const read = await connection.read(bytes);
    if (read === null) break;
    text += new TextDecoder().decode(bytes.subarray(0, read));
  }
  const same = "\r\nServer: Nydus API\r\nConnection: keep-alive\r\n";
  const wrong = '{"code":"UNDEFINED","message":"NoRoute"}';
  const about = `Content-Type: application/json\r\nContent-Length: ${wrong.length}\r\n\r\n`;
  const notFound = `HTTP/1.1 404 ${same}${about}${wrong}`;
  equal(text, `HTTP/1.1 204 ${same}\r\n${notFound}${notFound}`);
});

Deno.test("SimNode: mounts start with a token of the plugin, and expired tokens are refused", async () => {
  await using node = start();
  const app = `${node.tokenRegistry.host}/shop/app:v1`;
  await node.addDaemon({ id: "d1", mode: "dedicated", images: [app] });
  equal(node.pluginExecutions(), 1);
  deepEqual(node.pluginImages(), ["-"]);
  deepEqual(await statuses(node), [200]);
  equal(await node.allNewest(), true);
  node.setPlugin({ lifetimeMs: 0 });
  await node.addDaemon({ id: "d2", mode: "dedicated", images: [app] });
  equal(node.pluginExecutions(), 2);
  equal((await node.readAll()).find(({ daemonId }) => daemonId === "d2")?.status, 401);
  equal(await node.allNewest(), false);
});

Deno.test("SimNode: disposing kills paused processes and removes the folder", async () => {
  const node = start();
  const daemon = await node.addDaemon({ id: "d1", mode: "dedicated", images: [base(node)] });
  const { pid } = daemon;
  daemon.pause();
  await node[Symbol.asyncDispose]();
  await rejects(Deno.stat(node.dir), Deno.errors.NotFound);
  let gone = false;
  try {
    Deno.kill(pid, "SIGCONT");
  } catch {
    gone = true;
  }
  equal(gone, true);
});

Deno.test("SimNode: a mount reads from its configured backend with its current credential", async () => {
  await using mirror = new SimRegistry();
  await using proxy = new SimRegistry();
  mirror.accept("u", "p");
  proxy.accept("u", "p");
  const hosts = { "index.docker.io": mirror.host };
  await using node = start({ hosts });
  const image = "docker.io/library/nginx:1";
  const add = (id: string, backend: SimBackend) =>
    node.addDaemon({ id, mode: "dedicated", images: [image], pair: "u:p", backend });
  await add("hub", { host: "index.docker.io" });
  await add("cache", { host: mirror.host, repo: "hub/library/nginx" });
  await add("old", { host: "unreachable.invalid", mirrors: [`http://${mirror.host}`] });
  await add("proxied", { host: "unreachable.invalid", proxyUrl: `http://${proxy.host}` });
  equal((await node.readAll()).every(({ ok }) => ok), true);
  deepEqual(mirror.seen.map(({ repository }) => repository).sort(), [
    "hub/library/nginx",
    "library/nginx",
    "library/nginx",
  ]);
  equal(proxy.seen.length, 1);
});
