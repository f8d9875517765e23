/**
 * An agent that is killed at random during an outage of its provider never delivers an older credential
 * to a mount.
 */
import { deepStrictEqual, ok, strictEqual } from "node:assert/strict";
import type { SimNode } from "../../lib/simulator/mod.ts";
import { AgentProcess, pause, simNode } from "./stage.ts";

/** Number of kills. */
const KILLS = Number(Deno.env.get("NYDUS_AUTH_AGENT_KILLS") ?? "8");

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
