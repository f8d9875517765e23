// deno-lint-ignore-file no-sync-fn-in-async-fn
/**
 * Defects of the upstream implementation, by number: each test fails when the defect comes back. The
 * agent runs as a process on the simulated node.
 */
import { deepStrictEqual, ok, strictEqual } from "node:assert/strict";
import { join } from "@std/path";
import type { SimNode } from "../../lib/simulator/mod.ts";
import { AgentProcess, command, pause, simNode } from "./stage.ts";

const LONG = 'check_interval = "1h"\nrefresh_interval = "1h"';

const passwordImage = (node: SimNode, name = "base/os:1") =>
  `${node.passwordRegistry.host}/${name}`;
const tokenImage = (node: SimNode, name = "shop/app:1") => `${node.tokenRegistry.host}/${name}`;

/** Waits until every mount has the newest credential. */
const allNewest = (agent: AgentProcess, node: SimNode) =>
  agent.until("the newest credential in every mount", () => node.allNewest());

Deno.test("defect 1: every RAFS instance of one reference gets the new credential", async () => {
  await using node = simNode();
  const image = passwordImage(node);
  await node.addDaemon({ id: "d1", mode: "dedicated", images: [image] });
  await node.addDaemon({ id: "d2", mode: "dedicated", images: [image] });
  await node.addDaemon({ id: "s1", mode: "shared", images: [image, image] });
  await using agent = await AgentProcess.start(node, { renewal: LONG });
  node.rotatePassword("second");
  await allNewest(agent, node);
  for (const daemon of node.daemons.values()) {
    for (const { configPath } of daemon.instances) {
      await agent.until("the configuration file", () => {
        const { auth } = JSON.parse(Deno.readTextFileSync(configPath)).device.backend.config;
        return auth === btoa("robot:second");
      });
    }
  }
});

Deno.test("defect 2: retries a failed hot reload", async () => {
  await using node = simNode();
  const daemon = await node.addDaemon({
    id: "d1",
    mode: "dedicated",
    images: [passwordImage(node)],
  });
  await using agent = await AgentProcess.start(node);
  daemon.signal("SIGSTOP");
  node.rotatePassword("second");
  await agent.until("the agent to notice", async () => {
    const { daemons } = await agent.status();
    return daemons[0]?.instances[0]?.delivery === "unreachable";
  });
  daemon.signal("SIGCONT");
  await allNewest(agent, node);
});

Deno.test("defect 2: nydusd gets the credential although its configuration file cannot be written", async () => {
  await using node = simNode();
  const daemon = await node.addDaemon({
    id: "d1",
    mode: "dedicated",
    images: [passwordImage(node)],
  });
  const path = daemon.instances[0]?.configPath ?? "";
  Deno.removeSync(path);
  Deno.mkdirSync(path); // a folder in its place stops root too
  await using agent = await AgentProcess.start(node);
  node.rotatePassword("second");
  await allNewest(agent, node);
  const [{ deliveryDetail = "" } = {}] = (await agent.status()).daemons[0]?.instances ?? [];
  ok(deliveryDetail.includes("failed to write the configuration file"), deliveryDetail);
});

Deno.test("defect 3: two plugins with the same cache key do not overwrite each other", async () => {
  await using node = simNode();
  const host = node.tokenRegistry.host;
  const answer = (pattern: string, password: string) =>
    `#!/bin/sh\necho '{"kind":"CredentialProviderResponse","apiVersion":` +
    `"credentialprovider.kubelet.k8s.io/v1","cacheKeyType":"Global","cacheDuration":"1h",` +
    `"auth":{"${pattern}":{"username":"u","password":"${password}"}}}'\n`;
  for (const [name, path] of [["one", "a"], ["two", "b"]] as const) {
    const script = answer(`${host}/${path}`, `of-${name}`);
    Deno.writeTextFileSync(join(node.dir, "bin", name), script, { mode: 0o755 });
  }
  Deno.writeTextFileSync(node.providerConfigPath, providers(["one", "two"], host));
  const pair = "u:at-first";
  await node.addDaemon({ id: "d1", mode: "dedicated", images: [`${host}/a/x:1`], pair });
  await node.addDaemon({ id: "d2", mode: "dedicated", images: [`${host}/b/x:1`], pair });
  await using agent = await AgentProcess.start(node);
  await agent.until(
    "both credentials",
    async () =>
      await node.daemons.get("d1")?.currentAuth("/") === "u:of-one" &&
      await node.daemons.get("d2")?.currentAuth("/") === "u:of-two",
  );
});

