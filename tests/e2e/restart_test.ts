/** Restarts, upgrades and stops of the agent and of nydusd. */
import { deepStrictEqual, doesNotMatch, match, ok, strictEqual } from "node:assert/strict";
import { join } from "@std/path";
import { type SimDaemon, type SimNode, SimRegistry } from "../../lib/simulator/mod.ts";
import { criProxyStage, memoryFolder, pullThrough } from "./cri_proxy_stage.ts";
import { AgentProcess, pause, simNode } from "./stage.ts";

/** Number of kills. */
const KILLS = Number(Deno.env.get("NYDUS_AUTH_AGENT_KILLS") ?? "6");

async function threeDaemons(node: SimNode): Promise<void> {
  const host = node.tokenRegistry.host;
  await node.addDaemon({ id: "d1", mode: "dedicated", images: [`${host}/shop/app:1`] });
  await node.addDaemon({ id: "s1", mode: "shared", images: [`${host}/a:1`, `${host}/b:1`] });
  await node.addDaemon({
    id: "old",
    mode: "dedicated",
    version: "2.4.1",
    images: [`${host}/shop/app:1`],
  });
}

/** Returns the credential in every configuration file. */
function filesOf(node: SimNode): string[] {
  return [...node.daemons.values()].flatMap((daemon) =>
    daemon.instances.map(({ configPath }) => {
      const { auth } = JSON.parse(Deno.readTextFileSync(configPath)).device.backend.config;
      return atob(auth);
    })
  );
}

for (const known of [true, false]) {
  const what = known ? "with known credentials" : "with adopted credentials";
  Deno.test(`outage: an agent ${what} is killed ${KILLS} times without effect on the mounts`, async () => {
    await using node = simNode({ plugin: { lifetimeMs: 3_600_000, shape: "ecr" } });
    await threeDaemons(node);
    if (known) {
      await using agent = await AgentProcess.start(node);
      await agent.until("the newest credential in every mount", () => node.allNewest());
    }
    const currentAuth = new Map<string, string | undefined>();
    for (const daemon of node.daemons.values()) {
      for (const { mountId } of daemon.instances) {
        currentAuth.set(daemon.id + mountId, await daemon.currentAuth(mountId));
      }
    }
    strictEqual([...currentAuth.values()].filter((pair) => (pair ?? "") !== "").length, 4);
    const files = filesOf(node);
    const putsBefore = new Map(
      [...node.daemons.values()].map((one) => [one.id, one.puts().length]),
    );
    let readsDone = 0;
    for (let i = 0; i < KILLS; i++) {
      // Alternates between kinds of failure.
      node.setPlugin({ mode: i % 4 < 2 ? "fail" : "garbage" });
      await using agent = await AgentProcess.start(node, {}, { waitReady: i % 2 === 0 });
      const restarted = i % 3 === 1 ? node.daemons.get("d1") : undefined;
      await Promise.all([restarted?.restart(), pause(Math.random() * 700)]);
      agent.signal("SIGKILL");
      const reads = await node.readAll();
      readsDone += reads.length;
      deepStrictEqual(reads.filter((read) => !read.ok), [], agent.log);
      // No daemon received an empty or another credential.
      for (const daemon of node.daemons.values()) {
        for (const { mountId, value } of daemon.puts().slice(putsBefore.get(daemon.id))) {
          strictEqual(atob(value), currentAuth.get(daemon.id + mountId), `kill ${i + 1}`);
        }
      }
    }
    strictEqual(readsDone, 4 * KILLS);
    deepStrictEqual(filesOf(node), files);
    node.setPlugin({ mode: "issue" });
    await using agent = await AgentProcess.start(node);
    await agent.until("the newest credential in every mount", () => node.allNewest());
    ok(node.pluginExecutions() > 0);
  });
}

const PAIR = "robot:pulled-once";

/** Only a tmpfs keeps remembered pulls across restarts of the agent. */
const HAS_TMPFS = await (async () => {
  await using folder = await memoryFolder();
  return folder.inMemory;
})();

async function readsSucceed(daemon: SimDaemon): Promise<boolean> {
  return (await daemon.readAll()).every(({ ok }) => ok);
}

