import { basename, dirname, isAbsolute, join, resolve } from "@std/path";
import { parseDocument } from "yaml";
import { findKubelet, flagOf } from "../agent/mod.ts";
import { PROGRAM } from "../assets/mod.ts";
import { AgentError, CREDENTIAL_PROVIDER, formatProblem } from "../model/mod.ts";
import { type Context, pointLink, readLink, removeFile } from "../platform/mod.ts";
import {
  type PluginDefinition,
  providerConfigPaths,
  readProviderConfig,
} from "../providers/mod.ts";

/** A change of this host. A failed one is repeated by running the command again. */
export interface Step {
  /** What it does; printed before it is applied. */
  readonly action: string;
  apply(): Promise<unknown>;
}

/** Options about the kubelet; named like its flags. */
export interface KubeletOptions {
  /** Root folder; empty for this host. */
  readonly root: string;
  readonly imageCredentialProviderConfig?: string;
  readonly imageCredentialProviderBinDir?: string;
}

/** How a change takes effect. */
export const RESTART_KUBELET =
  "the kubelet reads the change when it starts: systemctl restart kubelet\n";

/** Returns the paths in the options, else of a running kubelet. */
async function kubeletPaths(
  { root, imageCredentialProviderConfig, imageCredentialProviderBinDir }: KubeletOptions,
  { processRunner }: Context,
) {
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
    /** The folder of the plugins as the kubelet sees it, and below `root`. */
    binDir: resolve(binDir),
    pluginDir: join("/", root, binDir),
  };
}

type Entry = Awaited<ReturnType<typeof readEntries>>[number];

/** Returns all entries of the configuration. Throws if the kubelet would reject a file. */
async function readEntries(config: string, { files }: Context) {
  const paths = await providerConfigPaths(config, files);
  if (paths === undefined) throw new AgentError("usage", `${config}: it does not exist`);
  const names = new Map<string, string>();
  const entries = [];
  for (const file of paths) {
    const text = await files.readText(file) ?? "";
    const { plugins, problems } = readProviderConfig(text, file, names);
    if (problems[0] !== undefined) throw new AgentError("usage", formatProblem(problems[0]));
    entries.push(...plugins.map((plugin, index) => ({ file, text, index, plugins, plugin })));
  }
  return entries;
}

/**
 * Returns the steps that make the kubelet query the agent in place of a plugin: a link in the plugin
 * folder and, in the plugin's entry, the agent's name, with the plugin in the arguments. The entry is
 * changed last, so that it never names a missing program.
 *
 * @param name The plugin; `true` for the only one.
 * @param binary The agent's binary as the installed system sees it.
 * @param refuseShared Rejects a path that other users can change.
 */
export async function kubeletPluginSteps(
  context: Context,
  options: KubeletOptions,
  name: string | true,
  binary: string,
  refuseShared: (path: string) => Promise<void>,
): Promise<readonly Step[]> {
  const { files } = context;
  const refusal = (problem: string) => new AgentError("usage", `--kubelet-plugin: ${problem}`);
  const paths = await kubeletPaths(options, context);
  if (paths === undefined) {
    const flags = "--image-credential-provider-config and --image-credential-provider-bin-dir";
    throw refusal(`no kubelet with credential provider plugins runs here (pass its ${flags})`);
  }
  const { config, binDir, pluginDir } = paths;
  const entries = await readEntries(config, context);
  const steps: Step[] = [];
  const link = join(pluginDir, CREDENTIAL_PROVIDER);
  if (await readLink(link) !== binary) {
    steps.push({ action: `link ${link} to ${binary}`, apply: () => pointLink(link, binary) });
  }
  if (entries.some(({ plugin }) => plugin.name === CREDENTIAL_PROVIDER)) return steps;
  const names = entries.map(({ plugin }) => plugin.name).join(", ");
  const [entry, ...others] = entries.filter(({ plugin }) => name === true || plugin.name === name);
  if (entry === undefined || others.length > 0) throw refusal(`name one of these: ${names}`);
  const { file, text, plugin } = entry;
  const program = join(pluginDir, plugin.name);
  if (await files.stat(program) === undefined) throw refusal(`${program}: it does not exist`);
  for (const path of [pluginDir, file]) await refuseShared(path);
  const backup = `${file}.before-${PROGRAM}`;
  const { mode = 0o600 } = await files.stat(file) ?? {};
  steps.push({
    action: `copy ${file} to ${backup}`,
    apply: () => files.writeAtomic(backup, text, { mode: mode & 0o777 }),
  });
  const args = [join(binDir, plugin.name), ...plugin.args];
  return [...steps, await entryStep(context, entry, { name: CREDENTIAL_PROVIDER, args })];
}

/** Returns the steps that undo {@linkcode kubeletPluginSteps}; none without its link. */
export async function kubeletPluginRemovalSteps(
  context: Context,
  options: KubeletOptions,
): Promise<readonly Step[]> {
  const paths = await kubeletPaths(options, context);
  if (paths === undefined) return [];
  const link = join(paths.pluginDir, CREDENTIAL_PROVIDER);
  if (basename(await readLink(link) ?? "") !== PROGRAM) return [];
  const steps: Step[] = [{ action: `remove ${link}`, apply: () => removeFile(link) }];
  for (const entry of await readEntries(paths.config, context)) {
    const { name, args: [program = "", ...args] } = entry.plugin;
    if (name !== CREDENTIAL_PROVIDER) continue;
    if (dirname(program) === paths.binDir) {
      steps.unshift(await entryStep(context, entry, { name: basename(program), args }));
    } else {
      const problem = `${entry.file}: remove the entry ${name}, which install did not write`;
      context.host.err(`warning: ${problem}\n`);
    }
  }
  return steps;
}

/** Returns a step that changes an entry; comments and the other entries stay. */
async function entryStep(
  { files }: Context,
  { file, text, index, plugin, plugins }: Entry,
  change: Pick<PluginDefinition, "name" | "args">,
): Promise<Step> {
  const { kind, mode = 0 } = await files.stat(file, { noFollow: true }) ?? {};
  const changed = kind === "file" ? changedText(text, index, change) : text;
  const wanted = plugins.map((one) => one === plugin ? { ...plugin, ...change } : one);
  const { plugins: found } = readProviderConfig(changed, file);
  if (JSON.stringify(found) !== JSON.stringify(wanted)) {
    const remedy = "edit it as docs/providers/kubelet.md shows";
    throw new AgentError("usage", `${file}: its entries cannot be changed one by one (${remedy})`);
  }
  return {
    action: `replace ${plugin.name} by ${change.name} in ${file}`,
    apply: () => files.writeAtomic(file, changed, { mode: mode & 0o777 }),
  };
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
