import { dirname, join, resolve } from "@std/path";
import {
  ASSETS,
  CREDENTIAL_HELPER,
  installedText,
  installedTexts,
  PROGRAM,
} from "../assets/mod.ts";
import { AgentError, EXIT } from "../model/mod.ts";
import {
  type Context,
  copyProgram,
  makeFolder,
  pointLink,
  readLink,
  removeFile,
  sameContent,
} from "../platform/mod.ts";
import { processProblem } from "../providers/mod.ts";
import {
  type KubeletOptions,
  kubeletPluginRemovalSteps,
  kubeletPluginSteps,
  RESTART_KUBELET,
  type Step,
} from "./kubelet_plugin.ts";

/** Options of `install` and `uninstall`. */
interface CommonOptions extends KubeletOptions {
  /** Folder that contains `bin`. */
  readonly prefix: string;
  /** Only print the steps. */
  readonly dryRun?: boolean;
}

/** Options of {@linkcode install}. */
export interface InstallOptions extends CommonOptions {
  /** Also create the link by which docker's tools find the credential helper. */
  readonly dockerCredentialHelper?: boolean;
  /** The kubelet's plugin in whose place the agent answers; `true` for the only one. */
  readonly kubeletPlugin?: string | true;
  /** Also enable and restart the service. */
  readonly now?: boolean;
}

/** Options of {@linkcode uninstall}. */
export interface UninstallOptions extends CommonOptions {
  /** Also remove the configuration, and the credentials of pulls. */
  readonly purge?: boolean;
}

const UNIT = `${PROGRAM}.service`;

const CONFIG_FILE = /^config\.toml$/;
/** Sockets, and pull credentials, including temporary files of a killed agent. */
const RUNTIME_FILE = /^(?:\w+\.sock|cri-pulls\.json|\.cri-pulls\.json\..+\.tmp)$/;

const NEXT_STEPS = `the service was not started or restarted; to do so, run:
  systemctl daemon-reload && systemctl enable ${PROGRAM} && systemctl restart ${PROGRAM}
(--docker-credential-helper also installs ${CREDENTIAL_HELPER})
`;

/**
 * `install`: installs the binary, its unit, manual page and completions, a sample configuration and,
 * as an option, the link of the credential helper. Leaves files that are up to date, and any existing
 * configuration, unchanged.
 *
 * @param textOf Returns a text of `show`.
 * @throws {AgentError} `usage` with the remedy; `io` when a step fails.
 */
export async function install(
  context: Context,
  options: InstallOptions,
  textOf: (name: string) => string,
): Promise<number> {
  const { host } = context;
  const paths = installPaths(options);
  if (!host.standalone) {
    throw new AgentError(
      "usage",
      "install: only the compiled binary can be installed (build it first)",
    );
  }
  await refuseHost(context, options, paths);
  const files = installedFiles(context, options, paths, textOf);
  for (const folder of new Set(files.map(({ path }) => dirname(path)))) {
    await refuseSharedFolders(context, folder);
  }
  const steps: Step[] = [];
  for (const { path, isCurrent, write } of files) {
    if (await isCurrent()) host.out(`unchanged: ${path}\n`);
    else {
      const apply = () => makeFolder(dirname(path)).then(write);
      steps.push({ action: `write ${path}`, apply });
    }
  }
  const isChanged = steps.length > 0;
  const { kubeletPlugin: name } = options;
  const kubeletSteps = name === undefined ? [] : await kubeletPluginSteps(
    context,
    options,
    name,
    paths.binaryInUnit,
    (path) => refuseSharedFolders(context, path),
  );
  steps.push(...kubeletSteps);
  if (options.now) {
    for (const args of [["daemon-reload"], ["enable", UNIT], ["restart", UNIT]]) {
      steps.push(systemctl(context, ...args));
    }
  }
  await applySteps(context, steps, options);
  if (kubeletSteps.length > 0) host.out(RESTART_KUBELET);
  if (isChanged && !options.now && !options.dryRun && options.root === "") host.out(NEXT_STEPS);
  return EXIT.ok;
}

/**
 * `uninstall`: stops and disables the service, and removes what `install` created; the configuration
 * only with `purge`. Keeps files of others.
 *
 * @throws {AgentError} `usage` with the remedy; `io` when a step fails.
 */
