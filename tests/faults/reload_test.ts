// deno-lint-ignore-file no-sync-fn-in-async-fn
/**
 * Reload without fear: 1,000 random edits of every file that the agent watches or reads at HUP, half
 * of them broken. What is in force is judged after each HUP against the same files read here.
 */
import { deepStrictEqual, ok, strictEqual } from "node:assert/strict";
import { join } from "@std/path";
import { type AgentConfig, configDifferences, loadAgentConfig } from "../../lib/config/mod.ts";
import { SimRegistry } from "../../lib/simulator/mod.ts";
import type { SimNode } from "../../lib/simulator/mod.ts";
import { fetchUnix } from "../fakes/unix_fetch.ts";
import { CanaryDetector, newTokenCanary } from "../canary/detector.ts";
import { AgentProcess, freePort, pause, simNode } from "../e2e/stage.ts";
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

/** What half an own file does not say any more, so that the agent stays where the test looks. */
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

/** The configuration that the files give now; undefined when they give none. */
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
  const flags = { config: join(node.dir, "agent.toml") };
  return await loadAgentConfig({ flags, env, cwd: "/", readText }).catch(() => undefined);
}

interface AgentReply {
  readonly event: string;
  readonly hash?: string;
  readonly differences?: readonly string[];
  readonly problems?: unknown;
}

/** What the agent has told of its own configuration since a place in its log. */
function toldSince(
  agent: AgentProcess,
  from: number,
  ours: readonly string[],
): readonly AgentReply[] {
  const lines = agent.log.slice(from).split("\n").filter((line) => line.startsWith("{"));
  return lines.flatMap((line): AgentReply[] => {
    try {
      const told = JSON.parse(line);
      const isOurs = told.event === "config-loaded" ||
        told.event === "config-refused" && ours.some((path) => line.includes(path));
      return isOurs ? [told] : [];
    } catch {
      return []; // not whole yet
    }
  });
}

/** Sends HUP, and judges what came of it. Returns the configuration that is in force then. */
async function reload(
  agent: AgentProcess,
  node: SimNode,
  env: Readonly<Record<string, string>>,
  inForce: AgentConfig,
): Promise<AgentConfig> {
  const next = await configNow(node, env);
  const from = agent.log.length;
  const ours = [join(node.dir, "agent.toml"), node.snapshotterConfigPath];
  agent.signal("SIGHUP");
  await agent.until("the reload", () => toldSince(agent, from, ours).length > 0);
  const [told] = toldSince(agent, from, ours);
  const { configHash, checkIntervalMs } = await agent.status();
  const config = next ?? inForce;
  strictEqual(told?.event, next === undefined ? "config-refused" : "config-loaded");
  if (next !== undefined) {
    strictEqual(told?.hash, next.hash);
    deepStrictEqual(told?.differences ?? [], configDifferences(inForce, next));
  }
  strictEqual(configHash, config.hash, "the hash is that of what is in force");
  strictEqual(checkIntervalMs, config.renewal.checkIntervalMs, "a mixed state");
  const { body } = await agent.get("/metrics");
  const hashes = [...body.matchAll(/config_info\{hash="([^"]+)"\}/g)].map(([, hash]) => hash);
  deepStrictEqual(hashes, [config.hash], "the metrics tell one hash, and that one");
  return config;
}

/** Every mount holds a credential that its source gave whole, at whatever moment. */
async function judgeHeld(node: SimNode): Promise<void> {
  const tokens = Deno.readTextFileSync(join(node.pluginDir, "issued"));
  for (const { instances, currentAuth } of daemonsOf(node)) {
    for (const { mountId, image } of instances) {
      const pair = await currentAuth(mountId);
      if (pair === undefined) continue; // it was asked too much at once
      const [user = "", password = ""] = pair.split(":");
      const isKnown = user === "robot"
        ? PASSWORDS.includes(password)
        : user === "token" && password !== "" && tokens.includes(password);
      ok(isKnown, `${image} holds what no source gave (${pair === "" ? "nothing" : user})`);
    }
  }
}

/**
 * What is asked for the first time is answered from the last file that was read whole, unless that
 * was taken away since.
 */
class NewPulls {
  readonly #node: SimNode;
  #asked = 0;
  #wasRead = true;
  /** Answers out of a file that is broken now. */
  remembered = 0;

  constructor(node: SimNode) {
    this.#node = node;
  }

  edited(file: Edited, kind: EditKind): void {
    if (file.path === this.#node.dockerConfigPath && kind === "removed") this.#wasRead = false;
  }

  async judge(): Promise<void> {
    const image = `${this.#node.passwordRegistry.host}/new/${++this.#asked}:1`;
    const body = JSON.stringify({ ref: image });
    const headers = { "content-type": "application/json" };
    const socket = join(this.#node.dir, "api.sock");
    const init = { method: "POST", body, headers };
    const answer = await fetchUnix(socket, "/v1/credentials/get", init);
    const { credential } = await answer.json();
    ok(answer.ok || !this.#wasRead, "a credential that was known is not found any more");
    if (!answer.ok) return;
    ok(PASSWORDS.includes(credential.password), "a credential of half a file");
    this.#wasRead = true;
    if (!isWhole(this.#node.dockerConfigPath)) this.remembered++;
  }
}

function isWhole(path: string): boolean {
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

Deno.test(`${EDITS} edits of every watched file: never mixed, nothing dropped, all of it told`, async () => {
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
  let inForce = await configNow(node, env);
  ok(inForce !== undefined);
  strictEqual((await agent.status()).configHash, inForce.hash);
  const pulls = new NewPulls(node);
  let refused = 0;
  for (let i = 0; i < EDITS; i++) {
    const file = files[Math.floor(random() * files.length)];
    if (file === undefined) continue;
    pulls.edited(file, edit(file, random));
    if (file.byHup || random() < 0.2) {
      const before: AgentConfig = inForce;
      inForce = await reload(agent, node, env, inForce);
      if (inForce === before) refused++;
    } else await pause(random() * 20);
    if (i % 5 === 0) await pulls.judge();
    if (i % 10 === 0) await judgeHeld(node);
  }
  ok(pulls.remembered > EDITS / 50, `only ${pulls.remembered} answers out of a broken file`);
  ok(refused > EDITS / 20, `only ${refused} configurations were refused`);
  for (const { path, texts } of files) replaceFile(path, texts[0] ?? "");
  await reload(agent, node, env, inForce);
  await judgeHeld(node);
  const mounts = ["d2", "m1"].map((id) => node.daemons.get(id));
  const holdFirst = async () =>
    (await Promise.all(mounts.map((daemon) => daemon?.currentAuth("/")))).every((currentAuth) =>
      currentAuth === pair
    );
  await agent.until("what the files say in the end", holdFirst);
  await agent.until("whole reads", async () => (await node.readAll()).every(({ ok }) => ok));
  const finds = new CanaryDetector({ secret: CANARY }).find(agent.log);
  deepStrictEqual(finds, [], "no secret of a half-written file is quoted");
});