for (const source of ["provider", "nydusd"] as const) {
  Deno.test(`restart: a nydusd that starts without a credential gets the one from the ${source}`, async () => {
    await using node = simNode();
    const image = `${node.tokenRegistry.host}/shop/app:1`;
    const daemons = await Promise.all([
      node.addDaemon({ id: "d1", mode: "dedicated", images: [image] }),
      node.addDaemon({ id: "s1", mode: "shared", images: [image, image] }),
    ]);
    if (source === "nydusd") node.setPlugin({ mode: "none" });
    await using agent = await AgentProcess.start(node);
    for (let i = 0; i < 2; i++) {
      node.setPlugin({ mode: source === "nydusd" ? "none" : "fail" });
      for (const daemon of daemons) {
        await daemon.restart({ isEmpty: true });
        await agent.until("reads that succeed", () => readsSucceed(daemon));
        for (const { mountId } of daemon.instances) {
          ok((await daemon.currentAuth(mountId) ?? "").startsWith("token:"));
        }
      }
    }
  });
}

Deno.test({
  name: "restart: a nydusd that started without an agent gets the remembered pull credential",
  ignore: !HAS_TMPFS, // pulls are remembered on a tmpfs only
  fn: async () => {
    await using registry = new SimRegistry();
    registry.accept("robot", "pulled-once");
    await criProxyStage(async ({ node, link, upstream, state, start, kill }) => {
      using listener = Deno.listen({ transport: "unix", path: upstream });
      const image = `${registry.host}/team/app:v1`;
      const images = [image];
      const daemon = await node.addDaemon({ id: "d1", mode: "dedicated", images, pair: "" });
      const first = await start();
      const auth = { username: "robot", password: "pulled-once" };
      await pullThrough(link, listener, { image, auth });
      await first.until("reads that succeed", () => readsSucceed(daemon));
      await first.until("the remembered pull", async () => {
        return (await Deno.readTextFile(state).catch(() => "")).includes(image);
      });
      await kill(first);
      await daemon.restart();
      strictEqual(await daemon.currentAuth("/"), "");
      const second = await start();
      await second.until("reads that succeed", () => readsSucceed(daemon));
      strictEqual(await daemon.currentAuth("/"), PAIR);
      await second[Symbol.asyncDispose]();
    });
  },
});

Deno.test("upgrade: the agent follows a nydusd to its next socket, with and without the snapshotter", async () => {
  await using node = simNode();
  const password = node.passwordRegistry.host;
  const daemon = await node.addDaemon({
    id: "d1",
    mode: "dedicated",
    images: [`${password}/app:1`],
  });
  await using agent = await AgentProcess.start(node);
  await daemon.upgrade();
  node.rotatePassword("second");
  await agent.until("the second password", () => node.allNewest());
  await node.stopSnapshotter();
  for (const next of ["third", "fourth"]) {
    await daemon.upgrade();
    node.rotatePassword(next);
    await agent.until(`the ${next} password`, () => node.allNewest());
  }
  match((await agent.status()).daemons[0]?.apiSocket ?? "", /\/api3\.sock$/);
  ok((await node.readAll()).length === 1);
});

const LONG = 'check_interval = "1h"\nrefresh_interval = "1h"';

Deno.test("stop: the agent exits although a helper and an API client still wait", async () => {
  await using node = simNode();
  const started = join(node.dir, "started");
  const bin = join(node.dir, "helpers");
  await Deno.mkdir(bin);
  const helper = `#!/bin/sh\necho $$ > ${started}\nexec /bin/sleep 3600\n`;
  await Deno.writeTextFile(join(bin, "docker-credential-slow"), helper, { mode: 0o755 });
  const docker = JSON.stringify({ credHelpers: { "slow.example.com": "slow" } });
  await Deno.writeTextFile(node.dockerConfigPath, docker, { mode: 0o600 });
  await using agent = await AgentProcess.start(node, { renewal: LONG, env: { PATH: bin } });
  const socket = await Deno.connect({ transport: "unix", path: join(node.dir, "api.sock") });
  const body = JSON.stringify({ ref: "slow.example.com/app:1" });
  const request = "POST /v1/credentials/get HTTP/1.1\r\nHost: localhost\r\n" +
    `Content-Type: application/json\r\nContent-Length: ${body.length}\r\n\r\n${body}`;
  await socket.write(new TextEncoder().encode(request));
  await agent.until(
    "the helper",
    () => Deno.stat(started).then(({ size }) => size > 0, () => false),
  );
  agent.signal("SIGTERM");
  strictEqual(await agent.ended(), 0, agent.log);
  // The agent did not wait for the deadline of the request, which would end in a 504.
  const bytes = new Uint8Array(10_000);
  const size = await socket.read(bytes).catch(() => null) ?? 0;
  doesNotMatch(new TextDecoder().decode(bytes.subarray(0, size)), / 504 /);
  socket.close();
  const pid = (await Deno.readTextFile(started)).trim();
  await agent.until("the helper to exit", async () => {
    const status = await Deno.readTextFile(`/proc/${pid}/stat`).catch(() => "");
    return status === "" || / Z /.test(status);
  });
});
