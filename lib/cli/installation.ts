import { dirname, join, resolve } from "@std/path";
import { installedFiles } from "../assets/mod.ts";
import { AgentError, messageOf, type ProcessRequest, type ProcessRunner } from "../model/mod.ts";
import { type Context, type InstallFiles, systemInstallFiles } from "../platform/mod.ts";

/** The name of the program, its unit and its folder. */
export const PROGRAM = "nydus-auth-agent";

/** The name by which docker and compatible tools find the program as a credential helper. */
export const CREDENTIAL_HELPER = "docker-credential-nydus-auth";

/** Access to the system. */
export interface InstallationPorts {
  readonly files: InstallFiles;
  readonly processRunner: ProcessRunner;
  /** Prints a line. */
  readonly out: (line: string) => void;
  /** Prints an error or a warning. */
  readonly err: (line: string) => void;
}

/** Returns the ports of this host. */
export function systemPorts({ host, processRunner }: Context): InstallationPorts {
  return {
    files: systemInstallFiles(),
    processRunner,
    out: (line) => host.out(`${line}\n`),
    err: (line) => host.err(`${line}\n`),
  };
}

/** Paths of an installation. */
export interface InstallPaths {
  readonly binFolder: string;
  readonly binary: string;
  readonly credentialHelper: string;
  readonly unit: string;
  /** Texts by their name in `show`, among them the unit. */
  readonly files: readonly { readonly name: string; readonly path: string }[];
  /** Where a package has its unit. */
  readonly packagedUnit: string;
  readonly configFolder: string;
  readonly config: string;
  /** The binary's path as the installed system sees it, without `root`. */
  readonly binaryInUnit: string;
}

/**
 * Returns the paths of an installation below `root`.
 *
 * @throws {AgentError} `usage` when a path is not absolute, or would need quoting in a unit file.
 */
export function installPaths({ prefix, root }: { prefix: string; root: string }): InstallPaths {
  if (!/^\/[\w.+@/-]*$/.test(prefix)) {
    throw new AgentError(
      "usage",
      `--prefix ${prefix}: not an absolute path of letters, digits and "._+@-"`,
    );
  }
  if (root !== "" && !root.startsWith("/")) {
    throw new AgentError("usage", `--root ${root}: not an absolute path`);
  }
  const at = (...parts: string[]) => join("/", root, ...parts);
  const units = at("etc/systemd/system");
  return {
    binFolder: at(prefix, "bin"),
    binary: at(prefix, "bin", PROGRAM),
    credentialHelper: at(prefix, "bin", CREDENTIAL_HELPER),
    unit: `${units}/${PROGRAM}.service`,
    files: installedFiles({ units, tmpfiles: at("etc/tmpfiles.d"), share: at(prefix, "share") }),
    packagedUnit: at("usr/lib/systemd/system", `${PROGRAM}.service`),
    configFolder: at("etc", PROGRAM),
    config: at("etc", PROGRAM, "config.toml"),
    binaryInUnit: join("/", prefix, "bin", PROGRAM),
  };
}

/**
 * Rejects a host where the distribution's package manager owns the program.
 *
 * @throws {AgentError} `usage` with the remedy.
 */
export async function refusePackaged(
  { files }: Pick<InstallationPorts, "files">,
  { packagedUnit }: InstallPaths,
): Promise<void> {
  if (await files.stat(packagedUnit) === undefined) return;
  throw new AgentError(
    "usage",
    `${packagedUnit}: belongs to the package ${PROGRAM} (use apt, dnf or another package manager)`,
  );
}

/**
 * Rejects a path that users other than root and the current one can redirect: they could replace
 * the binary that root runs. Follows symbolic links one by one; ignores folders that do not exist
 * yet.
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
      // In a sticky folder, such as /tmp, users cannot replace the entries of others.
      const isSticky = (mode & 0o1000) !== 0;
      const isOpenToGroup = (mode & 0o020) !== 0 && gid !== 0 && ourUid === 0;
      if (!isSticky && ((mode & 0o002) !== 0 || isOpenToGroup)) {
        refuse("other users can write to it", `chmod go-w ${path}`);
      }
    }
  }
  if (path !== "/") await refuseSharedFolders(files, ourUid, dirname(path));
}

/** Undoes a step, or removes its backup once all steps have succeeded. */
export interface Reversal {
  undo(): Promise<void>;
  cleanUp?(): Promise<void>;
}

/** A step of an installation. */
export interface Step {
  /** What it does; printed before it is applied. */
  readonly action: string;
  /** Calls `undoable` as soon as there is something to undo. */
  apply(undoable: (reversal: Reversal) => void): Promise<void>;
}

/**
 * Applies the steps in order. When one fails, undoes those before it in reverse order, and throws
 * the error.
 */
