import { deepEqual, equal, match, rejects } from "node:assert/strict";
import { createAgent } from "../../../lib/agent/agent.ts";
import { openChain } from "../../../lib/agent/chain.ts";
import type { Context } from "../../../lib/platform/mod.ts";
import { createReload } from "../../../lib/agent/run.ts";
import { type AgentConfig, loadConfig } from "../../../lib/config/mod.ts";
import type { HealthView } from "../../../lib/observability/mod.ts";
import { FakeClock } from "../../fakes/clock.ts";
import { FakeFiles } from "../../fakes/files.ts";
import { FakeHost } from "../../fakes/host.ts";
import { FakeObserver } from "../../fakes/observer.ts";
import { exited, FakeProcessRunner } from "../../fakes/process.ts";
import { FakeRandom } from "../../fakes/random.ts";
import { configText, pairs, requestFor, response } from "../providers/exec_plugin/plugins.ts";

const PATH = "/etc/nydus-auth-agent.toml";
const PLUGINS = "/etc/plugins.yaml";
const KUBELET = `[providers.kubelet]\nconfig = "${PLUGINS}"\nbin_dir = "/bin"\n`;

function stage() {
  const files = new FakeFiles();
  const host = new FakeHost();
  host.env["NYDUS_AUTH_AGENT_CONFIG"] = PATH;
  const runner = new FakeProcessRunner(() => response({ "a.io": ["u", "p"] }));
  const context = {
    host,
    files,
    clock: new FakeClock(),
    random: new FakeRandom(),
    processRunner: runner,
  } as unknown as Context;
  const load = (text: string): Promise<AgentConfig> => {
    files.set(PATH, text);
    return loadConfig({ host: { env: {}, cwd: "/" }, files }, { config: PATH });
  };
  return { context, files, runner, load };
}

/** Parts of an agent that record the configurations they get, by log level. */
function parts(fails: (step: string, level: string) => boolean) {
  const steps: string[] = [];
  const observer = new FakeObserver();
  const step = (name: string) => ({ log }: AgentConfig) => {
    steps.push(`${name} ${log.level}`);
    return fails(name, log.level) ? Promise.reject(new Error(`${name} broke`)) : Promise.resolve();
  };
  return {
    steps,
    observer,
    agent: { reconfigure: (config: AgentConfig) => step("agent")(config).then(() => []) },
    listeners: { listen: step("listeners") },
    health: { view: () => ({ summary: "" }) as HealthView, setRefusedConfig: () => {} },
    log: { setLevel: (level: string) => void steps.push(`log ${level}`) },
    notifier: { reloading: () => Promise.resolve(), ready: () => Promise.resolve() },
  };
}

Deno.test("createReload: undoes earlier steps when a step fails, and the next reload is complete", async () => {
  const expected = {
    listeners: ["listeners debug", "listeners warning"],
    agent: ["listeners debug", "agent debug", "listeners warning"],
  };
  for (const [broken, steps] of Object.entries(expected)) {
    const { context, files, load } = stage();
    let isBroken = true;
    const recorded = parts((step, level) => isBroken && step === broken && level === "debug");
    const first = await load('[log]\nlevel = "warning"\n');
    const reload = createReload(context, { config: PATH }, first, recorded);
    files.set(PATH, '[log]\nlevel = "debug"\n');
    await reload();
    deepEqual(recorded.steps, steps);
    match(recorded.observer.of("config-refused")[0]?.problems[0]?.problem ?? "", /broke/);
    equal(recorded.observer.of("config-loaded").length, 0);
    isBroken = false;
    recorded.steps.length = 0;
    await reload();
    deepEqual(recorded.steps, ["listeners debug", "agent debug", "log debug"]);
  }
});

Deno.test("Agent.reconfigure: keeps the current configuration when a part cannot be built", async () => {
  const { context, files, load } = stage();
  const first = await load("");
  await using agent = await createAgent(context, first, new FakeObserver());
  const { chain } = agent.api;
  const current = chain();
  const watch = files.watch.bind(files);
  let opened = 0;
  files.watch = (paths, changed) => {
    if (++opened === 1) throw new Error("too many watches");
    return watch(paths, changed);
  };
  const next = await load('[providers.docker]\nconfig = "/elsewhere.json"\n');
  await rejects(agent.reconfigure(next), /too many watches/);
  deepEqual([agent.api.config(), chain()], [first, current]);
  equal(agent.status().configHash, first.hash);
  await agent.reconfigure(next);
  equal(agent.api.config(), next);
  equal(chain() === current, false);
});

Deno.test("openChain: executes no plugin or helper again when a reload does not change them", async () => {
  const { context, files, runner, load } = stage();
  const docker = '[providers.docker]\nconfig = "/docker.json"\n';
  files.set(PLUGINS, configText({ name: "p", matchImages: ["a.io"] }));
  files.set("/docker.json", JSON.stringify({ credHelpers: { "b.io": "pass" } }));
  const before = await openChain(context, await load(`${KUBELET}${docker}`));
  const resolve = async (chain: typeof before, image: string) => {
    const { attempts } = await chain.chain.resolve(requestFor(image), { all: true });
    return attempts.flatMap(({ outcome }) => outcome.kind === "none" ? [] : [outcome.reason]);
  };
  deepEqual(await resolve(before, "a.io/x"), ["found"]);
  deepEqual(await resolve(before, "b.io/x"), ["helper-missing"]);
  runner.answer = () => exited("", 1);
  const next = await load(`${KUBELET}timeout = "30s"\n${docker}[log]\nlevel = "debug"\n`);
  const after = await openChain(context, next, new FakeObserver(), { previous: before });
  await before[Symbol.asyncDispose]();
  deepEqual(await resolve(after, "a.io/x"), ["found-in-cache"]);
  equal(runner.requests.length, 1);
  const { attempts } = await after.chain.resolve(requestFor("a.io/x"));
  deepEqual(attempts.flatMap(({ outcome }) => pairs(outcome)), ["u:p"]);
  await after[Symbol.asyncDispose]();
});
