import { dirname } from "@std/path";
import { asset, installedText } from "../assets/mod.ts";
import { loadAgentConfig } from "../config/mod.ts";
import { AgentError, ConfigError, EXIT, formatProblem, messageOf } from "../model/mod.ts";
import type { Context } from "../platform/mod.ts";
import {
  CREDENTIAL_HELPER,
  executes,
  findSystemctl,
  type InstallationPorts,
  type InstallPaths,
  installPaths,
  linkStep,
  PROGRAM,
  refusePackaged,
  refuseSharedFolders,
  replaceStep,
  runSteps,
  type Step,
  systemctlReports,
  systemctlStep,
  systemPorts,
  unitState,
} from "./installation.ts";
import { type KubeletOptions, kubeletPluginSteps, RESTART_KUBELET } from "./kubelet_plugin.ts";

/** Options of `install`. */
export interface InstallOptions extends KubeletOptions {
  /** Folder that contains `bin`. */
  readonly prefix: string;
  /** Only print the steps. */
  readonly dryRun: boolean;
  /** Create the link by which docker's tools find the credential helper. */
  readonly dockerCredentialHelper: boolean;
  /** The kubelet's plugin for which to answer; `true` for the only one. */
  readonly kubeletPlugin?: string | true;
  /** Also enable and start the service. */
  readonly now: boolean;
}

/** Dependencies of {@linkcode install}. */
export interface InstallPorts extends InstallationPorts {
  /** The running program, and whether it is the compiled binary. */
  readonly self: { readonly path: string; readonly standalone: boolean; readonly uid: number };
  /** Returns the problems of an existing configuration file, one line each. */
  readonly checkConfiguration: (path: string) => Promise<readonly string[]>;
  /** Returns a text of `show`. */
  readonly textOf: (name: string) => string;
}

/** `install`: installs the program on this host. */
export function installCommand(
  context: Context,
  options: InstallOptions,
  textOf: InstallPorts["textOf"],
): Promise<number> {
  const { host, files } = context;
  return install(options, {
    ...systemPorts(context),
    textOf,
    self: { path: host.execPath, standalone: host.standalone, uid: host.uid() },
    async checkConfiguration(config) {
      try {
        await loadAgentConfig({
          flags: { config },
          env: {},
          readText: (path) => files.readText(path),
        });
        return [];
      } catch (error) {
        if (error instanceof ConfigError) return error.problems.map(formatProblem);
        return [messageOf(error)];
      }
    },
  });
}

/** Steps to apply, and notes on what is already in place. */
interface Plan {
  readonly steps: readonly Step[];
  readonly notes: readonly string[];
}

/**
 * Installs the binary, its unit, manual page and completions, a sample configuration and, as an
 * option, the link of the credential helper. Keeps files that are up to date, and any existing configuration. When a step
 * fails, undoes all of them.
 *
 * @returns The exit code: 0, 1 when it failed, 2 when the options are invalid.
 */
export async function install(options: InstallOptions, ports: InstallPorts): Promise<number> {
  try {
    const paths = installPaths(options);
    if (!ports.self.standalone) {
      throw new AgentError(
        "usage",
        "install: only the compiled binary can be installed (build it first)",
      );
    }
    if (options.now && options.root !== "") {
      throw new AgentError("usage", "--now: cannot be combined with --root");
    }
    await refusePackaged(ports, paths);
    const folders = paths.files.map(({ path }) => dirname(path));
    for (const folder of new Set([paths.binFolder, paths.configFolder, ...folders])) {
      await refuseSharedFolders(ports.files, ports.self.uid, folder);
    }
    const plan = await makePlan(options, ports, paths);
    plan.notes.forEach(ports.out);
    await warnAboutConfiguration(ports, paths);
    if (options.dryRun) {
      plan.steps.forEach((step) => ports.out(`would ${step.action}`));
      return EXIT.ok;
    }
    await runSteps(plan.steps, ports);
    if (!options.now && plan.steps.length > 0 && options.root === "") printNextSteps(ports);
    return EXIT.ok;
  } catch (error) {
    ports.err(`error: ${messageOf(error)}`);
    return error instanceof AgentError && error.code === "usage" ? EXIT.badConfig : EXIT.failed;
  }
}

