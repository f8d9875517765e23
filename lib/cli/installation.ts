import { dirname, join, resolve } from "@std/path";
import {
  AgentError,
  type InstallFiles,
  messageOf,
  type ProcessRequest,
  type ProcessRunner,
} from "../model/mod.ts";

/** The name of the program, its unit and its folder. */
export const PROGRAM = "nydus-auth-agent";

/** The name under which docker and its friends look for us. */
export const CREDENTIAL_HELPER = "docker-credential-nydus-auth";

/** What an installation works with. */
export interface InstallationPorts {
  readonly files: InstallFiles;
  readonly processRunner: ProcessRunner;
  /** Prints one line for people. */
  readonly out: (line: string) => void;
  /** Prints one line about trouble. */
  readonly err: (line: string) => void;
}

/** Where everything goes. */
export interface InstallPaths {
  readonly binFolder: string;
  readonly binary: string;
  readonly credentialHelper: string;
  readonly unitFolder: string;
  readonly unit: string;
  /** What systemd lays at boot. */
  readonly tmpfiles: string;
  readonly configFolder: string;
  readonly config: string;
  /** The binary's path as the installed system sees it, without `root`. */
  readonly binaryInUnit: string;
}

/**
 * The paths of an installation below `root`.
 *
 * @throws {AgentError} `usage` when one of the two is no absolute path, or one that a unit file
 * cannot hold as it is.
 */
export function installPaths({ prefix, root }: { prefix: string; root: string }): InstallPaths {
  if (!/^\/[\w.+@/-]*$/.test(prefix)) {
    throw new AgentError("usage", `--prefix ${prefix}: not an absolute path of ordinary letters`);
  }
  if (root !== "" && !root.startsWith("/")) {
    throw new AgentError("usage", `--root ${root}: not an absolute path`);
  }
  const at = (...parts: string[]) => join("/", root, ...parts);
  return {
    binFolder: at(prefix, "bin"),
    binary: at(prefix, "bin", PROGRAM),
    credentialHelper: at(prefix, "bin", CREDENTIAL_HELPER),
    unitFolder: at("etc/systemd/system"),
    unit: at("etc/systemd/system", `${PROGRAM}.service`),
    tmpfiles: at("etc/tmpfiles.d", `${PROGRAM}.conf`),
    configFolder: at("etc", PROGRAM),
    config: at("etc", PROGRAM, "config.toml"),
    binaryInUnit: join("/", prefix, "bin", PROGRAM),
  };
}

/**
 * Refuses a path that users other than root and ourselves can redirect: who may write to a folder
 * above it can replace what is installed there, and root would run it. Symbolic links are followed
 * one by one. Folders that do not exist yet are left out.
 *
 * @throws {AgentError} `usage` with the folder's name and the remedy.
 */
export async function refuseSharedFolders(
  files: InstallFiles,
  ourUid: number,
  path: string,
): Promise<void> {
  const found = await files.stat(path);
  if (found !== undefined) {
    const { kind, uid, gid, mode, linkTarget = "" } = found;
    const refuse = (problem: string, remedy: string) => {
      throw new AgentError("usage", `${path}: ${problem} (${remedy}, or choose another folder)`);
    };
    if (uid !== 0 && uid !== ourUid) refuse(`it belongs to user ${uid}`, `chown root ${path}`);
    if (kind === "symlink") {
      await refuseSharedFolders(files, ourUid, resolve(dirname(path), linkTarget));
    } else {
      // In a sticky folder, such as /tmp, nobody can replace the entries of others.
      const isSticky = (mode & 0o1000) !== 0;
      const isOpenToGroup = (mode & 0o020) !== 0 && gid !== 0 && ourUid === 0;
      if (!isSticky && ((mode & 0o002) !== 0 || isOpenToGroup)) {
        refuse("other users can write to it", `chmod go-w ${path}`);
      }
    }
  }
  if (path !== "/") await refuseSharedFolders(files, ourUid, dirname(path));
}

/** How to take back what a step did, and what to tidy once everything is done. */
export interface Reversal {
  undo(): Promise<void>;
  settle?(): Promise<void>;
}

/** One thing to do, said before it is done. */
export interface Step {
  readonly what: string;
  /** Does it. `undoable` is called as soon as there is something to take back. */
  apply(undoable: (reversal: Reversal) => void): Promise<void>;
}

/**
 * Does the steps in order. When one fails, everything before it is taken back in reverse order, and
 * the failure is thrown.
 */
export async function runSteps(
  steps: readonly Step[],
  { out, err }: Pick<InstallationPorts, "out" | "err">,
): Promise<void> {
  const done: Reversal[] = [];
  try {
    for (const step of steps) {
      out(step.what);
      await step.apply((reversal) => done.push(reversal));
    }
  } catch (error) {
    if (done.length > 0) out("undo what was done");
    for (const reversal of done.reverse()) {
      await reversal.undo().catch((problem) => err(`undo: ${messageOf(problem)}`));
    }
    throw error;
  }
  for (const reversal of done) {
    await reversal.settle?.().catch((problem) => err(`tidy up: ${messageOf(problem)}`));
  }
}

