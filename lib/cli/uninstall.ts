import { AgentError, EXIT, messageOf } from "../model/mod.ts";
import type { Context } from "../platform/mod.ts";
import {
  findSystemctl,
  type InstallationPorts,
  type InstallPaths,
  installPaths,
  PROGRAM,
  refusePackaged,
  removeStep,
  runSteps,
  type Step,
  systemctlReports,
  systemctlStep,
  systemPorts,
} from "./installation.ts";
import {
  type KubeletOptions,
  kubeletPluginRemovalSteps,
  RESTART_KUBELET,
} from "./kubelet_plugin.ts";

/** Options of `uninstall`. */
export interface UninstallOptions extends KubeletOptions {
  /** Folder that contains `bin`. */
  readonly prefix: string;
  /** Only print the steps. */
  readonly dryRun: boolean;
  /** Also remove the configuration. */
  readonly purge: boolean;
}

/** `uninstall`: removes the program from this host. */
export function uninstallCommand(context: Context, options: UninstallOptions): Promise<number> {
  return uninstall(options, systemPorts(context));
}

/** The CRI link of the tmpfiles line, which may be the kubelet's image service endpoint. */
const CRI_PROXY_LINK = "/run/nydus-auth-agent-cri/image.sock";
/** The unit's RuntimeDirectory=, which remains after the service has stopped. */
const RUNTIME_FOLDER = `/run/${PROGRAM}`;
/** Sockets, and pull credentials, including temporary files of a killed agent. */
const RUNTIME_FILE = /^(?:\w+\.sock|cri-pulls\.json|\.cri-pulls\.json\..+\.tmp)$/;

/**
 * Stops and disables the service, and removes what `install` created; the configuration only with
 * `purge`. Keeps files of others. When a step fails, undoes all of them.
 *
 * @returns The exit code: 0, 1 when it failed, 2 when the options are invalid.
 */
export async function uninstall(
  options: UninstallOptions,
  ports: InstallationPorts,
): Promise<number> {
  try {
    const given = installPaths(options);
    await refusePackaged(ports, given);
    const paths = await pathsInUnit(options, ports, given);
    const kubeletSteps = await kubeletPluginRemovalSteps(options, ports);
    const steps = [
      ...kubeletSteps,
      ...await stopSteps(options, ports, paths),
      ...await fileSteps(options, ports, paths),
      ...(options.purge && options.root === "" ? await runtimeSteps(ports) : []),
      ...await reloadSteps(options, ports, paths),
    ];
    if (steps.length === 0) ports.out("nothing is installed here");
    if (options.dryRun) {
      steps.forEach((step) => ports.out(`would ${step.action}`));
      return EXIT.ok;
    }
    await runSteps(steps, ports);
    if (kubeletSteps.length > 0) ports.out(`note: ${RESTART_KUBELET}`);
    if (paths.binary !== given.binary && await ports.files.stat(given.binary) !== undefined) {
      ports.out(`kept: ${given.binary} (the unit ran ${paths.binary})`);
    }
    if (options.root === "" && await ports.files.stat(CRI_PROXY_LINK) !== undefined) {
      ports.out(`note: ${CRI_PROXY_LINK} disappears at the next boot; if it is the kubelet's`);
      ports.out("image service endpoint, configure the container runtime's socket instead");
    }
    if (!options.purge && await ports.files.stat(paths.config) !== undefined) {
      ports.out(`kept: ${paths.config} (--purge removes it)`);
    }
    return EXIT.ok;
  } catch (error) {
    ports.err(`error: ${messageOf(error)}`);
    return error instanceof AgentError && error.code === "usage" ? EXIT.badConfig : EXIT.failed;
  }
}

/** Returns the paths of the installed unit, which has the `--prefix` of `install`. */
async function pathsInUnit(
  { root }: UninstallOptions,
  { files }: InstallationPorts,
  given: InstallPaths,
): Promise<InstallPaths> {
  if ((await files.stat(given.unit))?.kind !== "file") return given;
  const text = await files.readText(given.unit);
  const prefix = /^ExecStart=(\/[\w.+@/-]*)\/bin\/nydus-auth-agent run\b/m.exec(text)?.[1];
  return prefix === undefined ? given : installPaths({ prefix, root });
}

