/** Reads that the registry refuses cause a renewal, and a bounded number of them. */
import { ok, strictEqual } from "node:assert/strict";
import { AgentProcess, keepReading, pause, simNode } from "./stage.ts";

const LONG = 'check_interval = "1h"\nrefresh_interval = "1h"';

Deno.test("reads: a revoked credential is renewed because its reads fail", async () => {
  await using node = simNode({ plugin: { cacheDuration: "1h", lifetimeMs: 3_600_000 } });
  const image = `${node.tokenRegistry.host}/shop/app:1`;
  await node.addDaemon({ id: "d1", mode: "dedicated", images: [image], version: "2.4.1" });
  await node.addDaemon({ id: "s1", mode: "shared", images: [image, image], version: "2.4.1" });
  await using agent = await AgentProcess.start(node, { renewal: LONG });
  await using reading = keepReading(node);
  const proven = async () =>
    (await agent.status()).daemons.every(({ instances }) =>
      instances.every(({ delivery }) => delivery === "proven")
    );
  await agent.until("every mount proven by its reads", proven);
  const before = node.pluginExecutions();
  const [user = "", token = ""] = node.newestPair(image).split(":");
  node.tokenRegistry.revoke(user, token);
  await agent.until("reads to fail", () => !reading.lastOk());
  await agent.until("reads to recover", () => reading.lastOk());
  await agent.until("every mount proven again", proven);
  strictEqual(node.pluginExecutions() - before, 1, "one execution serves all mounts");
  ok(agent.log.includes("reads-failing"), agent.log);
});

Deno.test("reads: a registry that rejects everything does not cause endless executions", async () => {
  await using node = simNode({ plugin: { cacheDuration: "1h", lifetimeMs: 1 } });
  const image = `${node.tokenRegistry.host}/shop/app:1`;
  await node.addDaemon({ id: "d1", mode: "dedicated", images: [image], version: "2.4.1" });
  await using agent = await AgentProcess.start(node, { renewal: LONG });
  await using _reading = keepReading(node);
  await agent.until("the first forced execution", () => agent.log.includes("reads-failing"));
  const before = node.pluginExecutions();
  const startedMs = performance.now();
  await pause(9_000);
  const more = node.pluginExecutions() - before;
  // A busy machine makes the pause longer, and with it what the backoff allows.
  const seconds = (performance.now() - startedMs) / 1_000;
  ok(more <= seconds / 3, `${more} executions in ${seconds} seconds of refusals`);
});
