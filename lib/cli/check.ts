import { join } from "@std/path";
import type { AgentConfig } from "../config/mod.ts";
import { type ConfigProblem, formatProblem, messageOf } from "../model/mod.ts";
import { profileOfPlugin } from "../model/mod.ts";
import {
  openProviderConfig,
  type PluginDefinition,
  type ProviderConfigReading,
} from "../providers/exec_plugin/mod.ts";
import { parseDockerConfig } from "../providers/docker/mod.ts";
import { dockerConfigPath } from "../agent/mod.ts";
import { type CheckFindings, missing } from "./check_findings.ts";
import { checkHost } from "./check_host.ts";
import { checkImage } from "./check_image.ts";
import { checkNode } from "./check_node.ts";
import { checkRunningAgent, checkServer } from "./check_server.ts";
import { checkCriProxy } from "./check_cri_proxy.ts";
import type { Context } from "../platform/mod.ts";
import { EXIT } from "../model/mod.ts";
import { type Flags, loadConfig } from "../config/mod.ts";
import { kubeParts } from "../agent/mod.ts";
import { groupId } from "../agent/mod.ts";
import { printable } from "./table.ts";

/** Options of `check`. */
export interface CheckOptions {
  /** Images to try every source for. */
  readonly refs: readonly string[];
  /** An image whose registry is asked about each credential for it. */
  readonly probe?: string;
}

/**
 * `check`: reads everything that `run` would, looks at the node and the host, tries every source
 * for the images that are named, and says what is wrong. Exit code 0 or 2; a snapshotter or a
 * docker configuration that is not there yet is no problem. With an image to probe its registry is
 * asked as well, whatever else is wrong, and the exit code is 1 where it accepts none of the
 * credentials.
 */
export async function check(
  context: Context,
  flags: Flags,
  { refs, probe }: CheckOptions = { refs: [] },
): Promise<number> {
  const { host } = context;
  const config = await loadConfig(context, flags);
  const findings: CheckFindings = { problems: [], warnings: [...config.warnings], fine: [] };
  await checkDocker(context, config, findings);
  const wantsTokens = await checkKubelet(context, config, findings);
  if (wantsTokens || config.providers.kubesecret.enabled) {
    await checkKube(context, config, findings);
  }
  const agentAnswers = await checkRunningAgent(context, config, findings);
  await checkHost(context, config, findings, { agentAnswers });
  await checkServer(config, findings);
  await checkGroup(context, config, findings);
  await checkCriProxy(context, config, findings);
  await checkNode(context, config, findings);
  for (const ref of refs) await checkImage(context, config, ref, findings);
  for (const text of findings.fine) host.out(`fine: ${printable(text)}\n`);
  for (const warning of findings.warnings) host.out(`warning: ${said(warning)}\n`);
  for (const problem of findings.problems) host.err(`${said(problem)}\n`);
  const files = config.files.length === 0 ? "defaults only" : config.files.join(", ");
  const isUsable = findings.problems.length === 0;
  if (isUsable) host.out(`ok: ${files} (configuration ${config.hash.slice(0, 12)})\n`);
  if (probe === undefined) return isUsable ? EXIT.ok : EXIT.badConfig;
  const { checkProbe } = await import("./check_probe.ts");
  const code = await checkProbe(context, config, probe);
  return isUsable ? code : EXIT.badConfig;
}

function said(problem: ConfigProblem): string {
  return printable(formatProblem(problem));
}

async function checkDocker(context: Context, config: AgentConfig, findings: CheckFindings) {
  const file = dockerConfigPath(context, config);
  if (!config.providers.docker.enabled || file === undefined) return;
  try {
    const text = await context.files.readText(file);
    if (text !== undefined && text.trim() !== "") parseDockerConfig(text);
    const named = config.providers.docker.configPath !== undefined;
    if (text === undefined && named) {
      findings.warnings.push(missing(file, "write it with `docker login`, or mend its path"));
    }
  } catch (error) {
    findings.problems.push({ file, place: "", problem: messageOf(error), remedy: "mend the file" });
  }
}

/** Without its group the local API is not served at all. */
async function checkGroup(
  { files }: Context,
  { api: { socket, group } }: AgentConfig,
  { problems }: CheckFindings,
): Promise<void> {
  if (socket === undefined || group === undefined) return;
  try {
    await groupId(files, group);
  } catch (error) {
    const remedy = `groupadd --system ${group}, or fix api.group`;
    problems.push({ file: "/etc/group", place: "api.group", problem: messageOf(error), remedy });
  }
}

/** The way to the API server, which is not asked. */
async function checkKube(context: Context, config: AgentConfig, { problems }: CheckFindings) {
  const kube = kubeParts(context, config, () => {});
  try {
    problems.push(...await (await kube.open()).check());
  } finally {
    kube[Symbol.dispose]();
  }
}

/** Whether a plugin wants tokens of service accounts. */
async function checkKubelet(
  { files, host }: Context,
  config: AgentConfig,
  findings: CheckFindings,
): Promise<boolean> {
  const { enabled, configPath: file, binDir } = config.providers.kubelet;
  if (!enabled) return false;
  let reading: ProviderConfigReading | undefined;
  try {
    reading = await openProviderConfig(file, files);
  } catch (error) {
    const remedy = "make it readable for the agent";
    findings.problems.push({ file, place: "", problem: messageOf(error), remedy });
    return false;
  }
  if (reading === undefined) {
    findings.problems.push(missing(file, "write it, or mend providers.kubelet.config"));
    return false;
  }
  const { plugins, problems, warnings } = reading;
  findings.problems.push(...problems);
  findings.warnings.push(...warnings);
  findings.warnings.push(...pluginProfiles(plugins, host.env, file));
  for (const { name } of plugins) {
    const path = join(binDir, name);
    const stat = await files.stat(path).catch(() => undefined);
    if (stat === undefined) findings.problems.push(missing(path, "install the plugin there"));
    else if (stat.kind !== "file" || (stat.mode & 0o111) === 0) {
      const remedy = `chmod +x ${path}`;
      findings.problems.push({ file: path, place: "", problem: "it cannot be executed", remedy });
    }
  }
  return plugins.some(({ tokenAttributes }) => tokenAttributes !== undefined);
}

/** What a cloud's plugin does by default that costs executions, and how to mend it. */
function pluginProfiles(
  plugins: readonly PluginDefinition[],
  environment: Readonly<Record<string, string | undefined>>,
  file: string,
): ConfigProblem[] {
  return plugins.flatMap(({ name, env }, i) => {
    const profile = profileOfPlugin(name);
    const missing = (profile?.remedies ?? []).filter((remedy) =>
      environment[remedy.name] === undefined && env[remedy.name] === undefined
    );
    return missing.map((remedy) => ({
      file,
      place: `providers[${i}].env`,
      problem: `${profile?.name}: ${remedy.why}`,
      remedy: `set ${remedy.name} to ${remedy.value} there`,
    }));
  });
}
