import { join } from "@std/path";
import type { AgentConfig } from "../config/mod.ts";
import { Deadline, messageOf } from "../model/mod.ts";
import type { HealthView } from "../observability/mod.ts";
import type { Context } from "../platform/mod.ts";
import {
  lintPlugins,
  openProviderConfig,
  parseDockerConfig,
  type ProviderConfigReading,
} from "../providers/mod.ts";
import { dockerConfigPath, openKube } from "./chain.ts";
import { checkHost, checkRestarts } from "./check_host.ts";
import { checkImage } from "./check_image.ts";
import {
  checkCriProxy,
  type CheckFindings,
  checkMountedCredentials,
  checkNode,
  finding,
  missing,
} from "./check_node.ts";
import { groupId, hostAndPort } from "./listeners.ts";

/** Input of {@linkcode runChecks}. */
export interface CheckOptions {
  /** Images to query every provider for. */
  readonly refs: readonly string[];
  /** Whether to probe the registry of each image with each credential for it. */
  readonly probe: boolean;
  /** The answer of the running agent, if one answers. */
  readonly running?: { readonly health: HealthView } | undefined;
}

/**
 * Checks everything that `run` uses: configuration files, the host, the node, and every provider
 * for the given images. Changes nothing. A snapshotter or a docker configuration that does not
 * exist yet is only a warning.
 */
export async function runChecks(
  context: Context,
  config: AgentConfig,
  { refs, probe, running }: CheckOptions,
): Promise<CheckFindings> {
  const findings: CheckFindings = { problems: [], warnings: [...config.warnings], passed: [] };
  const docker = await checkDocker(context, config, findings);
  const needsTokens = await checkKubelet(context, config, findings);
  if (needsTokens || config.providers.kubesecret.enabled) {
    await checkKubernetes(context, config, findings);
  }
  if (running !== undefined) checkRunningAgent(running.health, findings);
  await checkHost(context, config, findings, { agentAnswers: running !== undefined });
  await checkAddress(config.server, "server.address", findings);
  await checkAddress(config.metricsServer, "server.metrics_address", findings);
  await checkGroup(context, config, findings);
  await checkCriProxy(context, config, findings);
  await checkRestarts(context, findings);
  const view = await checkNode(context, config, findings);
  if (running === undefined && docker !== undefined) {
    checkMountedCredentials(docker, view, findings);
  }
  for (const ref of refs) await checkImage(context, config, ref, probe, findings);
  return findings;
}

/** Checks docker's configuration, and returns a valid one. */
async function checkDocker(
  context: Context,
  config: AgentConfig,
  { problems, warnings }: CheckFindings,
) {
  const file = dockerConfigPath(context, config);
  if (!config.providers.docker.enabled || file === undefined) return undefined;
  try {
    const text = await context.files.readText(file);
    if (text !== undefined && text.trim() !== "") return { file, config: parseDockerConfig(text) };
    if (text === undefined && config.providers.docker.configPath !== undefined) {
      warnings.push(missing(file, "create it with `docker login`, or fix providers.docker.config"));
    }
  } catch (error) {
    problems.push(finding(file, messageOf(error), "fix the file"));
  }
  return undefined;
}

/** Checks the kubelet's provider configuration; returns whether a plugin needs account tokens. */
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
    findings.problems.push(finding(file, messageOf(error), "make it readable for the agent"));
    return false;
  }
  if (reading === undefined) {
    findings.problems.push(missing(file, "create it, or fix providers.kubelet.config"));
    return false;
  }
  const { plugins, problems, warnings } = reading;
  findings.problems.push(...problems);
  findings.warnings.push(...warnings, ...lintPlugins(plugins, host.env, file));
  for (const { name, path = join(binDir, name) } of plugins) {
    const stat = await files.stat(path).catch(() => undefined);
    if (stat === undefined) findings.problems.push(missing(path, "install the plugin there"));
    else if (stat.kind !== "file" || (stat.mode & 0o111) === 0) {
      findings.problems.push(finding(path, "it is not executable", `chmod +x ${path}`));
    }
  }
  return plugins.some(({ tokenAttributes }) => tokenAttributes !== undefined);
}

/** Checks the credentials for the Kubernetes API server, without a request to it. */
async function checkKubernetes(
  context: Context,
  config: AgentConfig,
  { problems }: CheckFindings,
): Promise<void> {
  const kube = await openKube(context, config, () => {});
  try {
    problems.push(...await kube.check());
  } finally {
    kube[Symbol.dispose](); // not `using`: the minifier drops it for a value that is used once
  }
}

/**
 * Adds what the running agent finds wrong. It runs in the sandbox of its unit or in a container,
 * where other paths are writable than for this command.
 */
function checkRunningAgent({ checks }: HealthView, { warnings, passed }: CheckFindings): void {
  const failing = checks.filter(({ ok }) => !ok);
  for (const { name, text } of failing) {
    const problem = `its check "${name}" fails: ${text}`;
    warnings.push(finding("the running agent", problem, "run: nydus-auth-agent status"));
  }
  if (failing.length === 0) passed.push("the running agent: all checks pass");
}

const CONNECT_TIMEOUT_MS = 2_000;

/** Checks whether another program listens on an address of the agent. */
export async function checkAddress(
  server: AgentConfig["server"],
  key: string,
  { problems, passed }: CheckFindings,
): Promise<void> {
  if (server === undefined || server.port === 0) return;
  const address = addressOf(server);
  const inUse = finding(
    address,
    "another program listens there, so the agent cannot start",
    `stop that program, or change ${key}`,
  );
  using deadline = new Deadline(CONNECT_TIMEOUT_MS);
  try {
    const { signal } = deadline;
    const response = await fetch(`http://${address}/livez`, { redirect: "manual", signal });
    const text = await response.text();
    // Every response of the agent has this header.
    const isAgent = (text === "ok\n" || response.status === 503) &&
      response.headers.has("content-security-policy");
    if (isAgent) passed.push(`server: an agent answers at ${address}`);
    else problems.push(inUse);
  } catch {
    // A refused connection is expected: the agent does not run yet.
    if (deadline.passed) problems.push(inUse);
  }
}

/** Returns where clients connect to a server: loopback for a wildcard address. */
export function addressOf(
  { hostname, port }: NonNullable<AgentConfig["server"]>,
): string {
  if (hostname === "0.0.0.0") return `127.0.0.1:${port}`;
  return hostAndPort({ hostname: hostname === "::" ? "::1" : hostname, port });
}

/** Checks the group of the local API, which is not served without it. */
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
