import { AgentError, messageOf } from "../model/mod.ts";
import {
  findSystemctl,
  type InstallationPorts,
  type InstallPaths,
  installPaths,
  PROGRAM,
  runSteps,
  type Step,
  systemctlReports,
  systemctlStep,
} from "./installation.ts";

/** What to take away, and where. */
export interface UninstallOptions {
  /** Folder above `bin`. */
  readonly prefix: string;
  /** Folder that stands for `/`; empty for this machine. */
  readonly root: string;
  /** Only say what would be done. */
  readonly dryRun: boolean;
  /** Remove the configuration too. */
  readonly purge: boolean;
}

/** What the kubelet may have been given, as the tmpfiles line lays it. */
const CRI_PROXY_LINK = "/run/nydus-auth-agent-cri/image.sock";
/** The unit's RuntimeDirectory=, which outlives the service. */
const RUNTIME_FOLDER = `/run/${PROGRAM}`;
/** Sockets, and the credentials of CRI pulls (also a temporary file that a kill has left). */
const RUNTIME_FILE = /^(?:\w+\.sock|cri-pulls\.json|\.cri-pulls\.json\..+\.tmp)$/;

/**
 * Stops and disables the service, and removes what `install` put there; the configuration stays
 * unless `purge` is set. What is not there, or is not ours, is left. When a step fails, everything
 * is taken back.
 *
 * @returns The exit code: 0, 1 when it failed, 2 when the options make no sense.
 */
export async function uninstall(
  options: UninstallOptions,
  ports: InstallationPorts,
): Promise<number> {
  try {
    const given = installPaths(options);
    const paths = await pathsInUnit(options, ports, given);
    const steps = [
      ...await stopSteps(options, ports, paths),
      ...await fileSteps(options, ports, paths),
      ...(options.purge && options.root === "" ? await runtimeSteps(ports) : []),
      ...await reloadSteps(options, ports, paths),
    ];
    if (steps.length === 0) ports.out("nothing is installed here");
    if (options.dryRun) {
      steps.forEach((step) => ports.out(`would ${step.what}`));
      return 0;
    }
    await runSteps(steps, ports);
    if (paths.binary !== given.binary && await ports.files.stat(given.binary) !== undefined) {
      ports.out(`left: ${given.binary} (the unit ran ${paths.binary})`);
    }
    if (options.root === "" && await ports.files.stat(CRI_PROXY_LINK) !== undefined) {
      ports.out(`note: ${CRI_PROXY_LINK} goes with the next boot; a kubelet that was given it`);
      ports.out("as image service endpoint must be given the runtime's own socket again");
    }
    if (!options.purge && await ports.files.stat(paths.config) !== undefined) {
      ports.out(`kept: ${paths.config} (--purge removes it)`);
    }
    return 0;
  } catch (error) {
    ports.err(`nydus-auth-agent: ${messageOf(error)}`);
    return error instanceof AgentError && error.code === "usage" ? 2 : 1;
  }
}

/** The unit says where `install --prefix` put the binary; without a unit, the option does. */
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
  if (await files.stat(paths.unit) !== undefined) steps.push(removeStep(files, paths.unit));
  if (await files.stat(paths.tmpfiles) !== undefined) steps.push(removeStep(files, paths.tmpfiles));
  const link = await files.stat(paths.credentialHelper);
  if (link?.kind === "symlink" && link.linkTarget === PROGRAM) {
    steps.push(removeStep(files, paths.credentialHelper));
  } else if (link !== undefined) {
    out(`left: ${paths.credentialHelper} (not ours)`);
  }
  if (await files.stat(paths.binary) !== undefined) steps.push(removeStep(files, paths.binary));
  if (!purge) return steps;
  if (await files.stat(paths.config) !== undefined) steps.push(removeStep(files, paths.config));
  const others = await files.stat(paths.configFolder) === undefined
    ? undefined
    : (await files.list(paths.configFolder)).filter((name) => !paths.config.endsWith(`/${name}`));
  if (others?.length === 0) steps.push(removeFolderStep(files, paths.configFolder));
  else if (others !== undefined) out(`left: ${paths.configFolder} (it holds files of others)`);
  return steps;
}

/** Credentials that were kept for the next start, and the folder that they are in. */
async function runtimeSteps({ files, out }: InstallationPorts): Promise<Step[]> {
  if ((await files.stat(RUNTIME_FOLDER))?.kind !== "directory") return [];
  // At the end: a service that stops removes its sockets itself.
  const settle = async () => {
    for (const name of await files.list(RUNTIME_FOLDER)) {
      if (RUNTIME_FILE.test(name)) await files.remove(`${RUNTIME_FOLDER}/${name}`);
    }
    const others = await files.list(RUNTIME_FOLDER);
    if (others.length === 0) await files.remove(RUNTIME_FOLDER);
    else out(`left: ${RUNTIME_FOLDER} (it holds files of others)`);
  };
  return [{
    what: `remove the folder ${RUNTIME_FOLDER}`,
    apply(undoable) {
      undoable({ undo: () => Promise.resolve(), settle });
      return Promise.resolve();
    },
  }];
}

// Moved aside first and removed at the end, so that it can be brought back.
function removeStep(files: InstallationPorts["files"], path: string): Step {
  return {
    what: `remove ${path}`,
    async apply(undoable) {
      const aside = await files.backUp(path);
      undoable({
        async undo() {
          await files.move(aside, path);
          if (await files.stat(aside) !== undefined) await files.remove(aside);
        },
        settle: () => files.remove(aside),
      });
      await files.remove(path);
    },
  };
}

// The folder goes when everything else is settled: until then it holds what was moved aside.
function removeFolderStep(files: InstallationPorts["files"], path: string): Step {
  return {
    what: `remove the folder ${path}`,
    apply(undoable) {
      undoable({ undo: () => Promise.resolve(), settle: () => files.remove(path) });
      return Promise.resolve();
    },
  };
}