Deno.test("defect 4: a password may contain colons", async () => {
  await using node = simNode();
  await node.addDaemon({ id: "d1", mode: "dedicated", images: [passwordImage(node)] });
  await using agent = await AgentProcess.start(node);
  node.rotatePassword("with:two:colons");
  await allNewest(agent, node);
  const [read] = await node.readAll();
  await agent.until(
    "a read with it",
    async () => read?.ok ?? (await node.readAll())[0]?.ok ?? false,
  );
});

Deno.test("defect 5: executes a failing plugin once per backoff step, not once per image", async () => {
  await using node = simNode({ plugin: { mode: "fail" } });
  const images = Array.from({ length: 20 }, (_, i) => tokenImage(node, `team/app${i}:1`));
  await node.addDaemon({ id: "s1", mode: "shared", images, pair: "token:at-first" });
  await using agent = await AgentProcess.start(node);
  await agent.until("a failure of every image", async () => {
    const failed = (await agent.status()).images.filter(({ lastFailure }) => lastFailure);
    return failed.length === images.length;
  });
  const executions = node.pluginExecutions();
  ok(executions < images.length, `${executions} executions for 20 images`);
});

Deno.test("defect 6: the check interval and the lead time are independent settings", async () => {
  await using node = simNode({ plugin: { cacheDuration: "1h", lifetimeMs: 3_600_000 } });
  await node.addDaemon({ id: "d1", mode: "dedicated", images: [tokenImage(node)] });
  await using agent = await AgentProcess.start(node, {
    renewal: 'check_interval = "100ms"\nlead_time = "10m"',
  });
  const before = node.pluginExecutions();
  const first = await reconciles(agent);
  await agent.until("ten more reconciles", async () => await reconciles(agent) >= first + 10);
  strictEqual(node.pluginExecutions(), before, "a short check interval made it renew");
});

Deno.test("defect 9: finds the Docker Hub credential of docker login", async () => {
  await using node = simNode();
  const auths = { "https://index.docker.io/v1/": { auth: btoa("hub:secret") } };
  Deno.writeTextFileSync(node.dockerConfigPath, JSON.stringify({ auths }));
  const { code, out } = await command([
    "get",
    "nginx",
    "--snapshotter-config",
    "off",
    "--docker-config",
    node.dockerConfigPath,
  ]);
  deepStrictEqual([code, out], [0, "username: hub\npassword: secret\n"]);
});

Deno.test("defect 10: keeps every field of a configuration file, and zero values", async () => {
  await using node = simNode();
  const daemon = await node.addDaemon({
    id: "d1",
    mode: "dedicated",
    images: [passwordImage(node)],
  });
  const path = daemon.instances[0]?.configPath ?? "";
  const before = Deno.readTextFileSync(path);
  await using agent = await AgentProcess.start(node);
  node.rotatePassword("second");
  await agent.until("the file", () => Deno.readTextFileSync(path) !== before);
  const expected = before.replace(btoa("robot:first"), btoa("robot:second"));
  strictEqual(Deno.readTextFileSync(path), expected);
  strictEqual((Deno.statSync(path).mode ?? 0) & 0o777, 0o600);
});

Deno.test("defect 11: finds each of many cached results by its key, without an execution", async () => {
  await using node = simNode({ plugin: { cacheKeyType: "Image", cacheDuration: "1h" } });
  const images = Array.from({ length: 40 }, (_, i) => tokenImage(node, `team/app${i}:1`));
  await node.addDaemon({ id: "s1", mode: "shared", images, pair: "token:at-first" });
  await using agent = await AgentProcess.start(node, { renewal: LONG });
  const requests = () => agent.log.match(/provider-found.*kubelet/g)?.length ?? 0;
  await agent.until("a request for every image", () => requests() >= images.length);
  const before = node.pluginExecutions();
  strictEqual(before, images.length);
  node.rotatePassword("second"); // a changed file causes a request for every image
  await agent.until("another request for every image", () => requests() >= 2 * images.length);
  strictEqual(node.pluginExecutions(), before);
});

Deno.test("defect 12: notices a changed file before the next interval", async () => {
  await using node = simNode();
  await node.addDaemon({ id: "d1", mode: "dedicated", images: [passwordImage(node)] });
  await using agent = await AgentProcess.start(node, { renewal: LONG });
  node.rotatePassword("second");
  await allNewest(agent, node);
});

Deno.test("defect 13: the timeout of a plugin includes its children", async () => {
  await using node = simNode({ plugin: { mode: "spawn" } });
  await node.addDaemon({
    id: "d1",
    mode: "dedicated",
    images: [tokenImage(node)],
    pair: "token:x",
  });
  await using agent = await AgentProcess.start(node, {
    more: '[providers.kubelet]\ntimeout = "1s"',
  });
  await agent.until("the plugin to be stopped", async () => {
    const [image] = (await agent.status()).images;
    return image?.lastFailure?.reason === "plugin-timeout";
  });
});

