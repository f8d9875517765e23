import { dirname, join } from "@std/path";
import type { AgentConfig } from "../config/mod.ts";
import {
  type ConfigProblem,
  type Daemon,
  encodeRegistryAuth,
  type FileStat,
  type FileSystem,
  joinNames,
  type NodeView,
  type RafsInstance,
} from "../model/mod.ts";
import type { Context } from "../platform/mod.ts";
import { credentialsOf, type DockerConfig, findAuth } from "../providers/mod.ts";
import { discoverOnce } from "./explanation.ts";

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

/**
 * Reports mounts whose credential is not that of a docker configuration, for a node where no agent
 * runs that would deliver it. A running agent reports outdated mounts itself.
 */
export function checkMountedCredentials(
  { file, config }: { readonly file: string; readonly config: DockerConfig },
  { daemons }: NodeView,
  { warnings }: CheckFindings,
): void {
  const isOutdated = ({ image, mountId = "" }: RafsInstance, auths: Daemon["currentAuth"]) => {
    const found = image && findAuth(config, image.registry);
    const [credential] = found === undefined ? [] : credentialsOf(found.auth);
    const current = auths?.get(mountId);
    return credential?.kind === "basic" && current !== undefined &&
      !encodeRegistryAuth(credential).equals(current);
  };
  const images = daemons.flatMap(({ instances, currentAuth }) =>
    instances.flatMap((one) => isOutdated(one, currentAuth) ? [one.image?.text ?? ""] : [])
  );
  if (images.length === 0) return;
  const problem = `mounts have another credential than it: ${joinNames(images)}`;
  warnings.push(finding(file, problem, "start the agent, which delivers the newest"));
}

const UNIT = "/etc/systemd/system/nydus-auth-agent.service";
const TMPFILES = "/etc/tmpfiles.d";
const DOCS = "see docs/cri-proxy.md";

/**
 * Checks that the unit and tmpfiles.d, which set the CRI link while no agent runs, point it to the
 * configured container runtime. Pulls fail as soon as the agent stops when they do not.
 */
export async function checkCriProxy(
  { files }: Pick<Context, "files">,
  { providers: { cri } }: AgentConfig,
  { problems, warnings, passed }: CheckFindings,
): Promise<void> {
  const { enabled, link, imageServiceSocket } = cri;
  if (!enabled || link === undefined) return;
  const before = problems.length + warnings.length;
  const wrong = (file: string, target: string, when: string, remedy: string) => {
    const problem = `it points ${link} to ${target} ${when}, but the container runtime is at ` +
      `${imageServiceSocket} (providers.cri.image_service): pulls then fail`;
    problems.push(finding(file, problem, `${remedy}; ${DOCS}`));
  };
  const unit = await files.readText(UNIT).catch(() => undefined);
  if (unit === undefined) {
    // The unit would create it.
    const folder = dirname(link);
    if (await files.stat(folder).catch(() => undefined) === undefined) {
      const remedy = `create ${folder}; ${DOCS}`;
      warnings.push(finding(link, "its folder does not exist", remedy));
    }
  } else {
    const stopped = stopTarget([unit, ...await dropIns(files, `${UNIT}.d`)], link);
    const remedy = "set ExecStopPost= in a drop-in of the unit";
    if (stopped === undefined) {
      const problem = `nothing in it points ${link} to ${imageServiceSocket} after the agent's end`;
      warnings.push(finding(UNIT, problem, `${remedy}; ${DOCS}`));
    } else if (stopped !== imageServiceSocket) {
      wrong(UNIT, stopped, "when the agent has stopped", remedy);
    }
    const booted = bootTarget(await dropIns(files, TMPFILES), link);
    if (booted === undefined) {
      const problem = `no line creates ${link} at boot: a kubelet that starts before the agent ` +
        "exits at once";
      const remedy = `run: nydus-auth-agent show nydus-auth-agent.tmpfiles.conf > ${TMPFILES}/` +
        `nydus-auth-agent.conf; ${DOCS}`;
      problems.push(finding(TMPFILES, problem, remedy));
    } else if (booted !== imageServiceSocket) wrong(TMPFILES, booted, "at boot", "fix that line");
  }
  if (problems.length + warnings.length > before) return;
  passed.push(`CRI proxy: ${link} points to ${imageServiceSocket} while no agent serves`);
}

/** Returns the texts of the `.conf` files in a folder. */
async function dropIns(files: FileSystem, folder: string): Promise<readonly string[]> {
  const names = (await files.list(folder).catch(() => [])).filter((name) => name.endsWith(".conf"));
  const read = (name: string) => files.readText(join(folder, name)).catch(() => undefined);
  return (await Promise.all(names.map(read))).map((text = "") => text);
}

function wordsOf(texts: readonly string[]): readonly (readonly string[])[] {
  return texts.flatMap((text) => text.split("\n")).map((line) => line.trim().split(/\s+/));
}

/** Returns the target of the last `ExecStopPost=… ln … TARGET LINK`; an empty value resets. */
function stopTarget(unit: readonly string[], link: string): string | undefined {
  const commands = wordsOf(unit).filter(([first = ""]) => first.startsWith("ExecStopPost="));
  const reset = commands.findLastIndex((words) => words.length === 1);
  return commands.slice(reset + 1).findLast((words) => words.at(-1) === link)?.at(-2);
}

/** Returns the target of the first line of tmpfiles.d that creates the link. */
function bootTarget(tmpfiles: readonly string[], link: string): string | undefined {
  return wordsOf(tmpfiles).find(([type = "", path]) => type.startsWith("L") && path === link)
    ?.at(-1);
}
