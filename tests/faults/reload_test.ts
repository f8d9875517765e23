// deno-lint-ignore-file no-sync-fn-in-async-fn
/**
 * 1,000 random edits of every file that the agent watches or reads on SIGHUP; half of them leave the
 * file invalid. After each SIGHUP the effective configuration must match the files.
 */
import { deepStrictEqual, ok, strictEqual } from "node:assert/strict";
import { join } from "@std/path";
import { type AgentConfig, configDifferences, loadConfig } from "../../lib/config/mod.ts";
import { freePort, SimRegistry } from "../../lib/simulator/mod.ts";
import type { SimNode } from "../../lib/simulator/mod.ts";
import { fetchUnix } from "../fakes/unix_fetch.ts";
import { CanaryDetector, newTokenCanary } from "../canary/detector.ts";
import { AgentProcess, pause, simNode } from "../e2e/stage.ts";
import { seeded } from "./campaign.ts";
import {
  dockerTexts,
  edit,
  type Edited,
  editedFiles,
  type EditKind,
  replaceFile,
} from "./edits.ts";

const EDITS = 1_000;
const CANARY = newTokenCanary();
const PASSWORDS = [0, 1, 2, 3, 4].map((i) => `${CANARY}-${i}`);

/** Settings that a truncated file may lose, so that the test still reaches the agent. */
function environment(node: SimNode, port: number): Record<string, string> {
  return {
    NYDUS_AUTH_AGENT_SERVER_ADDRESS: `127.0.0.1:${port}`,
    NYDUS_AUTH_AGENT_API_SOCKET: join(node.dir, "api.sock"),
    NYDUS_AUTH_AGENT_LOG_FORMAT: "json",
    NYDUS_AUTH_AGENT_LOG_LEVEL: "debug",
    NYDUS_AUTH_AGENT_SNAPSHOTTER_CONFIG: node.snapshotterConfigPath,
    NYDUS_AUTH_AGENT_PROVIDERS_DOCKER_CONFIG: node.dockerConfigPath,
  };
}

/** Loads the configuration from the current files; undefined when they are invalid. */
async function configNow(
  node: SimNode,
  env: Readonly<Record<string, string>>,
): Promise<AgentConfig | undefined> {
  const readText = async (path: string) => {
    try {
      return await Deno.readTextFile(path);
    } catch (error) {
      if (error instanceof Deno.errors.NotFound) return undefined;
      throw error;
    }
  };
  const sources = { host: { env, cwd: "/" }, files: { readText } };
  const flags = { config: join(node.dir, "agent.toml") };
  return await loadConfig(sources, flags).catch(() => undefined);
}

interface ReloadEvent {
  readonly event: string;
  readonly hash?: string;
  readonly differences?: readonly string[];
  readonly problems?: unknown;
}

/** Returns the log events about the agent's own configuration, from an offset in its log. */
function reloadEvents(
  agent: AgentProcess,
  from: number,
  paths: readonly string[],
): readonly ReloadEvent[] {
  const lines = agent.log.slice(from).split("\n").filter((line) => line.startsWith("{"));
  return lines.flatMap((line): ReloadEvent[] => {
    try {
      const event = JSON.parse(line);
      const isReload = event.event === "config-loaded" ||
        event.event === "config-refused" && paths.some((path) => line.includes(path));
      return isReload ? [event] : [];
    } catch {
      return []; // incomplete line
    }
  });
}