async function stopSteps(
  { root }: UninstallOptions,
  ports: InstallationPorts,
  { unit }: InstallPaths,
): Promise<Step[]> {
  if (root !== "" || await ports.files.stat(unit) === undefined) return [];
  const systemctl = await findSystemctl(ports.files);
  if (systemctl === undefined) return [];
  const name = `${PROGRAM}.service`;
  const steps: Step[] = [];
  if (await systemctlReports(ports, systemctl, "is-active")) {
    steps.push(systemctlStep(ports, systemctl, ["stop", name], ["start", name]));
  }
  if (await systemctlReports(ports, systemctl, "is-enabled")) {
    steps.push(systemctlStep(ports, systemctl, ["disable", name], ["enable", name]));
  }
  return steps;
}

async function reloadSteps(
  { root }: UninstallOptions,
  ports: InstallationPorts,
  { unit }: InstallPaths,
): Promise<Step[]> {
  if (root !== "" || await ports.files.stat(unit) === undefined) return [];
  const systemctl = await findSystemctl(ports.files);
  return systemctl === undefined ? [] : [systemctlStep(ports, systemctl, ["daemon-reload"])];
}

async function fileSteps(
  { purge }: UninstallOptions,
  { files, out }: InstallationPorts,
  paths: InstallPaths,
): Promise<Step[]> {
  const steps: Step[] = [];
  for (const { path } of paths.files) {
    if (await files.stat(path) !== undefined) steps.push(removeStep(files, path));
  }
  const link = await files.stat(paths.credentialHelper);
  if (link?.kind === "symlink" && link.linkTarget === PROGRAM) {
    steps.push(removeStep(files, paths.credentialHelper));
  } else if (link !== undefined) {
    out(`kept: ${paths.credentialHelper} (not created by install)`);
  }
  if (await files.stat(paths.binary) !== undefined) steps.push(removeStep(files, paths.binary));
  if (!purge) return steps;
  if (await files.stat(paths.config) !== undefined) steps.push(removeStep(files, paths.config));
  const others = await files.stat(paths.configFolder) === undefined
    ? undefined
    : (await files.list(paths.configFolder)).filter((name) => !paths.config.endsWith(`/${name}`));
  if (others?.length === 0) steps.push(removeFolderStep(files, paths.configFolder));
  else if (others !== undefined) out(`kept: ${paths.configFolder} (it contains other files)`);
  return steps;
}

/** Removes the runtime folder with the credentials that were kept for a restart. */
async function runtimeSteps({ files, out }: InstallationPorts): Promise<Step[]> {
  if ((await files.stat(RUNTIME_FOLDER))?.kind !== "directory") return [];
  // Runs last: the service removes its sockets when it stops.
  const cleanUp = async () => {
    for (const name of await files.list(RUNTIME_FOLDER)) {
      if (RUNTIME_FILE.test(name)) await files.remove(`${RUNTIME_FOLDER}/${name}`);
    }
    const others = await files.list(RUNTIME_FOLDER);
    if (others.length === 0) await files.remove(RUNTIME_FOLDER);
    else out(`kept: ${RUNTIME_FOLDER} (it contains other files)`);
  };
  return [{
    action: `remove the folder ${RUNTIME_FOLDER}`,
    apply(undoable) {
      undoable({ undo: () => Promise.resolve(), cleanUp });
      return Promise.resolve();
    },
  }];
}

/** Removes a folder last, because it contains the files that were moved aside. */
function removeFolderStep(files: InstallationPorts["files"], path: string): Step {
  return {
    action: `remove the folder ${path}`,
    apply(undoable) {
      undoable({ undo: () => Promise.resolve(), cleanUp: () => files.remove(path) });
      return Promise.resolve();
    },
  };
}
