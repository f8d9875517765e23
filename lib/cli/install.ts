import { dirname } from "@std/path";
import { asset } from "../assets/mod.ts";
import { AgentError, messageOf } from "../model/mod.ts";
import {
  CREDENTIAL_HELPER,
  executes,
  findSystemctl,
  type InstallationPorts,
  type InstallPaths,
  installPaths,
  PROGRAM,
  refuseSharedFolders,
  replaceStep,
  runSteps,
  type Step,
  systemctlReports,
  systemctlStep,
  unitState,
} from "./installation.ts";

/** What to install, and where. */
export interface InstallOptions {
  /** Folder above `bin`. */
  readonly prefix: string;
  /** Folder that stands for `/`, for building images; empty for this machine. */
  readonly root: string;
  /** Only say what would be done. */
  readonly dryRun: boolean;
  /** Make the link by which docker's tools find us. */
  readonly dockerCredentialHelper: boolean;
  /** Enable and start the service too. */
  readonly now: boolean;
}

/** What `install` works with. */
export interface InstallPorts extends InstallationPorts {
  /** The program that runs, and whether it is the compiled binary. */
  readonly self: { readonly path: string; readonly standalone: boolean; readonly uid: number };
  /** What is wrong with an existing configuration file, one line each. */
  readonly checkConfiguration: (path: string) => Promise<readonly string[]>;
}

/** What there is to do, what is done already, and what to warn about. */
interface Plan {
  readonly steps: readonly Step[];
  readonly notes: readonly string[];
}

/**
 * Puts the binary, its unit, a configuration and, if asked, the credential helper's link in place,
 * saying each step before it is done. What is there already stays ("unchanged"), an existing
 * configuration always; when a step fails, everything is taken back.
 *
 * @returns The exit code: 0, 1 when it failed, 2 when the options make no sense.
 */
export async function install(options: InstallOptions, ports: InstallPorts): Promise<number> {
  try {
    const paths = installPaths(options);
    if (!ports.self.standalone) {
      throw new AgentError("usage", "install: this is not the compiled binary (build one first)");
    }
    if (options.now && options.root !== "") {
      throw new AgentError("usage", "--now: what is below --root cannot be started");
    }
    for (const folder of [paths.binFolder, paths.configFolder, paths.unitFolder, paths.tmpfiles]) {
      await refuseSharedFolders(ports.files, ports.self.uid, folder);
    }
    const plan = await makePlan(options, ports, paths);
    plan.notes.forEach(ports.out);
    await warnAboutConfiguration(ports, paths);
    if (options.dryRun) {
      plan.steps.forEach((step) => ports.out(`would ${step.what}`));
      return 0;
    }
    await runSteps(plan.steps, ports);
    if (!options.now && plan.steps.length > 0 && options.root === "") printNextSteps(ports);
    return 0;
  } catch (error) {
    ports.err(`nydus-auth-agent: ${messageOf(error)}`);
    return error instanceof AgentError && error.code === "usage" ? 2 : 1;
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
    await file(await linkStep(ports, paths), paths.credentialHelper);
  }
  await file(await configStep(ports, paths), paths.config);
  await file(await unitStep(ports, paths), paths.unit);
  await file(await tmpfilesStep(ports, paths), paths.tmpfiles);
  if (options.now) steps.push(...await startSteps(ports, paths, steps.length > 0));
  return { steps, notes };
}

// From the top down, so that each can be made, and unmade, by itself.
async function missingFolders(
  { files }: Pick<InstallPorts, "files">,
  path: string,
): Promise<string[]> {
  if (path === "/" || await files.stat(path) !== undefined) return [];
  return [...await missingFolders({ files }, dirname(path)), path];
}

function folderStep({ files }: InstallPorts, path: string): Step {
  return {
    what: `make the folder ${path}`,
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
  const what = found === undefined ? `copy this program to ${binary}` : `replace ${binary}`;
  return replaceStep(files, what, binary, () => files.copyFile(self.path, binary, 0o755));
}

async function linkStep({ files }: InstallPorts, paths: InstallPaths) {
  const path = paths.credentialHelper;
  const found = await files.stat(path);
  if (found?.kind === "symlink" && found.linkTarget === PROGRAM) return undefined;
  if (found !== undefined) {
    throw new AgentError("io", `link ${path}: something else is there (move it aside first)`);
  }
  const what = `link ${path} to ${PROGRAM}`;
  return replaceStep(files, what, path, () => files.symlink(path, PROGRAM));
}

async function configStep({ files }: InstallPorts, { config }: InstallPaths) {
  if (await files.stat(config) !== undefined) return undefined;
  const what = `write ${config} (the commented sample)`;
  return replaceStep(
    files,
    what,
    config,
    () => files.writeText(config, asset("config.toml"), 0o600),
  );
}

function unitStep(ports: InstallPorts, { unit, binaryInUnit }: InstallPaths) {
  const text = asset("nydus-auth-agent.service")
    .replaceAll("/usr/local/bin/nydus-auth-agent", binaryInUnit);
  return textStep(ports, unit, text);
}

function tmpfilesStep(ports: InstallPorts, { tmpfiles }: InstallPaths) {
  return textStep(ports, tmpfiles, asset("nydus-auth-agent.tmpfiles.conf"));
}

/** Nothing is to be done where the text is there already. */
async function textStep({ files }: InstallPorts, path: string, text: string) {
  const found = await files.stat(path);
  if (found?.kind === "file" && await files.readText(path) === text) return undefined;
  const what = found === undefined ? `write ${path}` : `replace ${path}`;
  return replaceStep(files, what, path, () => files.writeText(path, text, 0o644));
}

async function warnAboutConfiguration(
  { files, err, checkConfiguration }: InstallPorts,
  { config }: InstallPaths,
): Promise<void> {
  if (await files.stat(config) === undefined) return;
  for (const problem of await checkConfiguration(config)) err(`warning: ${problem}`);
}

// A service that is up to date is left alone; one that runs an older binary is restarted, also when
// an earlier `install` has replaced the file.
async function startSteps(
  ports: InstallPorts,
  { binary }: InstallPaths,
  changed: boolean,
): Promise<Step[]> {
  const systemctl = await findSystemctl(ports.files);
  if (systemctl === undefined) {
    throw new AgentError("io", "--now: systemd does not run this machine (leave out --now)");
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
  out("nothing was started or restarted; to do so:");
  out(`  systemctl daemon-reload && systemctl enable ${PROGRAM} && systemctl restart ${PROGRAM}`);
  out(`(${CREDENTIAL_HELPER} comes with --docker-credential-helper)`);
}