/** Sends SIGHUP and checks the reload. Returns the configuration in effect afterwards. */
async function reload(
  agent: AgentProcess,
  node: SimNode,
  env: Readonly<Record<string, string>>,
  current: AgentConfig,
): Promise<AgentConfig> {
  const next = await configNow(node, env);
  const from = agent.log.length;
  const paths = [join(node.dir, "agent.toml"), node.snapshotterConfigPath];
  agent.signal("SIGHUP");
  await agent.until("the reload", () => reloadEvents(agent, from, paths).length > 0);
  const [event] = reloadEvents(agent, from, paths);
  // Over the API socket: the HTTP server caches its responses.
  const response = await fetchUnix(join(node.dir, "api.sock"), "/v1/status");
  const { configHash, checkIntervalMs } = await response.json();
  const config = next ?? current;
  strictEqual(event?.event, next === undefined ? "config-refused" : "config-loaded");
  if (next !== undefined) {
    strictEqual(event?.hash, next.hash);
    deepStrictEqual(event?.differences ?? [], configDifferences(current, next));
  }
  strictEqual(configHash, config.hash, "the status has another hash");
  strictEqual(checkIntervalMs, config.renewal.checkIntervalMs, "old and new settings are mixed");
  const hashes = async () => {
    const { body } = await agent.get("/metrics");
    return [...body.matchAll(/config_info\{hash="([^"]+)"\}/g)].map(([, hash]) => hash);
  };
  await agent.until("the hash in the metrics", async () => {
    const found = await hashes();
    ok(found.length <= 1, "the metrics have several hashes");
    return found[0] === config.hash;
  });
  return config;
}

/** Checks that every mount has a credential that its provider returned at some time. */
async function checkCurrentAuths(node: SimNode): Promise<void> {
  const tokens = Deno.readTextFileSync(join(node.pluginDir, "issued"));
  for (const { instances, currentAuth } of daemonsOf(node)) {
    for (const { mountId, image } of instances) {
      const pair = await currentAuth(mountId);
      if (pair === undefined) continue; // the daemon was overloaded
      const [user = "", password = ""] = pair.split(":");
      const isKnown = user === "robot"
        ? PASSWORDS.includes(password)
        : user === "token" && password !== "" && tokens.includes(password);
      ok(isKnown, `${image} has a credential of no provider (${pair === "" ? "nothing" : user})`);
    }
  }
}

/**
 * Requests credentials of new images. The agent must answer from the last valid content of the file,
 * unless the file was removed since.
 */
class NewPulls {
  readonly #node: SimNode;
  #requests = 0;
  #wasRead = true;
  /** Number of responses from an earlier content, while the file is invalid. */
  remembered = 0;

  constructor(node: SimNode) {
    this.#node = node;
  }

  edited(file: Edited, kind: EditKind): void {
    if (file.path === this.#node.dockerConfigPath && kind === "removed") this.#wasRead = false;
  }

  async judge(): Promise<void> {
    const image = `${this.#node.passwordRegistry.host}/new/${++this.#requests}:1`;
    const body = JSON.stringify({ ref: image });
    const headers = { "content-type": "application/json" };
    const socket = join(this.#node.dir, "api.sock");
    const init = { method: "POST", body, headers };
    const response = await fetchUnix(socket, "/v1/credentials/get", init);
    const { credential } = await response.json();
    ok(response.ok || !this.#wasRead, "the agent lost a known credential");
    if (!response.ok) return;
    ok(PASSWORDS.includes(credential.password), "a credential from a half-written file");
    this.#wasRead = true;
    if (!isComplete(this.#node.dockerConfigPath)) this.remembered++;
  }
}

function isComplete(path: string): boolean {
  try {
    JSON.parse(Deno.readTextFileSync(path));
    return true;
  } catch {
    return false;
  }
}

function daemonsOf(node: SimNode) {
  return [...node.daemons.values()].map((daemon) => ({
    instances: daemon.instances,
    currentAuth: (mountId: string) => daemon.currentAuth(mountId),
  }));
}

Deno.test(`reload: applies each configuration completely or not at all, and reports it, when ${EDITS} edits follow`, async () => {
  const random = seeded(Number(Deno.env.get("SEED") ?? 1));
  await using node = simNode({
    plugin: { lifetimeMs: 600_000, cacheDuration: "1s", mark: CANARY },
  });
  await using mirror = new SimRegistry();
  const docker: Edited = {
    path: node.dockerConfigPath,
    texts: dockerTexts(node, PASSWORDS),
    byHup: false,
  };
  for (const password of PASSWORDS) mirror.accept("robot", password);
  replaceFile(docker.path, docker.texts[0] ?? "");
  const password = node.passwordRegistry.host;
  const pair = `robot:${PASSWORDS[0]}`;
  const more = { mode: "dedicated", pair } as const;
  await node.addDaemon({ id: "d1", mode: "dedicated", images: [`${node.tokenRegistry.host}/a:1`] });
  await node.addDaemon({ id: "d2", images: [`${password}/b:1`], ...more });
  const backend = { host: mirror.host };
  await node.addDaemon({ id: "m1", images: [`${password}/c:1`], backend, ...more });
  node.setMirrors(password, [`http://${mirror.host}`]);
  const settings = { more: '[delivery]\nunapproved_hosts = "refuse"' };
  const port = freePort();
  const env = environment(node, port);
  await using agent = await AgentProcess.start(node, { ...settings, env }, { port });
  const files = [...editedFiles(node, mirror.host), docker];
  let current = await configNow(node, env);
  ok(current !== undefined);
  strictEqual((await agent.status()).configHash, current.hash);
  const pulls = new NewPulls(node);
  let rejected = 0;
  for (let i = 0; i < EDITS; i++) {
    const file = files[Math.floor(random() * files.length)];
    if (file === undefined) continue;
    pulls.edited(file, edit(file, random));
    if (file.byHup || random() < 0.2) {
      const before: AgentConfig = current;
      current = await reload(agent, node, env, current);
      if (current === before) rejected++;
    } else await pause(random() * 20);
    if (i % 5 === 0) await pulls.judge();
    if (i % 10 === 0) await checkCurrentAuths(node);
  }
  ok(
    pulls.remembered > EDITS / 50,
    `only ${pulls.remembered} responses while the file was invalid`,
  );
  ok(rejected > EDITS / 20, `only ${rejected} configurations were rejected`);
  for (const { path, texts } of files) replaceFile(path, texts[0] ?? "");
  await reload(agent, node, env, current);
  await checkCurrentAuths(node);
  const mounts = ["d2", "m1"].map((id) => node.daemons.get(id));
  const haveFirst = async () =>
    (await Promise.all(mounts.map((daemon) => daemon?.currentAuth("/")))).every((currentAuth) =>
      currentAuth === pair
    );
  await agent.until("the credential of the last files in every mount", haveFirst);
  await agent.until("successful reads", async () => (await node.readAll()).every(({ ok }) => ok));
  const finds = new CanaryDetector({ secret: CANARY }).find(agent.log);
  deepStrictEqual(finds, [], "the log quotes a secret of a half-written file");
});
