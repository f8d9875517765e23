import { dirname } from "@std/path";
import type { AgentConfig } from "../config/mod.ts";
import { Discovery } from "../discovery/mod.ts";
import { createNydusdApi, createSnapshotterApi, createUnixHttp } from "../platform/mod.ts";
import type { Daemon, FileStat, NodeView } from "../model/mod.ts";
import { about, type CheckFindings, missing } from "./check_findings.ts";
import type { Context } from "../platform/mod.ts";

/** Looks at the node as `run` would: sockets, every nydusd, and what may be written. */
export async function checkNode(
  context: Context,
  config: AgentConfig,
  findings: CheckFindings,
): Promise<void> {
  const { files } = context;
  const { node } = config;
  for (const path of [node.root, ...(node.systemSocket === undefined ? [] : [node.systemSocket])]) {
    const stat = await files.stat(path).catch(() => undefined);
    if (stat === undefined) {
      findings.warnings.push(missing(path, "start nydus-snapshotter, or mend the path"));
    }
  }
  const view = await look(context, config);
  for (const { subject, detail } of view.problems) {
    if (detail.startsWith("the socket does not exist")) continue; // said above
    findings.warnings.push(about(subject, detail, "see whether nydus-snapshotter runs"));
  }
  for (const daemon of view.daemons) checkDaemon(daemon, findings);
  await checkWriting(context, config, view, findings);
  const mounts = view.daemons.reduce((sum, { instances }) => sum + instances.length, 0);
  const running = view.daemons.filter(({ state }) => state === "running").length;
  findings.fine.push(
    `sockets: ${running} of ${view.daemons.length} nydusd answer, with ${mounts} mounts`,
  );
}

async function look({ files }: Context, { node }: AgentConfig): Promise<NodeView> {
  const http = createUnixHttp();
  try {
    return await new Discovery({
      config: node,
      files,
      nydusdApi: createNydusdApi(http),
      snapshotterApi: createSnapshotterApi(http),
    }).discover();
  } finally {
    http[Symbol.dispose]();
  }
}

function checkDaemon(daemon: Daemon, { warnings }: CheckFindings): void {
  const { id, apiSocket, state, stateDetail, version = "" } = daemon;
  if (state !== "running") {
    const why = stateDetail === undefined ? "" : `: ${stateDetail}`;
    warnings.push(about(apiSocket, `nydusd ${id} is ${state}${why}`, "see whether it is stopped"));
  } else if (daemon.configApi === "unsupported") {
    const problem = `nydusd ${id} (${version}) has no configuration API: it takes a new ` +
      "credential only when it starts";
    warnings.push(about(apiSocket, problem, "use nydusd 2.4.1 or later"));
  }
}

/** A file is replaced by another one beside it, so it is the folder that has to be written. */
async function checkWriting(
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
  const closed: string[] = [];
  for (const folder of folders) {
    const stat = await files.stat(folder).catch(() => undefined);
    if (stat !== undefined && !mayWrite(stat, host.uid())) closed.push(folder);
  }
  const [first] = closed;
  if (first === undefined) {
    if (folders.length > 0) findings.fine.push("permissions: daemons' folders can be written");
    return;
  }
  const others = closed.length > 1 ? ` (and ${closed.length - 1} more)` : "";
  const problem = `user ${host.uid()} cannot write there${others}: a nydusd that starts again ` +
    "begins with the credential of its first start";
  const remedy =
    "run as the folder's owner, as `show nydus-auth-agent-own-user.service` does, or " +
    'set delivery.config_files = "never"';
  findings.warnings.push(about(first, problem, remedy));
}

/** By owner and mode alone; a capability or an access list may say otherwise. */
export function mayWrite({ mode, uid }: FileStat, ours: number): boolean {
  if (ours === 0) return true;
  return uid === ours ? (mode & 0o200) !== 0 : (mode & 0o022) !== 0;
}