/** Writes `path` by `write`, which replaces it whole; what was there before can be brought back. */
export function replaceStep(
  files: InstallFiles,
  what: string,
  path: string,
  write: () => Promise<void>,
): Step {
  return {
    what,
    async apply(undoable) {
      if (await files.stat(path) === undefined) {
        await write();
        undoable({ undo: () => files.remove(path) });
        return;
      }
      const aside = await files.backUp(path);
      const tidy = async () => {
        if (await files.stat(aside) !== undefined) await files.remove(aside);
      };
      undoable({
        async undo() {
          await files.move(aside, path);
          // Two names of one and the same file: moving one over the other does nothing.
          await tidy();
        },
        settle: tidy,
      });
      await write();
    },
  };
}

/** Runs `systemctl` with these arguments; `undoArgs` takes it back. */
export function systemctlStep(
  { processRunner }: Pick<InstallationPorts, "processRunner">,
  systemctl: string,
  args: readonly string[],
  undoArgs?: readonly string[],
): Step {
  return {
    what: `run systemctl ${args.join(" ")}`,
    async apply(undoable) {
      // A unit that fails to start is enabled all the same: so it is taken back either way.
      if (undoArgs !== undefined) undoable({ undo: () => run(processRunner, systemctl, undoArgs) });
      await run(processRunner, systemctl, args);
    },
  };
}

async function run(runner: ProcessRunner, path: string, args: readonly string[]): Promise<void> {
  const action = `run systemctl ${args.join(" ")}`;
  const result = await runner.run(systemctlRequest(path, args));
  switch (result.kind) {
    case "exited": {
      if (result.code === 0) return;
      const said = result.stderr.trim().split("\n")[0] ?? "";
      throw new AgentError("io", `${action}: exit code ${result.code}${said && `, ${said}`}`);
    }
    case "timed-out":
      throw new AgentError("io", `${action}: no end in two minutes (see journalctl -u ${PROGRAM})`);
    case "too-much-output":
      throw new AgentError("io", `${action}: too much output`);
    case "not-started":
      throw new AgentError("io", `${action}: ${path} is ${result.reason}`);
    default:
      return result satisfies never;
  }
}

function systemctlRequest(path: string, args: readonly string[]): ProcessRequest {
  return { path, args, env: {}, stdin: "", timeoutMs: 120_000, maxStdoutBytes: 65_536 };
}

/** Whether `systemctl` answers "yes" (exit code 0) to a question such as `is-enabled`. */
export async function systemctlReports(
  { processRunner }: Pick<InstallationPorts, "processRunner">,
  systemctl: string,
  question: string,
): Promise<boolean> {
  const args = [question, "--quiet", `${PROGRAM}.service`];
  const result = await processRunner.run(systemctlRequest(systemctl, args));
  return result.kind === "exited" && result.code === 0;
}

/** What systemd knows about our unit. */
export interface UnitState {
  /** Main process; undefined while the unit does not run. */
  readonly pid?: number;
  /** The unit file has changed since systemd read it. */
  readonly needsReload: boolean;
}

/** Asks systemd about our unit. */
export async function unitState(
  { processRunner }: Pick<InstallationPorts, "processRunner">,
  systemctl: string,
): Promise<UnitState> {
  const args = ["show", "--property=MainPID,NeedDaemonReload", `${PROGRAM}.service`];
  const result = await processRunner.run(systemctlRequest(systemctl, args));
  const lines = result.kind === "exited" ? result.stdout.split("\n") : [];
  const pid = Number(lines.find((line) => line.startsWith("MainPID="))?.slice("MainPID=".length));
  return { ...(pid > 0 && { pid }), needsReload: lines.includes("NeedDaemonReload=yes") };
}

/** Whether a process executes this very file, not an older one that it has replaced. */
export async function executes(
  { processRunner }: Pick<InstallationPorts, "processRunner">,
  pid: number,
  binary: string,
): Promise<boolean> {
  const result = await processRunner.run({
    path: "/bin/sh", // a compiled binary of Deno may not read /proc itself
    args: ["-c", '[ "$1" -ef "$2" ]', "sh", `/proc/${pid}/exe`, binary],
    env: {},
    stdin: "",
    timeoutMs: 10_000,
    maxStdoutBytes: 1_024,
  });
  return result.kind === "exited" && result.code === 0;
}

/** Where `systemctl` is, when systemd runs this machine. */
export async function findSystemctl(files: InstallFiles): Promise<string | undefined> {
  if (await files.stat("/run/systemd/system") === undefined) return undefined;
  for (const path of ["/usr/bin/systemctl", "/bin/systemctl"]) {
    if (await files.stat(path) !== undefined) return path;
  }
  return undefined;
}
