/** docs/troubleshooting.md: causes each symptom, and compares the output with the quoted texts. */
import { ok } from "node:assert/strict";
import { join } from "@std/path";
import type { SimNode } from "../../lib/simulator/mod.ts";
import { AgentProcess, command, pause, simNode, until } from "./stage.ts";

const DOCS = (await Deno.readTextFile(
  new URL("../../docs/troubleshooting.md", import.meta.url),
)).replace(/\s+/g, " ");

/** Checks that the guide and an output contain a text; `…` matches anything. */
function quotes(output: string, text: string): void {
  ok(DOCS.includes(text.replace(/\s+/g, " ")), `the guide does not contain: ${text}`);
  const parts = text.split("…").map((part) => part.trim().replace(/\s+/g, " "));
  let from = 0;
  const flat = output.replace(/\s+/g, " ");
  for (const part of parts) {
    from = flat.indexOf(part, from);
    ok(from >= 0, `the output does not contain "${part}":\n${output}`);
  }
}

const run = (node: SimNode, ...args: string[]) =>
  command([...args, "--config", join(node.dir, "agent.toml")]);

async function health(agent: AgentProcess): Promise<{ summary: string; about: string }> {
  return JSON.parse((await agent.get("/v1/status")).body).health;
}

/** Checks that the guide and the log of nydusd contain these texts. */
async function nydusdLogs(node: SimNode, ...pieces: readonly string[]): Promise<void> {
  const log = (await node.readAll()).map(({ log }) => log).join("\n");
  for (const piece of pieces) quotes(log, piece);
}

/** Reads through every mount until all reads have this status. */
function readUntil(node: SimNode, status: number): Promise<void> {
  return until(`reads with status ${status}`, async () => {
    const reads = await node.readAll();
    return reads.length > 0 && reads.every((read) => read.status === status);
  });
}

Deno.test("guide: nydusd has no credential at all", async () => {
  await using node = simNode();
  const image = `${node.passwordRegistry.host}/a:1`;
  await Deno.writeTextFile(node.dockerConfigPath, '{"auths":{}}');
  await node.addDaemon({ id: "d1", mode: "dedicated", images: [image], pair: "" });
  await readUntil(node, 401);
  await nydusdLogs(node, "failed to issue request, network error,", "UNAUTHORIZED");
  await using _agent = await AgentProcess.start(node);
  const explained = await run(node, "explain", image);
  quotes(explained.out, "winner none: the image is public, or no provider knows its registry");
  quotes(explained.out, "no-entry-for-registry");
  quotes(explained.out, "plugin-not-matched");
  const { out } = await run(node, "status");
  ok(/ public | read-errors /.test(out) && / none /.test(out), out);
  node.rotatePassword("fixed"); // as `docker login` does
  await readUntil(node, 200);
});

Deno.test("guide: nydusd's errors without a credential, by its version and the registry's login", async () => {
  await using node = simNode();
  const images = [`${node.passwordRegistry.host}/a:1`];
  await node.addDaemon({ id: "old", mode: "dedicated", images, pair: "", version: "2.3.0" });
  await nydusdLogs(node, "invalid auth config");
  node.passwordRegistry.settings.login = "bearer";
  await nydusdLogs(node, "authorized error, status 401");
  await node.addDaemon({ id: "new", mode: "dedicated", images, pair: "" });
  await nydusdLogs(node, "failed to request registry auth server", "authReq is empty");
});

for (const refusal of [401, 403] as const) {
  Deno.test(`guide: ${refusal}, a credential that the registry rejects`, async () => {
    await using node = simNode();
    node.passwordRegistry.settings.dialect = refusal === 403 ? "ecr" : "plain";
    await node.addDaemon({
      id: "d1",
      mode: "dedicated",
      images: [`${node.passwordRegistry.host}/a:1`],
      version: "2.4.1",
    });
    await using agent = await AgentProcess.start(node);
    await readUntil(node, 200);
    node.passwordRegistry.revoke("robot", "first");
    await readUntil(node, refusal);
    await nydusdLogs(
      node,
      "failed to issue request, network error,",
      ...(refusal === 401 ? ["UNAUTHORIZED"] : ["DENIED", "Your authorization token has expired"]),
    );
    await agent.until("the summary", async () => {
      await node.readAll();
      return (await health(agent)).about === "reads";
    });
    const { out } = await run(node, "status");
    quotes(out, "reads of mount … have failed for … although its current credential was delivered");
    ok(/ read-errors /.test(out), out);
    await agent.until("the log", () => agent.log.includes("code=reads-failing"));
    ok(DOCS.includes("`code=reads-failing`"));
    node.rotatePassword("second");
    await readUntil(node, 200);
    await agent.until("healthy", async () => (await health(agent)).about === "healthy");
  });
}

