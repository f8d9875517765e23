import { deepEqual, equal, match, ok } from "node:assert/strict";
import { join } from "node:path";
import { attack, holdCriClients, LIMITED } from "./attacks.ts";
import { freePort } from "../../lib/simulator/mod.ts";
import { AgentProcess, pause, simNode } from "./stage.ts";
import { callOnce, criProxyStage, echoOn } from "./cri_proxy_stage.ts";

Deno.test(
  "listeners: 1,100 idle TCP connections and slow readers do not affect the agent and CRI clients",
  () =>
    criProxyStage(async ({ node, link, upstream, criProxy }) => {
      await node.addDaemon({
        id: "d1",
        mode: "dedicated",
        images: [`${node.tokenRegistry.host}/app:1`],
      });
      node.setPlugin({
        mode: "issue",
        lifetimeMs: 8_000,
        reportedLifetimeMs: 8_000,
        cacheDuration: "2s",
      });
      using _runtime = echoOn(upstream);
      await using agent = await AgentProcess.start(node, { more: criProxy, by: LIMITED });
      await agent.until("the proxy", async () => (await Deno.readLink(link)) !== upstream);
      match(agent.log, /the limit of open files is 1024, so the CRI proxy accepts 192 connections/);
      for (const kind of ["idle", "slow-header", "slow-reader"] as const) {
        using _attack = await attack(new URL(agent.base), kind, 1_100);
        for (let i = 0; i < 10; i++) {
          await agent.until("/livez", async () => (await agent.get("/livez")).status === 200);
          await callOnce(link);
          await pause(50);
        }
        const before = node.tokenRegistry.newestToken();
        await agent.until(
          `a renewal during ${kind}`,
          async () => node.tokenRegistry.newestToken() !== before && await node.allNewest(),
        );
      }
      ok(
        (await agent.get("/metrics")).body.includes("nydus_auth_agent"),
        "metrics are served again",
      );
    }),
);

Deno.test("listeners: 1,100 CRI clients do not affect the agent, which serves again afterwards", () =>
  criProxyStage(async ({ node, link, upstream, criProxy }) => {
    using _runtime = echoOn(upstream);
    await using agent = await AgentProcess.start(node, { more: criProxy, by: LIMITED });
    await agent.until("the proxy", async () => (await Deno.readLink(link)) !== upstream);
    {
      using clients = await holdCriClients(link, 1_100);
      equal((await agent.get("/livez")).status, 200);
      await agent.until(
        "a count",
        async () => (await agent.status()).criProxy?.openConnections === 192,
      );
      ok(clients.served() >= 190, `${clients.served()} are served`);
    }
    await agent.until(
      "free connections",
      async () => (await agent.status()).criProxy?.openConnections === 0,
    );
    await callOnce(link);
  }));

Deno.test("listeners: SIGTERM right after startup stops the agent and restores the CRI link", () =>
  criProxyStage(async ({ node, link, upstream, criProxy }) => {
    using _runtime = echoOn(upstream);
    await Deno.symlink(upstream, link); // as the tmpfiles line does at boot
    await using agent = await AgentProcess.start(node, { more: criProxy }, { waitReady: false });
    await agent.until("an answer", async () => (await agent.get("/livez")).status === 200);
    agent.signal("SIGTERM");
    equal(await agent.ended(), 0);
    equal(await Deno.readLink(link), upstream);
  }));

Deno.test("listeners: the agent exits although a client does not read its response", async () => {
  await using node = simNode();
  await using agent = await AgentProcess.start(node);
  using _attack = await attack(new URL(agent.base), "slow-reader", 20);
  agent.signal("SIGTERM");
  equal(await agent.ended(), 0);
});

Deno.test("listeners: the metrics address serves only metrics and health, and changes on reload", async () => {
  await using node = simNode();
  const [first, second] = [freePort(), freePort()];
  const metrics = (port: number) => `[server]\nmetrics_address = "127.0.0.1:${port}"\n`;
  await using agent = await AgentProcess.start(node);
  const path = join(node.dir, "agent.toml");
  const config = await Deno.readTextFile(path);
  const status = async (port: number, path: string) => {
    try {
      const response = await fetch(`http://127.0.0.1:${port}${path}`);
      await response.body?.cancel();
      return response.status;
    } catch {
      return 0;
    }
  };
  const apply = async (text: string) => {
    await Deno.writeTextFile(path, text);
    agent.signal("SIGHUP");
  };
  await apply(config.replace("[server]\n", metrics(first)));
  await agent.until("metrics", async () => await status(first, "/metrics") === 200);
  const paths = ["/livez", "/readyz", "/", "/v1/status", "/healthz"];
  deepEqual(await Promise.all(paths.map((path) => status(first, path))), [200, 200, 404, 404, 404]);
  await apply(config.replace("[server]\n", metrics(second)));
  await agent.until("the new address", async () => await status(second, "/metrics") === 200);
  await agent.until("the old address to close", async () => await status(first, "/metrics") === 0);
  equal((await agent.get("/v1/status")).status, 200, "the status page stays where it was");
});
