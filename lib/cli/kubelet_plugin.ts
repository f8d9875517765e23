import { basename, dirname, isAbsolute, join, resolve } from "@std/path";
import { parseDocument } from "yaml";
import { findKubelet, flagOf } from "../agent/mod.ts";
import { AgentError, CREDENTIAL_PROVIDER, formatProblem } from "../model/mod.ts";
import {
  type PluginDefinition,
  providerConfigPaths,
  readProviderConfig,
} from "../providers/exec_plugin/mod.ts";
import {
  type InstallationPorts,
  linkStep,
  PROGRAM,
  refuseSharedFolders,
  removeStep,
  replaceStep,
  type Step,
} from "./installation.ts";

/** Options about the kubelet; named like its flags. */
export interface KubeletOptions {
  /** Root folder; empty for this host. */
  readonly root: string;
  readonly imageCredentialProviderConfig?: string;
  readonly imageCredentialProviderBinDir?: string;
}

/** How a change takes effect. */
export const RESTART_KUBELET =
  "the kubelet reads the change when it starts: systemctl restart kubelet";

/** The kubelet's configuration and plugin folder: as it sees them, and below the root folder. */
interface KubeletPaths {
  readonly config: string;
  readonly binDir: string;
  readonly pluginDir: string;
}

/** Returns the paths in the options, else of a running kubelet. */
async function kubeletPaths(
  { root, imageCredentialProviderConfig, imageCredentialProviderBinDir }: KubeletOptions,
  { processRunner }: InstallationPorts,
): Promise<KubeletPaths | undefined> {
  const kubelet = root === "" ? await findKubelet(processRunner) : undefined;
  const valueOf = (flag: string) => kubelet && flagOf(kubelet, flag);
  const config = imageCredentialProviderConfig ?? valueOf("--image-credential-provider-config");
  const binDir = imageCredentialProviderBinDir ?? valueOf("--image-credential-provider-bin-dir");
  if (config === undefined || binDir === undefined) return undefined;
  for (const path of [config, binDir]) {
    if (!isAbsolute(path)) throw new AgentError("usage", `${path}: not an absolute path`);
  }
  return {
    config: join("/", root, config),
    binDir: resolve(binDir),
    pluginDir: join("/", root, binDir),
  };
}

/** An entry of a configuration file. */
interface Entry {
  readonly file: string;
  readonly text: string;
  readonly index: number;
  readonly plugins: readonly PluginDefinition[];
  readonly plugin: PluginDefinition;
}

/** Returns all entries. Throws if the kubelet would reject a file. */
async function readEntries(
  config: string,
  { files }: InstallationPorts,
): Promise<readonly Entry[]> {
  const paths = await providerConfigPaths(config, files);
  if (paths === undefined) throw new AgentError("usage", `${config}: it does not exist`);
  const names = new Map<string, string>();
  const entries: Entry[] = [];
  for (const file of paths) {
    const text = await files.readText(file);
    const { plugins, problems } = readProviderConfig(text, file, { mayBeEmpty: true, names });
    if (problems[0] !== undefined) throw new AgentError("usage", formatProblem(problems[0]));
    plugins.forEach((plugin, index) => entries.push({ file, text, index, plugins, plugin }));
  }
  return entries;
}

/**
 * Returns the steps that make the kubelet query the agent in place of a plugin: a link in the plugin
 * folder and, in the plugin's entry, the agent's name, with the plugin in the arguments.
 *
 * @param name The plugin; `true` for the only one.
 * @param binary The agent's binary as the installed system sees it.
 */