async function makePlan(
  options: InstallOptions,
  ports: InstallPorts,
  paths: InstallPaths,
): Promise<Plan> {
  const steps: Step[] = [];
  const notes: string[] = [];
  const planned = new Set<string>();
  const folders = async (path: string) => {
    for (const folder of await missingFolders(ports, path)) {
      if (planned.has(folder)) continue;
      planned.add(folder);
      steps.push(folderStep(ports, folder));
    }
  };
  const file = async (step: Step | undefined, path: string) => {
    if (step === undefined) return void notes.push(`unchanged: ${path}`);
    await folders(dirname(path));
    steps.push(step);
  };
  await file(await binaryStep(ports, paths), paths.binary);
  if (options.dockerCredentialHelper) {
    await file(
      await linkStep(ports.files, paths.credentialHelper, PROGRAM),
      paths.credentialHelper,
    );
  }
  await file(await configStep(ports, paths), paths.config);
  for (const { name, path } of paths.files) {
    const text = installedText(ports.textOf(name), paths.binaryInUnit);
    await file(await textStep(ports, path, text), path);
  }
  const { kubeletPlugin: name } = options;
  if (name !== undefined) {
    const { uid } = ports.self;
    const plugin = { name, uid, binary: paths.binaryInUnit };
    const added = await kubeletPluginSteps(options, ports, plugin);
    steps.push(...added);
    notes.push(added.length > 0 ? RESTART_KUBELET : "unchanged: the kubelet's plugin");
  }
  if (options.now) steps.push(...await startSteps(ports, paths, steps.length > 0));
  return { steps, notes };
}

/** Returns the folders to create, outermost first, so that each is a step of its own. */
async function missingFolders(
  { files }: Pick<InstallPorts, "files">,
  path: string,
): Promise<string[]> {
  if (path === "/" || await files.stat(path) !== undefined) return [];
  return [...await missingFolders({ files }, dirname(path)), path];
}

function folderStep({ files }: InstallPorts, path: string): Step {
  return {
    action: `create the folder ${path}`,
    async apply(undoable) {
      await files.makeDirectory(path, 0o755);
      undoable({ undo: () => files.remove(path) });
    },
  };
}

async function binaryStep({ files, self }: InstallPorts, paths: InstallPaths) {
  const { binary } = paths;
  const found = await files.stat(binary);
  if (found?.kind === "file" && await files.sameBytes(self.path, binary)) return undefined;
  const action = found === undefined ? `copy this program to ${binary}` : `replace ${binary}`;
  return replaceStep(files, action, binary, () => files.copyFile(self.path, binary, 0o755));
}

async function configStep({ files }: InstallPorts, { config }: InstallPaths) {
  if (await files.stat(config) !== undefined) return undefined;
  const action = `write ${config} (the commented sample)`;
  return replaceStep(
    files,
    action,
    config,
    () => files.writeText(config, asset("config.toml"), 0o600),
  );
}

/** Returns undefined when the file has the text already. */
async function textStep({ files }: InstallPorts, path: string, text: string) {
  const found = await files.stat(path);
  if (found?.kind === "file" && await files.readText(path) === text) return undefined;
  const action = found === undefined ? `write ${path}` : `replace ${path}`;
  return replaceStep(files, action, path, () => files.writeText(path, text, 0o644));
}

async function warnAboutConfiguration(
  { files, err, checkConfiguration }: InstallPorts,
  { config }: InstallPaths,
): Promise<void> {
  if (await files.stat(config) === undefined) return;
  for (const problem of await checkConfiguration(config)) err(`warning: ${problem}`);
}

/**
 * Starts the service, or restarts it when it runs an older binary, which an earlier `install` may
 * have replaced.
 */
async function startSteps(
  ports: InstallPorts,
  { binary }: InstallPaths,
  changed: boolean,
): Promise<Step[]> {
  const systemctl = await findSystemctl(ports.files);
  if (systemctl === undefined) {
    throw new AgentError("io", "--now: systemd does not run this host (omit --now)");
  }
  const unit = `${PROGRAM}.service`;
  const enabled = await systemctlReports(ports, systemctl, "is-enabled");
  const active = await systemctlReports(ports, systemctl, "is-active");
  const { pid, needsReload } = await unitState(ports, systemctl);
  const isOutdated = changed || needsReload ||
    (pid !== undefined && !await executes(ports, pid, binary));
  const steps: Step[] = [];
  if (changed || needsReload) steps.push(systemctlStep(ports, systemctl, ["daemon-reload"]));
  if (!enabled) {
    steps.push(systemctlStep(ports, systemctl, ["enable", unit], ["disable", unit]));
  }
  if (!active) steps.push(systemctlStep(ports, systemctl, ["start", unit], ["stop", unit]));
  else if (isOutdated) steps.push(systemctlStep(ports, systemctl, ["restart", unit]));
  return steps;
}

function printNextSteps({ out }: InstallPorts): void {
  out("the service was not started or restarted; to do so, run:");
  out(`  systemctl daemon-reload && systemctl enable ${PROGRAM} && systemctl restart ${PROGRAM}`);
  out(`(--docker-credential-helper also installs ${CREDENTIAL_HELPER})`);
}
