// deno-lint-ignore-file no-sync-fn-in-async-fn
/**
 * Sends marked secrets through every provider: nothing that the agent prints, serves, writes or passes
 * to its children may contain one of them, in any form.
 */
import { deepStrictEqual, ok, strictEqual } from "node:assert/strict";
import { join } from "@std/path";
import type { SimKubeApi } from "../../lib/simulator/kube_api.ts";
import type { SimNode } from "../../lib/simulator/mod.ts";
import { CanaryDetector, newCanary, newTokenCanary } from "../canary/detector.ts";
import {
  type CapturedText,
  filesBelow,
  OpenFileWatch,
  pages,
  ProcessWatch,
} from "../canary/sinks.ts";
import {
  canaryDocker,
  canaryPlugins,
  canaryPullSecret,
  pullThroughCriProxy,
  writeCanaryKubeconfig,
} from "../canary/sources.ts";
import { kubeApi, NODE } from "./kube_stage.ts";
import { AgentProcess, command, pause, simNode } from "./stage.ts";
import { type MemoryFolder, memoryFolder } from "./cri_proxy_stage.ts";

/** Creates one secret per provider. */
function plant() {
  return {
    docker: newCanary(),
    "docker-second": newCanary(),
    identity: newTokenCanary(),
    registryToken: newTokenCanary(),
    huge: newTokenCanary(),
    helper: newCanary(),
    plugin: newCanary(),
    jwt: newTokenCanary(),
    "plugin-env": newTokenCanary(),
    "plugin-stderr": newCanary(),
    "plugin-stdout": newCanary(),
    kubeSecret: newCanary(),
    kubeToken: newTokenCanary(),
    cri: newCanary(),
    adopted: newTokenCanary(),
  };
}
type Planted = ReturnType<typeof plant>;

const RENEWAL = 'check_interval = "300ms"\nrefresh_interval = "2s"';

/** Runs the agent with every provider, and fails if it discloses one of their secrets. */
export async function disclosesNothing(format: "text" | "json"): Promise<void> {
  await using api = await kubeApi();
  await runPlanted(plant(), api, format);
}

async function runPlanted(planted: Planted, api: SimKubeApi, format: string): Promise<void> {
  await using memory = await memoryFolder();
  const { dir } = memory;
  await using node = simNode();
  const own = join(node.dir, "own");
  for (const folder of ["tmp", "home", "secrets"]) {
    await Deno.mkdir(join(own, folder), { recursive: true });
  }
  await sources(node, api, planted);
  await mounts(node, planted);
  await using open = new OpenFileWatch([join(node.root, "config"), dir]);
  const more = [
    `format = "${format}"`,
    "[providers.kubelet]",
    'timeout = "1s"',
    "[providers.cri]",
    "enabled = true",
    `socket = "${dir}/cri.sock"`,
    `link = "${dir}/image.sock"`,
    `image_service = "${dir}/containerd.sock"`,
    "[providers.kubesecret]",
    "enabled = true",
    `kubeconfig = "${join(node.dir, "own", "secrets", "kubeconfig")}"`,
    `node_name = "${NODE}"`,
  ].join("\n");
  const env = { PATH: join(node.dir, "bin"), TMPDIR: join(own, "tmp"), HOME: join(own, "home") };
  const agent = await AgentProcess.start(node, { renewal: RENEWAL, more, env });
  const captured: CapturedText[] = [];
  try {
    using watch = new ProcessWatch(agent.pid);
    await exercise(agent, node, planted, memory, captured);
    watch.scan();
    ok(watch.children.size > 0, "no child was seen");
    captured.push(...watch.captured);
    agent.signal("SIGTERM");
    strictEqual(await agent.ended(), 0);
  } finally {
    await agent[Symbol.asyncDispose]();
  }
  captured.push({ where: "log", text: agent.log });
  // Their output does not depend on the log format.
  if (format === "text") captured.push(...await commands(node, more, env));
  await judge(planted, captured, node, memory);
  deepStrictEqual([...open.found].filter((file) => !file.includes("containerd.sock")), []);
}

async function sources(node: SimNode, api: SimKubeApi, planted: Planted): Promise<void> {
  canaryDocker(node, planted);
  canaryPlugins(node, planted);
  canaryPullSecret(api, planted.kubeSecret);
  await writeCanaryKubeconfig(join(node.dir, "own", "secrets"), api, planted.kubeToken);
}

/** Mounts an image of each provider; at first each has a credential that only nydusd knows. */
async function mounts(node: SimNode, planted: Planted): Promise<void> {
  const pair = `u:${planted.adopted}`;
  const images = [
    `${node.passwordRegistry.host}/base/os:1`,
    "identity.example.com/a:1",
    "bearer.example.com/a:1",
    "huge.example.com/a:1",
    "helper.example.com/a:1",
    "plugin.example.com/a:1",
    "jwt.example.com/a:1",
    "failing.example.com/a:1",
    "babbling.example.com/a:1",
    "account.example.com/a:1",
    "kube.example.com/team/a:1",
    "cri.example.com/a:1",
    "adopted.example.com/a:1",
  ];
  await node.addDaemon({ id: "s1", mode: "shared", images, pair });
  await node.addDaemon({ id: "d1", mode: "dedicated", images: images.slice(0, 1), pair });
  await node.addDaemon({
    id: "d2",
    mode: "dedicated",
    images: images.slice(5, 6),
    pair,
    version: "2.4.0",
  });
}

