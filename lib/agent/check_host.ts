import { basename, join } from "@std/path";
import type { AgentConfig } from "../config/mod.ts";
import { formatDuration, type ProcessRunner } from "../model/mod.ts";
import type { Context } from "../platform/mod.ts";
import { providerConfigPaths } from "../providers/mod.ts";
import { dockerConfigPath } from "./chain.ts";
import { type CheckFindings, finding } from "./check_node.ts";

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

interface Reader {
  /** Flags with the path of the configuration. */
  readonly flags: readonly string[];
  readonly defaultPath?: string;
  readonly restart: string;
}

/** Programs that read a configuration only when they start. */
const READERS: Readonly<Record<string, Reader>> = {
  "kubelet": {
    flags: ["--image-credential-provider-config"],
    restart: "systemctl restart kubelet",
  },
  "containerd": {
    flags: ["--config", "-c"],
    defaultPath: "/etc/containerd/config.toml",
    restart: "systemctl restart containerd",
  },
  "containerd-nydus-grpc": {
    flags: ["--config"],
    restart: "systemctl restart nydus-snapshotter",
  },
};
/** The program as the first argument, which a zero byte ends. */
const COMMAND_LINE = `^[^ ]*(${Object.keys(READERS).join("|")})($|[^a-z-])`;
/** Start times have a resolution of seconds. */
const TOLERANCE_MS = 2_000;

/**
 * Reports programs that started before their configuration of registries or credential providers
 * changed. containerd reads `hosts.toml` at each pull, and docker's tools their file at each call.
 */
export async function checkRestarts(
  { files, processRunner }: Pick<Context, "files" | "processRunner">,
  { warnings, passed }: CheckFindings,
): Promise<void> {
  const current: string[] = [];
  for (const process of await findProcesses(processRunner, COMMAND_LINE) ?? []) {
    const { pid, argv: [program = ""], startedAtMs } = process;
    const name = basename(program);
    const reader = READERS[name];
    const path = reader && configOf(process, reader);
    if (reader === undefined || path === undefined || startedAtMs === undefined) continue;
    const names = (await files.list(path).catch(() => [])).map((name) => join(path, name));
    const times = await Promise.all(
      [path, ...names].map(async (file) =>
        (await files.stat(file).catch(() => undefined))?.mtimeMs ?? 0
      ),
    );
    const changedAtMs = Math.max(...times);
    if (changedAtMs === 0) continue; // it is not visible here, as in a container
    if (changedAtMs <= startedAtMs + TOLERANCE_MS) {
      current.push(name);
      continue;
    }
    const duration = formatDuration(changedAtMs - startedAtMs);
    const problem = `${name} (process ${pid}) started ${duration} before its last change`;
    warnings.push(finding(path, problem, reader.restart));
  }
  if (current.length > 0) {
    passed.push(`restarts: not needed for ${current.join(", ")}; hosts.toml is read at each pull`);
  }
}

function configOf(process: FoundProcess, { flags, defaultPath }: Reader): string | undefined {
  return flags.map((flag) => flagOf(process, flag)).find((path) => path?.startsWith("/")) ??
    defaultPath;
}

/** A process on this machine. */
export interface FoundProcess {
  readonly pid: number;
  /** Wall time, in seconds' resolution. */
  readonly startedAtMs?: number;
  /** The program and its arguments. */
  readonly argv: readonly string[];
}

const SHELL = "/bin/sh";
const PATHS = { PATH: "/usr/local/bin:/usr/bin:/bin:/usr/sbin:/sbin" };
const TIMEOUT_MS = 10_000;
const MAX_BYTES = 4 * 1024 * 1024;
/** Separates arguments instead of the zero byte; no real argument contains it. */
const MARK = "\u0001";

// One grep for all processes, then one tr for each of the few that match.
const LIST = `
boot=$(grep ^btime /proc/stat)
for file in $(grep -lE "$WANTED" /proc/[0-9]*/cmdline 2>/dev/null); do
  pid=\${file%/cmdline}
  stat=$(cat "$pid/stat" 2>/dev/null) || continue
  set -- \${stat##*) } # the 22nd field is the start, in hundredths of a second since the boot
  printf '%s %s\\001' "\${pid#/proc/}" "$((\${boot#btime } + \${20} / 100))"
  tr '\\000\\n' '\\001 ' <"$file" 2>/dev/null
  echo
done`;

/**
 * Returns the processes whose command line matches `wanted` (an extended regular expression);
 * undefined if that cannot be determined. It runs a shell, because Deno permits reading `/proc`
 * only to programs with all permissions.
 */
export async function findProcesses(
  runner: ProcessRunner,
  wanted: string,
): Promise<readonly FoundProcess[] | undefined> {
  const result = await runner.run({
    path: SHELL,
    args: ["-c", LIST],
    env: { ...PATHS, WANTED: wanted, LC_ALL: "C" },
    stdin: "",
    timeoutMs: TIMEOUT_MS,
    maxStdoutBytes: MAX_BYTES,
  });
  if (result.kind !== "exited") return undefined;
  return result.stdout.split("\n").flatMap((line) => {
    const [numbers = "", ...argv] = line.split(MARK);
    const [pid = "", startedAt] = numbers.split(" ");
    if (!/^\d+$/.test(pid)) return [];
    return [{
      pid: Number(pid),
      argv: argv.at(-1) === "" ? argv.slice(0, -1) : argv,
      ...(startedAt !== undefined && { startedAtMs: Number(startedAt) * 1_000 }),
    }];
  });
}

/** Returns the running kubelet. */
export async function findKubelet(runner: ProcessRunner): Promise<FoundProcess | undefined> {
  const found = await findProcesses(runner, "kubelet");
  return found?.find(({ argv: [program = ""] }) => basename(program) === "kubelet");
}

/** Returns the value of a flag: `--name=value` or `--name value`. */
export function flagOf({ argv }: FoundProcess, name: string): string | undefined {
  const at = argv.findIndex((word) => word === name || word.startsWith(`${name}=`));
  return argv[at] === name ? argv[at + 1] : argv[at]?.slice(name.length + 1);
}