Deno.test("defect 14: one execution serves every image of its scope, with and without caching", async () => {
  await using node = simNode({ plugin: { cacheDuration: "0s", lifetimeMs: 3_600_000 } });
  const images = Array.from({ length: 50 }, (_, i) => tokenImage(node, `team/app${i}:1`));
  await node.addDaemon({ id: "s1", mode: "shared", images, pair: "token:at-first" });
  await using agent = await AgentProcess.start(node, { renewal: LONG });
  await allNewest(agent, node);
  strictEqual(node.pluginExecutions(), 1);
});

Deno.test("defect 15: a reconcile without changes queries no provider and delivers nothing", async () => {
  await using node = simNode({ plugin: { cacheDuration: "1h", lifetimeMs: 3_600_000 } });
  const images = Array.from({ length: 60 }, (_, i) => tokenImage(node, `team/app${i}:1`));
  await node.addDaemon({ id: "s1", mode: "shared", images, pair: "token:at-first" });
  await using agent = await AgentProcess.start(node, { renewal: 'check_interval = "100ms"' });
  await allNewest(agent, node);
  // The effects of the last deliveries have completed then.
  const inUse = /^nydus_auth_agent_instances\{state="in-use"\} 60$/m;
  await agent.until(
    "every mount to use it",
    async () => inUse.test((await agent.get("/metrics")).body),
  );
  await pause(1_000);
  const count = (what: RegExp) => agent.log.match(what)?.length ?? 0;
  // The agent may check a file again after its own write, which delivers nothing.
  const work = () => [count(/provider-/g), count(/credential-|delivery-(?!unchanged)/g)];
  const [before, first] = [work(), await reconciles(agent)];
  await agent.until("ten more reconciles", async () => await reconciles(agent) >= first + 10);
  deepStrictEqual(work(), before);
});

Deno.test("defect 16: the providers are ready before the first reconcile", async () => {
  await using node = simNode();
  await node.addDaemon({
    id: "d1",
    mode: "dedicated",
    images: [tokenImage(node)],
    pair: "token:x",
  });
  await using agent = await AgentProcess.start(node, { renewal: LONG });
  ok(await node.allNewest(), `ready, and not delivered\n${agent.log}`);
});

Deno.test("defect 17: two RAFS instances of one image do not break the metrics page", async () => {
  await using node = simNode();
  const image = passwordImage(node);
  await node.addDaemon({ id: "s1", mode: "shared", images: [image, image] });
  await using agent = await AgentProcess.start(node);
  const { status, body } = await agent.get("/v1/metrics");
  strictEqual(status, 200);
  const series = body.split("\n").filter((line) => line !== "" && !line.startsWith("#"))
    .map((line) => line.slice(0, line.lastIndexOf(" ")));
  strictEqual(new Set(series).size, series.length, "a series is duplicated");
  strictEqual((await agent.get("/metrics")).status, 200);
});

Deno.test("defects 18 and 19: a stopped nydusd does not delay the others", async () => {
  await using node = simNode();
  const image = passwordImage(node);
  const hung = await node.addDaemon({ id: "d1", mode: "dedicated", images: [image] });
  const other = await node.addDaemon({ id: "d2", mode: "dedicated", images: [image] });
  await using agent = await AgentProcess.start(node);
  hung.signal("SIGSTOP");
  await agent.until(
    "the agent to notice",
    async () => (await agent.status()).daemons.some(({ state }) => state === "unresponsive"),
  );
  node.rotatePassword("second");
  await agent.until("the other one", async () => await other.currentAuth("/") === "robot:second");
  hung.signal("SIGCONT");
  await allNewest(agent, node);
  strictEqual(node.snapshotter?.backendCalls, 0, "the call that leaks was made");
});

async function reconciles(agent: AgentProcess): Promise<number> {
  const total = /^nydus_auth_agent_reconciles_total (\d+)$/m;
  return Number(total.exec((await agent.get("/metrics")).body)?.[1]);
}

function providers(names: readonly string[], host: string): string {
  const head = "apiVersion: kubelet.config.k8s.io/v1\nkind: CredentialProviderConfig\nproviders:\n";
  return head +
    names.map((name) =>
      `- name: ${name}\n  apiVersion: credentialprovider.kubelet.k8s.io/v1\n` +
      `  matchImages: ["${host}"]\n  defaultCacheDuration: "1h"\n`
    ).join("");
}
