/** docs/troubleshooting.md, symptom by symptom: provoked, and told in the words that stand there. */
import { ok } from "node:assert/strict";
import { join } from "@std/path";
import type { SimNode } from "../../lib/simulator/mod.ts";
import { AgentProcess, command, pause, simNode } from "./stage.ts";

const DOCS = (await Deno.readTextFile(
  new URL("../../docs/troubleshooting.md", import.meta.url),
)).replace(/\s+/g, " ");

/** Words that a section quotes, and that the agent says; `…` stands for what differs. */
function says(text: string, words: string): void {
  ok(DOCS.includes(words.replace(/\s+/g, " ")), `the guide does not say: ${words}`);
  const parts = words.split("…").map((part) => part.trim().replace(/\s+/g, " "));
  let from = 0;
  const flat = text.replace(/\s+/g, " ");
  for (const part of parts) {
    from = flat.indexOf(part, from);
    ok(from >= 0, `it does not say "${part}":\n${text}`);
  }
}

const ask = (node: SimNode, ...args: string[]) =>
  command([...args, "--config", join(node.dir, "agent.toml")]);

async function health(agent: AgentProcess): Promise<{ summary: string; about: string }> {
  return JSON.parse((await agent.get("/v1/status")).body).health;
}

/** What nydusd says of its reads, which the guide quotes piece by piece. */
async function nydusdSays(node: SimNode, ...pieces: readonly string[]): Promise<void> {
  const log = (await node.readAll()).map(({ log }) => log).join("\n");
  for (const piece of pieces) says(log, piece);
}

/** Reads through every mount until it comes to this. */
async function readUntil(node: SimNode, status: number): Promise<void> {
  for (let i = 0; i < 200; i++) {
    const reads = await node.readAll();
    if (reads.length > 0 && reads.every((read) => read.status === status)) return;
    await pause(100);
  }
  throw new Error(`no read came to ${status}`);
}

Deno.test("guide: nydusd has no credential at all", async () => {
  await using node = simNode();
  const image = `${node.passwordRegistry.host}/a:1`;
  await Deno.writeTextFile(node.dockerConfigPath, '{"auths":{}}');
  await node.addDaemon({ id: "d1", mode: "dedicated", images: [image], pair: "" });
  await readUntil(node, 401);
  await nydusdSays(node, "failed to issue request, network error,", "UNAUTHORIZED");
  await using _agent = await AgentProcess.start(node);
  const explained = await ask(node, "explain", image);
  says(explained.out, "winner none: the image is public, or no provider knows its registry");
  says(explained.out, "no-entry-for-registry");
  says(explained.out, "plugin-not-matched");
  const { out } = await ask(node, "status");
  ok(/ public | read-errors /.test(out) && / none /.test(out), out);
  node.rotatePassword("mended"); // as `docker login` does
  await readUntil(node, 200);
});

Deno.test("guide: nydusd's own words without a credential, by its version and the registry's login", async () => {
  await using node = simNode();
  const images = [`${node.passwordRegistry.host}/a:1`];
  await node.addDaemon({ id: "old", mode: "dedicated", images, pair: "", version: "2.3.0" });
  await nydusdSays(node, "invalid auth config");
  node.passwordRegistry.settings.login = "bearer";
  await nydusdSays(node, "authorized error, status 401");
  await node.addDaemon({ id: "new", mode: "dedicated", images, pair: "" });
  await nydusdSays(node, "failed to request registry auth server", "authReq is empty");
});

for (const refusal of [401, 403] as const) {
  Deno.test(`guide: ${refusal}, a credential that the registry does not take`, async () => {
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
    await nydusdSays(
      node,
      "failed to issue request, network error,",
      ...(refusal === 401 ? ["UNAUTHORIZED"] : ["DENIED", "Your authorization token has expired"]),
    );
    await agent.until("the sentence", async () => {
      await node.readAll();
      return (await health(agent)).about === "reads";
    });
    const { out } = await ask(node, "status");
    says(out, "reads of mount … have failed for … although its current credential was delivered");
    ok(/ read-errors /.test(out), out);
    await agent.until("the log", () => agent.log.includes("code=reads-failing"));
    ok(DOCS.includes("`code=reads-failing`"));
    node.rotatePassword("second");
    await readUntil(node, 200);
    await agent.until("healthy", async () => (await health(agent)).about === "healthy");
  });
}

