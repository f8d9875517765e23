import { basename, dirname, join } from "@std/path";
import type { AgentConfig } from "../config/mod.ts";
import type { ConfigProblem, Daemon, FileStat, NodeView } from "../model/mod.ts";
import type { Context } from "../platform/mod.ts";
import { providerConfigPaths } from "../providers/mod.ts";
import { dockerConfigPath } from "./chain.ts";
import { discoverOnce } from "./explanation.ts";
import { findProcesses, type FoundProcess } from "./processes.ts";

/** Results of `check`. */
export interface CheckFindings {
  /** Keep the agent from working. */
  readonly problems: ConfigProblem[];
  readonly warnings: ConfigProblem[];
  /** Checks that passed, such as `sockets: 3 of 3 nydusd answer`. */
  readonly passed: string[];
}

/** Returns a finding about a file, a socket or a program as a whole. */
export function finding(file: string, problem: string, remedy: string): ConfigProblem {
  return { file, place: "", problem, remedy };
}

/** Returns a finding about a file that does not exist. */
export function missing(file: string, remedy: string): ConfigProblem {
  return finding(file, "it does not exist", remedy);
}

/** Checks the host: its clock, permissions of files, and other agents. */
export async function checkHost(
  context: Context,
  config: AgentConfig,
  findings: CheckFindings,
  { agentAnswers }: { readonly agentAnswers: boolean },
): Promise<void> {
  await checkClock(context, findings);
  await checkPermissions(context, config, findings);
  await checkAgents(context, findings, agentAnswers);
}

/** Older than any build of the agent. */
const EARLIEST_MS = Date.UTC(2025, 0, 1);
const TIMESYNC = "/run/systemd/timesync";

async function checkClock(
  { clock, files }: Context,
  { problems, warnings, passed }: CheckFindings,
): Promise<void> {
  const nowMs = clock.wallMs();
  const time = new Date(nowMs).toISOString();
  const remedy = "set it, and run systemd-timesyncd or chrony: tokens expire by this clock";
  if (nowMs < EARLIEST_MS) {
    problems.push(finding("the clock", `it is wrong: ${time}`, remedy));
    return;
  }
  const runs = await files.stat(TIMESYNC).catch(() => undefined);
  const isSynchronized = await files.stat(join(TIMESYNC, "synchronized")).catch(() => undefined);
  if (runs !== undefined && isSynchronized === undefined) {
    warnings.push(finding("the clock", "systemd-timesyncd has not set it yet", remedy));
    return;
  }
  passed.push(`clock: ${time}`);
}

/** Checks that secrets are private, and that only owners can write what the agent executes. */
async function checkPermissions(
  context: Context,
  config: AgentConfig,
  { warnings }: CheckFindings,
): Promise<void> {
  const { files } = context;
  const { kubelet, docker } = config.providers;
  const modeOf = async (path: string) => (await files.stat(path).catch(() => undefined))?.mode ?? 0;
  const dockerFile = docker.enabled ? dockerConfigPath(context, config) : undefined;
  if (dockerFile !== undefined && ((await modeOf(dockerFile)) & 0o044) !== 0) {
    const problem = "other users can read the passwords in it";
    warnings.push(finding(dockerFile, problem, `chmod 600 ${dockerFile}`));
  }
  const paths = new Set(config.files);
  if (kubelet.enabled) {
    const found = await providerConfigPaths(kubelet.configPath, files).catch(() => undefined);
    const programs = await files.list(kubelet.binDir).catch(() => []);
    for (const path of [kubelet.configPath, ...found ?? [], kubelet.binDir]) paths.add(path);
    for (const name of programs) paths.add(join(kubelet.binDir, name));
  }
  for (const path of paths) {
    if (((await modeOf(path)) & 0o002) === 0) continue;
    const problem = "every user can write it, and so decide what the agent executes";
    warnings.push(finding(path, problem, `chmod o-w ${path}`));
  }
}

const NAME = "nydus-auth-agent";

