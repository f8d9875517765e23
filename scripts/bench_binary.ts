// deno-lint-ignore-file no-console -- a benchmark prints its results
/**
 * `deno task bench:binary`: measures file size, startup time and memory of the compiled agent, as
 * ratios to a hello-world that is compiled in the same run with the same tool and flags.
 *
 * @module
 */
import { join } from "@std/path";
import { fileURLToPath } from "node:url";
import { formatRatios, isWithin, median, type Ratio } from "./lib/bench.ts";
import { serveBenchNode } from "./lib/bench_node.ts";
import { buildInfo, type BuildTools, bundleAgent, compile, denoVersion } from "./lib/compile.ts";
import { BuildError, parseTarget, runScript } from "./lib/toolchain.ts";

const RUNS = 15;
const DAEMONS = 3;
const COMPLETE_AFTER_MS = 5_000;
const HELLO = `console.log("hello, world");
if (Deno.args[0] === "wait") setInterval(() => {}, 2 ** 30);
`;

async function main(): Promise<number> {
  const denort = Deno.env.get("DENORT_BIN") ?? "";
  const tools: BuildTools = {
    root: fileURLToPath(new URL("..", import.meta.url)),
    deno: Deno.env.get("DENO") ?? Deno.execPath(),
    ...(denort === "" ? {} : { denort }),
  };
  const folder = await Deno.makeTempDir({ prefix: "nydus-auth-agent-bench-" });
  try {
    const { agent, hello } = await build(tools, folder);
    const ratios = [
      await fileSize(agent, hello),
      await startToVersion(agent, hello),
      await startToAnswer(agent, hello, folder),
      await startToReady(agent, hello),
      await idleMemory(agent, hello),
    ];
    console.log(formatRatios(ratios));
    return ratios.every(isWithin) ? 0 : 1;
  } finally {
    await Deno.remove(folder, { recursive: true });
  }
}

async function build(tools: BuildTools, folder: string) {
  const { version, target } = await denoVersion(tools.deno);
  const agent = join(folder, "nydus-auth-agent");
  const hello = join(folder, "hello");
  const modules = await bundleAgent(tools, await buildInfo(tools, version), `${agent}.modules`);
  await compile(tools, parseTarget(target), modules, agent);
  await Deno.mkdir(`${hello}.modules`);
  const module = join(`${hello}.modules`, "main.js");
  await Deno.writeTextFile(module, HELLO);
  await compile(tools, parseTarget(target), module, hello);
  return { agent, hello };
}

async function fileSize(agent: string, hello: string): Promise<Ratio> {
  const mib = async (path: string) => (await Deno.stat(path)).size / 2 ** 20;
  const figures = { agent: await mib(agent), hello: await mib(hello) };
  return { name: "file size", ...figures, unit: "MiB", limit: 1.05 };
}

// Alternates between both, so that other load on the machine affects both.
async function alternate(
  agent: () => Promise<number>,
  hello: () => Promise<number>,
): Promise<{ readonly agent: number; readonly hello: number }> {
  const figures = { agent: [] as number[], hello: [] as number[] };
  for (let i = 0; i < RUNS; i++) {
    figures.agent.push(await agent());
    figures.hello.push(await hello());
  }
  return { agent: median(figures.agent), hello: median(figures.hello) };
}

async function runMs(
  path: string,
  args: readonly string[],
  { input = "", env = {} }: { readonly input?: string; readonly env?: Record<string, string> } = {},
): Promise<number> {
  const startedMs = performance.now();
  await using child = new Deno.Command(path, {
    args: [...args],
    env,
    stdin: "piped",
    stdout: "piped",
    stderr: "null",
  }).spawn();
  const writer = child.stdin.getWriter();
  await writer.write(new TextEncoder().encode(input));
  await writer.close();
  const { success } = await child.output();
  if (!success) throw new BuildError(`failed to run ${path} ${args.join(" ")}`);
  return performance.now() - startedMs;
}

async function startToVersion(agent: string, hello: string): Promise<Ratio> {
  const figures = await alternate(() => runMs(agent, ["--version"]), () => runMs(hello, []));
  return { name: "start to --version", ...figures, unit: "ms", limit: 2.0 };
}

/** As the kubelet's credential provider plugin, which answers from a running agent. */
async function startToAnswer(agent: string, hello: string, folder: string): Promise<Ratio> {
  const plugin = join(folder, "nydus-credential-provider");
  await Deno.symlink(agent, plugin);
  const NYDUS_AUTH_AGENT_API_SOCKET = join(folder, "api.sock");
  const served = { form: "basic", username: "u", password: "p" };
  await using _agent = Deno.serve({
    path: NYDUS_AUTH_AGENT_API_SOCKET,
    transport: "unix",
    onListen: () => {},
    handler: () => Response.json({ provider: "kubelet", credential: served }),
  });
  const apiVersion = "credentialprovider.kubelet.k8s.io/v1";
  const kind = "CredentialProviderRequest";
  const input = JSON.stringify({ kind, apiVersion, image: "registry.example.com/app:1" });
  const env = { NYDUS_AUTH_AGENT_API_SOCKET };
  const figures = await alternate(
    () => runMs(plugin, [], { input, env }),
    () => runMs(hello, [], { input }),
  );
  return { name: "start to answer the kubelet", ...figures, unit: "ms", limit: 2.0 };
}

/** Runs the agent on its own node while `act` runs. */
async function withAgent<T>(
  path: string,
  act: (pid: number, readyMs: number) => Promise<T>,
): Promise<T> {
  await using node = await serveBenchNode(DAEMONS);
  const startedMs = performance.now();
  await using child = new Deno.Command(path, {
    args: ["run", ...node.args],
    env: { ...node.env },
    stdout: "null",
    stderr: "null",
  }).spawn();
  const ended = child.status.then(({ code }) => {
    throw new BuildError(`failed to run ${path}: exited with code ${code} before it was ready`);
  });
  ended.catch(() => {});
  await Promise.race([node.ready(), ended]);
  const result = await act(child.pid, performance.now() - startedMs);
  if (node.fresh() !== DAEMONS) {
    throw new BuildError("failed to run the agent: a daemon has the old credential");
  }
  child.kill("SIGKILL");
  await child.status;
  return result;
}

async function startToReady(agent: string, hello: string): Promise<Ratio> {
  const agentMs = () => withAgent(agent, (_pid, readyMs) => Promise.resolve(readyMs));
  const figures = await alternate(agentMs, () => runMs(hello, []));
  return { name: "start to first reconcile", ...figures, unit: "ms", limit: 4.0 };
}

async function residentMib(pid: number): Promise<number> {
  await new Promise((resolve) => setTimeout(resolve, COMPLETE_AFTER_MS));
  const status = await Deno.readTextFile(`/proc/${pid}/status`);
  const kib = /^VmRSS:\s+([0-9]+) kB$/m.exec(status)?.[1];
  if (kib === undefined) {
    throw new BuildError(`failed to read the memory of process ${pid}: no VmRSS`);
  }
  return Number(kib) / 1024;
}

async function idleMemory(agent: string, hello: string): Promise<Ratio> {
  const agentMib = await withAgent(agent, residentMib);
  await using child = new Deno.Command(hello, { args: ["wait"], stdout: "null" }).spawn();
  const helloMib = await residentMib(child.pid);
  child.kill("SIGKILL");
  return { name: "idle memory", agent: agentMib, hello: helloMib, unit: "MiB", limit: 1.4 };
}

if (import.meta.main) {
  await runScript(main);
}