export async function runSteps(
  steps: readonly Step[],
  { out, err }: Pick<InstallationPorts, "out" | "err">,
): Promise<void> {
  const done: Reversal[] = [];
  try {
    for (const step of steps) {
      out(step.action);
      await step.apply((reversal) => done.push(reversal));
    }
  } catch (error) {
    if (done.length > 0) out("undoing the previous steps");
    for (const reversal of done.reverse()) {
      await reversal.undo().catch((problem) => err(`undo: ${messageOf(problem)}`));
    }
    throw error;
  }
  for (const reversal of done) {
    await reversal.cleanUp?.().catch((problem) => err(`clean up: ${messageOf(problem)}`));
  }
}

/** Returns a step that replaces `path` by calling `write`, and can restore the previous file. */
export function replaceStep(
  files: InstallFiles,
  action: string,
  path: string,
  write: () => Promise<void>,
): Step {
  return {
    action,
    async apply(undoable) {
      if (await files.stat(path) === undefined) {
        await write();
        undoable({ undo: () => files.remove(path) });
        return;
      }
      const aside = await files.backUp(path);
      const cleanUp = async () => {
        if (await files.stat(aside) !== undefined) await files.remove(aside);
      };
      undoable({
        async undo() {
          await files.move(aside, path);
          // Moving a hard link over the same file does not remove it.
          await cleanUp();
        },
        cleanUp,
      });
      await write();
    },
  };
}

/** Moves the file aside, and removes it when all steps have succeeded. */
export function removeStep(files: InstallFiles, path: string): Step {
  return {
    action: `remove ${path}`,
    async apply(undoable) {
      const aside = await files.backUp(path);
      undoable({
        async undo() {
          await files.move(aside, path);
          if (await files.stat(aside) !== undefined) await files.remove(aside);
        },
        cleanUp: () => files.remove(aside),
      });
      await files.remove(path);
    },
  };
}

/** Returns a step that links `path` to `target`, or undefined when it is linked already. */
export async function linkStep(
  files: InstallFiles,
  path: string,
  target: string,
): Promise<Step | undefined> {
  const found = await files.stat(path);
  if (found?.kind === "symlink" && found.linkTarget === target) return undefined;
  if (found !== undefined) {
    throw new AgentError("io", `failed to link ${path}: another file exists there (move it first)`);
  }
  const action = `link ${path} to ${target}`;
  return replaceStep(files, action, path, () => files.symlink(path, target));
}

/** Returns a step that runs `systemctl` with these arguments; `undoArgs` undo it. */
export function systemctlStep(
  { processRunner }: Pick<InstallationPorts, "processRunner">,
  systemctl: string,
  args: readonly string[],
  undoArgs?: readonly string[],
): Step {
  return {
    action: `run systemctl ${args.join(" ")}`,
    async apply(undoable) {
      // A unit that fails to start stays enabled, so the step is undone in any case.
      if (undoArgs !== undefined) undoable({ undo: () => run(processRunner, systemctl, undoArgs) });
      await run(processRunner, systemctl, args);
    },
  };
}

async function run(runner: ProcessRunner, path: string, args: readonly string[]): Promise<void> {
  const action = `failed to run systemctl ${args.join(" ")}`;
  const result = await runner.run(systemctlRequest(path, args));
  switch (result.kind) {
    case "exited": {
      if (result.code === 0) return;
      const message = result.stderr.trim().split("\n")[0] ?? "";
      throw new AgentError("io", `${action}: exit code ${result.code}${message && `, ${message}`}`);
    }
    case "timed-out":
      throw new AgentError(
        "io",
        `${action}: timed out after two minutes (see journalctl -u ${PROGRAM})`,
      );
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

/** Returns whether a query such as `is-enabled` succeeds (exit code 0). */
export async function systemctlReports(
  { processRunner }: Pick<InstallationPorts, "processRunner">,
  systemctl: string,
  query: string,
): Promise<boolean> {
  const args = [query, "--quiet", `${PROGRAM}.service`];
  const result = await processRunner.run(systemctlRequest(systemctl, args));
  return result.kind === "exited" && result.code === 0;
}

/** State of the unit in systemd. */
export interface UnitState {
  /** The main process; undefined while the unit does not run. */
  readonly pid?: number;
  /** Whether the unit file has changed since systemd read it. */
  readonly needsReload: boolean;
}

/** Returns the state of the unit. */
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

/** Returns whether a process executes this file, and not an older one that it has replaced. */
export async function executes(
  { processRunner }: Pick<InstallationPorts, "processRunner">,
  pid: number,
  binary: string,
): Promise<boolean> {
  const result = await processRunner.run({
    path: "/bin/sh", // a compiled binary of Deno cannot read /proc
    args: ["-c", '[ "$1" -ef "$2" ]', "sh", `/proc/${pid}/exe`, binary],
    env: {},
    stdin: "",
    timeoutMs: 10_000,
    maxStdoutBytes: 1_024,
  });
  return result.kind === "exited" && result.code === 0;
}

/** Returns the path of `systemctl`, or undefined when systemd does not run this machine. */
export async function findSystemctl(files: InstallFiles): Promise<string | undefined> {
  if (await files.stat("/run/systemd/system") === undefined) return undefined;
  for (const path of ["/usr/bin/systemctl", "/bin/systemctl"]) {
    if (await files.stat(path) !== undefined) return path;
  }
  return undefined;
}