async function checkAgents(
  { host, processRunner }: Context,
  { warnings, passed }: CheckFindings,
  agentAnswers: boolean,
): Promise<void> {
  const found = await findProcesses(processRunner, NAME);
  if (found === undefined) return;
  const agents = found.filter((process) => process.pid !== host.pid && isAgent(process));
  if (agents.length < 2) {
    // An agent that answers may be in another namespace, or have another name.
    const none = agentAnswers ? "one answers, its process is not visible here" : "none runs here";
    passed.push(`agents: ${agents[0] === undefined ? none : `process ${agents[0].pid}`}`);
    return;
  }
  const pids = agents.map(({ pid }) => pid).join(", ");
  const problem = `${agents.length} agents run on this node (processes ${pids}): both renew, and ` +
    "each overwrites what the other delivers when their providers differ";
  warnings.push(finding(NAME, problem, "keep one: the systemd unit, or the DaemonSet"));
}

/** Returns whether a process is `nydus-auth-agent … run …`, in any folder. */
export function isAgent({ argv: [program = "", ...args] }: FoundProcess): boolean {
  return basename(program) === NAME && args.includes("run");
}

/**
 * Checks the node as `run` sees it: sockets, every nydusd, and folders that must be writable. Returns
 * what was discovered.
 */
export async function checkNode(
  context: Context,
  config: AgentConfig,
  findings: CheckFindings,
): Promise<NodeView> {
  const { files } = context;
  const { node } = config;
  for (const path of [node.root, ...(node.systemSocket === undefined ? [] : [node.systemSocket])]) {
    const stat = await files.stat(path).catch(() => undefined);
    if (stat === undefined) {
      findings.warnings.push(missing(path, "start nydus-snapshotter, or fix the path"));
    }
  }
  const view = await discoverOnce(context, config);
  for (const { subject, detail } of view.problems) {
    if (detail.startsWith("the socket does not exist")) continue; // reported above
    findings.warnings.push(finding(subject, detail, "check whether nydus-snapshotter runs"));
  }
  for (const daemon of view.daemons) checkDaemon(daemon, findings);
  await checkConfigFolders(context, config, view, findings);
  const mounts = view.daemons.reduce((sum, { instances }) => sum + instances.length, 0);
  const running = view.daemons.filter(({ state }) => state === "running").length;
  findings.passed.push(
    `sockets: ${running} of ${view.daemons.length} nydusd answer, with ${mounts} mounts`,
  );
  return view;
}

function checkDaemon(daemon: Daemon, { warnings }: CheckFindings): void {
  const { id, apiSocket, state, stateDetail, version = "" } = daemon;
  if (state !== "running") {
    const reason = stateDetail === undefined ? "" : `: ${stateDetail}`;
    const problem = `nydusd ${id} is ${state}${reason}`;
    warnings.push(finding(apiSocket, problem, "check whether it is stopped"));
  } else if (daemon.configApi === "unsupported") {
    const problem = `nydusd ${id} (${version}) has no configuration API: it reads a new ` +
      "credential only when it starts";
    warnings.push(finding(apiSocket, problem, "use nydusd 2.4.1 or later"));
  }
}

/** Checks the folders of configuration files: a file is replaced by renaming another one. */
async function checkConfigFolders(
  { host, files }: Context,
  { delivery }: AgentConfig,
  view: NodeView,
  findings: CheckFindings,
): Promise<void> {
  if (delivery.configFiles === "never") return;
  const paths = view.daemons.flatMap(({ instances }) =>
    instances.flatMap(({ configPath }) => configPath === undefined ? [] : [configPath])
  );
  const folders = [...new Set(paths.map((path) => dirname(path)))];
  const readOnly: string[] = [];
  for (const folder of folders) {
    const stat = await files.stat(folder).catch(() => undefined);
    if (stat !== undefined && !canWrite(stat, host.uid())) readOnly.push(folder);
  }
  const [first] = readOnly;
  if (first === undefined) {
    if (folders.length > 0) findings.passed.push("permissions: daemons' folders are writable");
    return;
  }
  const others = readOnly.length > 1 ? ` (and ${readOnly.length - 1} more)` : "";
  const problem = `user ${host.uid()} cannot write there${others}: a nydusd that restarts uses ` +
    "the credential of its first start";
  const remedy =
    "run as the folder's owner, as `show nydus-auth-agent-own-user.service` does, or " +
    'set delivery.config_files = "never"';
  findings.warnings.push(finding(first, problem, remedy));
}

/** Returns whether a user can write, by owner and mode alone: not by capabilities and ACLs. */
export function canWrite({ mode, uid }: FileStat, ourUid: number): boolean {
  if (ourUid === 0) return true;
  return uid === ourUid ? (mode & 0o200) !== 0 : (mode & 0o022) !== 0;
}