for (const refusal of [401, 403] as const) {
  Deno.test(`guide: ${refusal} in the log of a nydusd before 2.4`, async () => {
    await using node = simNode();
    node.passwordRegistry.settings.dialect = refusal === 403 ? "ecr" : "plain";
    const images = [`${node.passwordRegistry.host}/a:1`];
    await node.addDaemon({ id: "d1", mode: "dedicated", images, version: "2.3.0" });
    node.passwordRegistry.revoke("robot", "first");
    await nydusdLogs(node, "The redirected link has expired", `status ${refusal}`);
    if (refusal === 401) await nydusdLogs(node, "no more retry, status 401");
  });
}

Deno.test("guide: mounts fail after N hours without an agent, or without a provider", async () => {
  const lifetimeMs = 3_000;
  await using node = simNode({ plugin: { lifetimeMs } });
  const image = `${node.tokenRegistry.host}/a:1`;
  await node.addDaemon({ id: "d1", mode: "dedicated", images: [image], version: "2.4.1" });
  await readUntil(node, 401); // the token of the pull has expired
  {
    await using _agent = await AgentProcess.start(node, {
      renewal: 'check_interval = "200ms"\nrefresh_interval = "500ms"',
    });
    await readUntil(node, 200);
    await pause(lifetimeMs + 500);
    await readUntil(node, 200);
  }
  const away = await run(node, "status");
  quotes(away.err, "failed to connect to the agent at …: …; is it running?");
  node.setPlugin({ mode: "none" });
  await using agent = await AgentProcess.start(node);
  await agent.until(
    "the adoption",
    async () => (await run(node, "status")).out.includes(" adopted "),
  );
  const { out } = await run(node, "status");
  quotes(
    out,
    "no provider has a credential for …; its mounts keep their current credential, which",
  );
  quotes(out, "is not renewed");
});

Deno.test("guide: an old nydusd", async () => {
  await using node = simNode();
  const images = [`${node.passwordRegistry.host}/a:1`];
  await node.addDaemon({ id: "d1", mode: "dedicated", images, version: "2.4.0" });
  await using agent = await AgentProcess.start(node);
  node.rotatePassword("second");
  await agent.until("a warning", async () => (await health(agent)).about === "deliveries");
  const { out, code } = await run(node, "status");
  ok(out.includes(" file-only ") && code === 3, out);
  quotes(out, "has used an outdated credential for …, and its reads will fail when that expires");
  quotes((await run(node, "check")).out, "has no configuration API");
});

Deno.test("guide: a nydus v3 daemon reads its credential once at start", async () => {
  await using node = simNode();
  const images = [`${node.passwordRegistry.host}/a:1`];
  await node.addDaemon({ id: "d1", mode: "dedicated", images, version: "3.0.0" });
  await using agent = await AgentProcess.start(node);
  node.rotatePassword("second");
  const mount = async () =>
    (await agent.status()).daemons.find(({ id }) => id === "d1")?.instances[0];
  await agent.until("the file", async () => (await mount())?.file === "written");
  ok((await mount())?.delivery === "file-only");
  ok((await mount())?.deliveryDetail?.includes("reads its credential once at start"));
});

Deno.test("guide: a plugin that times out", async () => {
  await using node = simNode({ plugin: { mode: "hang" } });
  const image = `${node.tokenRegistry.host}/a:1`;
  await node.addDaemon({ id: "d1", mode: "dedicated", images: [image], pair: "token:x" });
  await using agent = await AgentProcess.start(node, {
    more: '[providers.kubelet]\ntimeout = "500ms"',
  });
  await agent.until("the time limit", () => /plugin-failed.*result=timeout/.test(agent.log));
  const explained = (await run(node, "explain", image)).out;
  quotes(explained, "plugin-timeout");
  quotes(explained, "winner none: kubelet failed, no other provider has one");
  ok(DOCS.includes("`result=timeout`"));
  const page = (await agent.get("/")).body;
  ok(page.includes("sim-credential-provider") && page.includes("timeout"), page);
});

Deno.test("guide: Docker Hub under a key that docker does not use", async () => {
  await using node = simNode();
  const auths = { "docker.io": { auth: btoa("u:p") } };
  await Deno.writeTextFile(node.dockerConfigPath, JSON.stringify({ auths }));
  await using _agent = await AgentProcess.start(node);
  const { out } = await run(node, "explain", "nginx");
  quotes(out, "no-entry-for-registry");
  quotes(out, "https://index.docker.io/v1/");
});

Deno.test("guide: a stopped nydusd, and a missing snapshotter", async () => {
  await using node = simNode();
  const images = [`${node.passwordRegistry.host}/a:1`];
  const daemon = await node.addDaemon({ id: "d1", mode: "dedicated", images });
  await using agent = await AgentProcess.start(node);
  daemon.signal("SIGSTOP");
  await agent.until("a warning", () => /daemon-failing.*\n/.test(agent.log));
  quotes(agent.log, "it accepts connections but does not answer in time");
  daemon.signal("SIGCONT");
  await agent.until("healthy", async () => (await health(agent)).about === "healthy");
  await node.stopSnapshotter();
  await agent.until("the summary", async () => (await health(agent)).about === "discovery");
  quotes((await health(agent)).summary, "failed to list mounts from");
  quotes(agent.log, "using the last known list and the root folder");
});
