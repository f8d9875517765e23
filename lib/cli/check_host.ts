import { basename, join } from "@std/path";
import type { AgentConfig } from "../config/mod.ts";
import { findProcesses, type FoundProcess } from "../discovery/mod.ts";
import { findProviderConfig } from "../providers/exec_plugin/mod.ts";
import { dockerConfigPath } from "../agent/mod.ts";
import { about, type CheckFindings } from "./check_findings.ts";
import type { Context } from "../platform/mod.ts";

/** Looks at the host: its clock, who may read and write what decides, and other agents. */
export async function checkHost(
  context: Context,
  config: AgentConfig,
  findings: CheckFindings,
  { agentAnswers = false }: { readonly agentAnswers?: boolean } = {},
): Promise<void> {
  await checkClock(context, findings);
  await checkModes(context, config, findings);
  await checkAgents(context, findings, agentAnswers);
}

/** No agent was built before it: an earlier clock is a machine that has lost its time. */
const EARLIEST_MS = Date.UTC(2025, 0, 1);
const TIMESYNC = "/run/systemd/timesync";

async function checkClock({ clock, files }: Context, findings: CheckFindings): Promise<void> {
  const nowMs = clock.wallMs();
  const remedy = "set it, and let systemd-timesyncd or chrony keep it: tokens end by this clock";
  if (nowMs < EARLIEST_MS) {
    const problem = `it says ${new Date(nowMs).toISOString()}, which is long ago`;
    findings.problems.push(about("the clock", problem, remedy));
    return;
  }
  const runs = await files.stat(TIMESYNC).catch(() => undefined);
  const isSynchronized = await files.stat(join(TIMESYNC, "synchronized")).catch(() => undefined);
  if (runs !== undefined && isSynchronized === undefined) {
    findings.warnings.push(about("the clock", "systemd-timesyncd has not set it yet", remedy));
    return;
  }
  findings.fine.push(`clock: ${new Date(nowMs).toISOString()}`);
}

/** Files with secrets are for their owner; what is executed is written by its owner alone. */
async function checkModes(
  context: Context,
  config: AgentConfig,
  findings: CheckFindings,
): Promise<void> {
  const { files } = context;
  const { kubelet, docker } = config.providers;
  const dockerFile = docker.enabled ? dockerConfigPath(context, config) : undefined;
  const secret = dockerFile === undefined ? [] : [dockerFile];
  const plugins = kubelet.enabled
    ? await findProviderConfig(kubelet.configPath, files).catch(() => undefined)
    : undefined;
  const deciding = [
    ...config.files,
    ...(kubelet.enabled ? [kubelet.configPath] : []),
    ...(plugins?.paths ?? []).filter((path) => path !== kubelet.configPath),
  ];
  const folders = kubelet.enabled ? [kubelet.binDir] : [];
  const programs = kubelet.enabled
    ? (await files.list(kubelet.binDir).catch(() => [])).map((name) => join(kubelet.binDir, name))
    : [];
  const modeOf = async (path: string) => (await files.stat(path).catch(() => undefined))?.mode ?? 0;
  for (const path of secret) {
    if (((await modeOf(path)) & 0o044) === 0) continue;
    const problem = "others than its owner can read the passwords in it";
    findings.warnings.push(about(path, problem, `chmod 600 ${path}`));
  }
  for (const path of [...deciding, ...folders, ...programs]) {
    if (((await modeOf(path)) & 0o002) === 0) continue;
    const problem = "everybody can write it, and so decide what the agent executes";
    findings.warnings.push(about(path, problem, `chmod o-w ${path}`));
  }
}

const NAME = "nydus-auth-agent";

async function checkAgents(
  { host, processRunner }: Context,
  findings: CheckFindings,
  agentAnswers: boolean,
): Promise<void> {
  const found = await findProcesses(processRunner, NAME);
  if (found === undefined) return;
  const agents = found.filter((one) => one.pid !== host.pid && isAgent(one));
  if (agents.length < 2) {
    // One that answers may be in another namespace, or run under another name.
    const none = agentAnswers ? "one answers, its process is not visible here" : "none runs here";
    findings.fine.push(`agents: ${agents[0] === undefined ? none : `process ${agents[0].pid}`}`);
    return;
  }
  const pids = agents.map(({ pid }) => pid).join(", ");
  const problem =
    `${agents.length} of them run on this node (processes ${pids}): both renew, and ` +
    "each undoes what the other delivers where their sources differ";
  const remedy = "keep one: the systemd unit, or the DaemonSet";
  findings.warnings.push(about(NAME, problem, remedy));
}

/** `nydus-auth-agent … run …`, by whatever path. */
export function isAgent({ argv: [program = "", ...args] }: FoundProcess): boolean {
  return basename(program) === NAME && args.includes("run");
}