export async function uninstall(context: Context, options: UninstallOptions): Promise<number> {
  const { host, files } = context;
  const paths = await pathsInUnit(context, options);
  await refuseHost(context, options, paths);
  const exists = async (path: string) => await files.stat(path, { noFollow: true }) !== undefined;
  const hasService = await exists(paths.unit) && await exists(paths.systemd);
  const kubeletSteps = await kubeletPluginRemovalSteps(context, options);
  const steps = [...kubeletSteps];
  if (hasService) steps.push(systemctl(context, "disable", "--now", UNIT));
  const installed = [...paths.texts.map(({ path }) => path), paths.binary];
  if (await readLink(paths.credentialHelper) === PROGRAM) installed.push(paths.credentialHelper);
  for (const path of installed) {
    if (await exists(path)) steps.push({ action: `remove ${path}`, apply: () => removeFile(path) });
  }
  const folders = [[dirname(paths.config), CONFIG_FILE], [
    paths.runtimeFolder,
    RUNTIME_FILE,
  ]] as const;
  for (const [folder, ours] of options.purge ? folders : []) {
    if (await exists(folder)) steps.push(emptyFolder(context, folder, ours));
  }
  if (steps.length === 0) host.out("nothing is installed here\n");
  if (hasService) steps.push(systemctl(context, "daemon-reload"));
  await applySteps(context, steps, options);
  if (options.dryRun) return EXIT.ok;
  if (kubeletSteps.length > 0) host.out(RESTART_KUBELET);
  if (await exists(paths.criLink)) {
    host.out(`note: ${paths.criLink} disappears at the next boot; if it is the kubelet's\n`);
    host.out("image service endpoint, configure the container runtime's socket instead\n");
  }
  if (await exists(paths.config)) host.out(`kept: ${paths.config} (--purge removes it)\n`);
  return EXIT.ok;
}

type InstallPaths = ReturnType<typeof installPaths>;

/**
 * Returns the paths of an installation below `root`.
 *
 * @throws {AgentError} `usage` when a path is not absolute, or would need quoting in a unit file.
 */
function installPaths({ prefix, root }: Pick<CommonOptions, "prefix" | "root">) {
  if (!/^\/[\w.+@/-]*$/.test(prefix)) {
    const problem = `not an absolute path of letters, digits and "._+@-"`;
    throw new AgentError("usage", `--prefix ${prefix}: ${problem}`);
  }
  if (root !== "" && !root.startsWith("/")) {
    throw new AgentError("usage", `--root ${root}: not an absolute path`);
  }
  const at = (...parts: string[]) => join("/", root, ...parts);
  const units = at("etc/systemd/system");
  return {
    binary: at(prefix, "bin", PROGRAM),
    /** The binary as the installed system sees it, without `root`. */
    binaryInUnit: join("/", prefix, "bin", PROGRAM),
    credentialHelper: at(prefix, "bin", CREDENTIAL_HELPER),
    config: at("etc", PROGRAM, "config.toml"),
    unit: `${units}/${UNIT}`,
    /** Texts by their name in `show`, among them the unit. */
    texts: installedTexts({ units, tmpfiles: at("etc/tmpfiles.d"), share: at(prefix, "share") }),
    /** Where a package has its unit. */
    packagedUnit: at("usr/lib/systemd/system", UNIT),
    /** The unit's `RuntimeDirectory=`, which remains after the service has stopped. */
    runtimeFolder: at("run", PROGRAM),
    /** The CRI link of the tmpfiles line, which may be the kubelet's image service endpoint. */
    criLink: at("run", `${PROGRAM}-cri`, "image.sock"),
    /** Exists while systemd runs the host. */
    systemd: at("run/systemd/system"),
  };
}

/** Returns the paths of the installed unit, which has the `--prefix` of `install`. */
async function pathsInUnit({ files }: Context, options: CommonOptions): Promise<InstallPaths> {
  const paths = installPaths(options);
  const text = await files.readText(paths.unit) ?? "";
  const prefix = /^ExecStart=(\/[\w.+@/-]*)\/bin\/nydus-auth-agent run\b/m.exec(text)?.[1];
  return prefix === undefined ? paths : installPaths({ ...options, prefix });
}