/** Causes everything that the agent logs: deliveries, rejections, invalid files, broken peers. */
async function exercise(
  agent: AgentProcess,
  node: SimNode,
  planted: Planted,
  memory: MemoryFolder,
  captured: CapturedText[],
): Promise<void> {
  const shared = node.daemons.get("s1");
  const dedicated = node.daemons.get("d1");
  ok(shared && dedicated);
  const hasPair = (i: number, pair: string) => async () =>
    await shared.currentAuth(shared.instances[i]?.mountId ?? "") === pair;
  await agent.until("docker's", hasPair(0, `robot:${planted.docker}`));
  await agent.until("the helper's", hasPair(4, `u:${planted.helper}`));
  await agent.until("the plugin's", hasPair(5, `u:${planted.plugin}`));
  await agent.until("the pull secret's", hasPair(10, `robot:${planted.kubeSecret}`));
  await pullThroughCriProxy(memory.dir, "cri.example.com/a:1", planted.cri);
  if (memory.inMemory) {
    const state = join(memory.dir, "cri-pulls.json");
    await agent.until("the CRI proxy's state", () => fileContains(state, "cri.example"));
  }
  const detected = new CanaryDetector({ control: planted.docker });
  const file = Deno.readTextFileSync(dedicated.instances[0]?.configPath ?? "");
  ok(detected.find(file).length > 0, "the secret is delivered, so the test is meaningful");
  captured.push(...await pages(agent.base));

  await dedicated.setFault("error-500");
  await shared.setFault("truncated");
  canaryDocker(node, { ...planted, docker: planted["docker-second"] });
  await node.readAll();
  await pause(1_500);
  captured.push(...await pages(agent.base));
  await dedicated.setFault("none");
  await shared.setFault("none");
  await agent.until("docker's second", hasPair(0, `robot:${planted["docker-second"]}`));
  for (const path of [node.dockerConfigPath, node.providerConfigPath]) {
    const text = Deno.readTextFileSync(path);
    for (const broken of [text.slice(0, -20), `${text}}]`, text.replace(":", ";")]) {
      const written = agent.log.length;
      Deno.writeTextFileSync(path, broken);
      agent.signal("SIGHUP");
      await agent.until("a log line", () => agent.log.length > written);
      await pause(300);
    }
    captured.push(...await pages(agent.base));
    Deno.writeTextFileSync(path, text);
  }
  agent.signal("SIGHUP");
  await pause(500);
  captured.push(...await pages(agent.base));
}

function fileContains(path: string, text: string): boolean {
  try {
    return Deno.readTextFileSync(path).includes(text);
  } catch {
    return false;
  }
}

/** Returns the output of commands that do not print a credential. */
async function commands(
  node: SimNode,
  more: string,
  env: Readonly<Record<string, string>>,
): Promise<readonly CapturedText[]> {
  const config = join(node.dir, "agent.toml");
  ok(Deno.readTextFileSync(config).includes(more));
  const args = ["--config", config];
  const images = ["plugin", "jwt", "failing", "babbling", "helper", "identity", "kube", "account"];
  const argumentLists = [
    ["check", ...args],
    ["check", ...args, "--output", "json"],
    ...images.map((name) => ["explain", `${name}.example.com/a:1`, ...args]),
    ["explain", "plugin.example.com/a:1", "--output", "json", ...args],
    ["support-bundle", join(node.dir, "support.tar"), ...args],
    ["get", "failing.example.com/a:1", ...args],
    ["get", "nowhere.example.com/a:1", ...args],
  ];
  const captured: CapturedText[] = [];
  for (const words of argumentLists) {
    const { out, err } = await command(words, env);
    ok(out + err !== "", `${words.join(" ")} printed nothing`);
    captured.push({ where: `command ${words[0]} ${words[1]}`, text: out + err });
  }
  return captured;
}

/** Expected: the provider configuration sets it in the environment of its plugins. */
const EXPECTED = /^plugin-env \(\w+\) in environ of a child$/;

async function judge(
  planted: Planted,
  captured: readonly CapturedText[],
  node: SimNode,
  memory: MemoryFolder,
): Promise<void> {
  const request = await Deno.readTextFile(join(node.dir, "own", "secrets", "request"));
  const { serviceAccountToken } = JSON.parse(request);
  const signed = String(serviceAccountToken).split(".")[1] ?? "";
  const detector = new CanaryDetector({ ...planted, accountToken: signed });
  const finds = captured.flatMap(({ where, text }) =>
    detector.find(text).map(({ source, form }) => `${source} (${form}) in ${where}`)
  ).filter((find) => !EXPECTED.test(find));
  deepStrictEqual([...new Set(finds)], []);
  const mayHold = [
    node.dockerConfigPath,
    node.providerConfigPath,
    join(node.dir, "own", "secrets"),
    join(node.root, "config"),
    join(memory.dir, "cri-pulls.json"),
  ];
  // What the simulated nydusd were given they write down, for the tests.
  const written = filesBelow([node.dir, memory.dir]).filter(({ path }) => !path.endsWith(".puts"));
  for (const { path, mode, text } of written) {
    if (detector.find(text).length === 0) continue;
    ok(mayHold.some((place) => path.startsWith(place)), `a secret in ${path}`);
    const ours = path.startsWith(node.root) || path.startsWith(memory.dir);
    if (ours) strictEqual(mode, 0o600, `${path} is ${mode.toString(8)}`);
  }
  const left = written.filter(({ path }) => path.includes(".tmp"));
  deepStrictEqual(left.map(({ path }) => path), [], "temporary files were left");
}