for (const refusal of [401, 403] as const) {
  Deno.test(`guide: ${refusal} in the words of a nydusd before 2.4`, async () => {
    await using node = simNode();
    node.passwordRegistry.settings.dialect = refusal === 403 ? "ecr" : "plain";
    const images = [`${node.passwordRegistry.host}/a:1`];
    await node.addDaemon({ id: "d1", mode: "dedicated", images, version: "2.3.0" });
    node.passwordRegistry.revoke("robot", "first");
    await nydusdSays(node, "The redirected link has expired", `status ${refusal}`);
    if (refusal === 401) await nydusdSays(node, "no more retry, status 401");
  });
}

Deno.test("guide: mounts fail after N hours without an agent, or without a source", async () => {
  await using node = simNode({ plugin: { lifetimeMs: 1_500 } });
  const image = `${node.tokenRegistry.host}/a:1`;
  await node.addDaemon({ id: "d1", mode: "dedicated", images: [image], version: "2.4.1" });
  await readUntil(node, 200);
  await readUntil(node, 401); // the token of the pull has died
  {
    await using _agent = await AgentProcess.start(node, {
      renewal: 'check_interval = "200ms"\nrefresh_interval = "500ms"',
    });
    await readUntil(node, 200);
    await pause(2_000); // longer than a token lives
    await readUntil(node, 200);
  }
  const away = await ask(node, "status");
  says(away.err, "ask the agent at …: …; is it running");
  node.setPlugin({ mode: "none" });
  await using agent = await AgentProcess.start(node);
  await agent.until(
    "the adoption",
    async () => (await ask(node, "status")).out.includes(" adopted "),
  );
  const { out } = await ask(node, "status");
  says(out, "no provider has a credential for …; its mounts keep their current credential, which");
  says(out, "is not renewed");
});

Deno.test("guide: an old nydusd", async () => {
  await using node = simNode();
  const images = [`${node.passwordRegistry.host}/a:1`];
  await node.addDaemon({ id: "d1", mode: "dedicated", images, version: "2.4.0" });
  await using agent = await AgentProcess.start(node);
  node.rotatePassword("second");
  await agent.until("trouble", async () => (await health(agent)).about === "deliveries");
  const { out, code } = await ask(node, "status");
  ok(out.includes(" file-only ") && code === 3, out);
  says(out, "has used an outdated credential for …, and its reads will fail when that expires");
  says((await ask(node, "check")).out, "has no configuration API");
});

Deno.test("guide: a plugin that times out", async () => {
  await using node = simNode({ plugin: { mode: "hang" } });
  const image = `${node.tokenRegistry.host}/a:1`;
  await node.addDaemon({ id: "d1", mode: "dedicated", images: [image], pair: "token:x" });
  await using agent = await AgentProcess.start(node, {
    more: '[providers.kubelet]\ntimeout = "500ms"',
  });
  await agent.until("the time limit", () => /plugin-failed.*result=timeout/.test(agent.log));
  const explained = (await ask(node, "explain", image)).out;
  says(explained, "plugin-timeout");
  says(explained, "winner none: kubelet failed, and no other has one");
  ok(DOCS.includes("`result=timeout`"));
  const page = (await agent.get("/")).body;
  ok(page.includes("sim-credential-provider") && page.includes("timeout"), page);
});

Deno.test("guide: Docker Hub under a key that docker does not use", async () => {
  await using node = simNode();
  const auths = { "docker.io": { auth: btoa("u:p") } };
  await Deno.writeTextFile(node.dockerConfigPath, JSON.stringify({ auths }));
  await using _agent = await AgentProcess.start(node);
  const { out } = await ask(node, "explain", "nginx");
  says(out, "no-entry-for-registry");
  says(out, "https://index.docker.io/v1/");
});

Deno.test("guide: a stopped nydusd, and a snapshotter that is away", async () => {
  await using node = simNode();
  const images = [`${node.passwordRegistry.host}/a:1`];
  const daemon = await node.addDaemon({ id: "d1", mode: "dedicated", images });
  await using agent = await AgentProcess.start(node);
  daemon.signal("SIGSTOP");
  await agent.until("trouble", () => /daemon-failing.*\n/.test(agent.log));
  says(agent.log, "it accepts connections but does not answer in time");
  daemon.signal("SIGCONT");
  await agent.until("healthy", async () => (await health(agent)).about === "healthy");
  await node.stopSnapshotter();
  await agent.until("the sentence", async () => (await health(agent)).about === "discovery");
  says((await health(agent)).summary, "failed to list mounts from");
  says(agent.log, "using the last known list and the root folder");
});