/** Returns the files to write: whether each is up to date, and how to replace it atomically. */
function installedFiles(
  { host, files }: Context,
  { dockerCredentialHelper }: InstallOptions,
  { binary, binaryInUnit, credentialHelper, config, texts }: InstallPaths,
  textOf: (name: string) => string,
) {
  const program = {
    path: binary,
    isCurrent: () => sameContent(host.execPath, binary),
    write: () => copyProgram(host.execPath, binary),
  };
  const link = {
    path: credentialHelper,
    isCurrent: async () => await readLink(credentialHelper) === PROGRAM,
    write: () => pointLink(credentialHelper, PROGRAM),
  };
  const sample = {
    path: config,
    isCurrent: async () => await files.stat(config) !== undefined,
    write: () => files.writeAtomic(config, ASSETS["config.toml"].text, { mode: 0o600 }),
  };
  const others = texts.map(({ name, path }) => {
    const text = installedText(textOf(name), binaryInUnit);
    return {
      path,
      isCurrent: async () => await files.readText(path) === text,
      write: () => files.writeAtomic(path, text, { mode: 0o644 }),
    };
  });
  return [program, ...(dockerCredentialHelper ? [link] : []), sample, ...others];
}

/**
 * Rejects a user who cannot change this host, and a host where the distribution's package manager
 * owns the program.
 *
 * @throws {AgentError} `usage` with the remedy.
 */
async function refuseHost(
  { host, files }: Context,
  { root, dryRun }: CommonOptions,
  { packagedUnit }: InstallPaths,
): Promise<void> {
  if (host.uid() !== 0 && root === "" && !dryRun) {
    throw new AgentError("usage", "this changes files of root: run it with sudo, or use --dry-run");
  }
  if (await files.stat(packagedUnit) === undefined) return;
  const problem = `belongs to the package ${PROGRAM} (use apt, dnf or another package manager)`;
  throw new AgentError("usage", `${packagedUnit}: ${problem}`);
}

/**
 * Rejects a path that users other than root and the current one can redirect: they could replace
 * the binary that root runs. Follows symbolic links one by one; ignores folders that do not exist
 * yet.
 *
 * @throws {AgentError} `usage` with the folder's name and the remedy.
 */
async function refuseSharedFolders(context: Context, path: string): Promise<void> {
  const found = await context.files.stat(path, { noFollow: true });
  if (found !== undefined) {
    const { kind, uid, gid, mode } = found;
    const ourUid = context.host.uid();
    const refuse = (problem: string, remedy: string) => {
      throw new AgentError("usage", `${path}: ${problem} (${remedy}, or choose another folder)`);
    };
    if (uid !== 0 && uid !== ourUid) refuse(`it belongs to user ${uid}`, `chown root ${path}`);
    if (kind === "symlink") {
      await refuseSharedFolders(context, resolve(dirname(path), await readLink(path) ?? ""));
    } else {
      // In a sticky folder, such as /tmp, users cannot replace the entries of others.
      const isSticky = (mode & 0o1000) !== 0;
      const isOpenToGroup = (mode & 0o020) !== 0 && gid !== 0 && ourUid === 0;
      if (!isSticky && ((mode & 0o002) !== 0 || isOpenToGroup)) {
        refuse("other users can write to it", `chmod go-w ${path}`);
      }
    }
  }
  if (path !== "/") await refuseSharedFolders(context, dirname(path));
}

/** Prints and applies the steps in order, or only prints them. */
async function applySteps(
  { host }: Context,
  steps: readonly Step[],
  { dryRun }: CommonOptions,
): Promise<void> {
  for (const { action, apply } of steps) {
    host.out(dryRun ? `would ${action}\n` : `${action}\n`);
    if (!dryRun) await apply();
  }
}

/** Removes our files from a folder, and the folder unless it contains files of others. */
function emptyFolder({ host, files }: Context, folder: string, ours: RegExp): Step {
  return {
    action: `remove the folder ${folder}`,
    async apply() {
      for (const name of await files.list(folder)) {
        if (ours.test(name)) await removeFile(join(folder, name));
      }
      if ((await files.list(folder)).length === 0) await removeFile(folder);
      else host.out(`kept: ${folder} (it contains other files)\n`);
    },
  };
}

function systemctl({ processRunner }: Context, ...args: readonly string[]): Step {
  const path = "/bin/systemctl";
  const timeoutMs = 120_000;
  const command = `systemctl ${args.join(" ")}`;
  return {
    action: `run ${command}`,
    async apply() {
      const limits = { timeoutMs, maxStdoutBytes: 65_536 };
      const result = await processRunner.run({ path, args, env: {}, stdin: "", ...limits });
      const problem = processProblem(result, timeoutMs);
      if (problem === undefined) return;
      const [message = ""] = result.kind === "exited" ? result.stderr.trim().split("\n") : [];
      const detail = message === "" ? problem.detail : `${problem.detail}: ${message}`;
      throw new AgentError(
        "io",
        `failed to run ${command}: ${detail}; see journalctl -u ${PROGRAM}`,
      );
    },
  };
}