export async function kubeletPluginSteps(
  options: KubeletOptions,
  ports: InstallationPorts,
  { name, binary, uid }: {
    readonly name: string | true;
    readonly binary: string;
    readonly uid: number;
  },
): Promise<readonly Step[]> {
  const { files } = ports;
  const refuse = (problem: string) => new AgentError("usage", `--kubelet-plugin: ${problem}`);
  const paths = await kubeletPaths(options, ports);
  if (paths === undefined) {
    const flags = "--image-credential-provider-config and --image-credential-provider-bin-dir";
    throw refuse(`no kubelet with credential provider plugins runs here (pass its ${flags})`);
  }
  const { config, binDir, pluginDir } = paths;
  const entries = await readEntries(config, ports);
  const link = join(pluginDir, CREDENTIAL_PROVIDER);
  const steps = [await linkStep(files, link, binary)];
  if (!entries.some(({ plugin }) => plugin.name === CREDENTIAL_PROVIDER)) {
    const names = entries.map(({ plugin }) => plugin.name).join(", ");
    const [entry, ...others] = entries.filter(({ plugin }) =>
      name === true || plugin.name === name
    );
    if (entry === undefined || others.length > 0) throw refuse(`name one of these: ${names}`);
    const { file, plugin } = entry;
    const program = join(pluginDir, plugin.name);
    if (await files.stat(program) === undefined) throw refuse(`${program}: it does not exist`);
    for (const path of [pluginDir, file]) await refuseSharedFolders(files, uid, path);
    const backup = `${file}.before-${PROGRAM}`;
    const { mode = 0o600 } = await files.stat(file) ?? {};
    const copy = () => files.copyFile(file, backup, mode & 0o777);
    const args = [join(binDir, plugin.name), ...plugin.args];
    steps.push(replaceStep(files, `copy ${file} to ${backup}`, backup, copy));
    steps.push(await entryStep(ports, entry, { name: CREDENTIAL_PROVIDER, args }));
  }
  return steps.filter((step) => step !== undefined);
}

/** Returns the steps that undo {@linkcode kubeletPluginSteps}; none without its link. */
export async function kubeletPluginRemovalSteps(
  options: KubeletOptions,
  ports: InstallationPorts,
): Promise<readonly Step[]> {
  const { files, err } = ports;
  const paths = await kubeletPaths(options, ports);
  if (paths === undefined) return [];
  const link = join(paths.pluginDir, CREDENTIAL_PROVIDER);
  const { linkTarget = "" } = await files.stat(link) ?? {};
  if (basename(linkTarget) !== PROGRAM) return [];
  const steps = [removeStep(files, link)];
  for (const entry of await readEntries(paths.config, ports)) {
    const { name, args: [program = "", ...args] } = entry.plugin;
    if (name !== CREDENTIAL_PROVIDER) continue;
    if (dirname(program) === paths.binDir) {
      steps.unshift(await entryStep(ports, entry, { name: basename(program), args }));
    } else err(`warning: ${entry.file}: remove the entry ${name}, which install did not write`);
  }
  return steps;
}

/** Returns a step that changes an entry; comments and the other entries stay. */
async function entryStep(
  { files }: InstallationPorts,
  { file, text, index, plugin, plugins }: Entry,
  change: Pick<PluginDefinition, "name" | "args">,
): Promise<Step> {
  const { kind, mode = 0 } = await files.stat(file) ?? {};
  const changed = kind === "file" ? changedText(text, index, change) : text;
  const wanted = plugins.map((one) => one === plugin ? { ...plugin, ...change } : one);
  const { plugins: found } = readProviderConfig(changed, file, { mayBeEmpty: true });
  if (JSON.stringify(found) !== JSON.stringify(wanted)) {
    const remedy = "edit it as docs/providers/kubelet.md shows";
    throw new AgentError("usage", `${file}: its entries cannot be changed one by one (${remedy})`);
  }
  const action = `replace ${plugin.name} by ${change.name} in ${file}`;
  return replaceStep(files, action, file, () => files.writeText(file, changed, mode & 0o777));
}

/** Returns the text unchanged if the entry is not where it is expected. */
function changedText(
  text: string,
  index: number,
  { name, args }: Pick<PluginDefinition, "name" | "args">,
): string {
  const document = parseDocument(text);
  const entry = ["providers", index];
  if (document.errors.length > 0 || !document.hasIn([...entry, "name"])) return text;
  document.setIn([...entry, "name"], name);
  // Quoted, so that no argument becomes a number or a boolean.
  if (args.length > 0) {
    document.setIn([...entry, "args"], parseDocument(JSON.stringify(args)).contents);
  } else document.deleteIn([...entry, "args"]);
  const isJson = text.trimStart().startsWith("{");
  try {
    if (isJson) return `${JSON.stringify(document.toJS(), null, 2)}\n`;
    return document.toString({ lineWidth: 0 });
  } catch {
    return text; // another entry refers to what was replaced
  }
}
