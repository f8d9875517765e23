import type { AgentConfig } from "../config/mod.ts";
import {
  formatProblem,
  type ImageReference,
  messageOf,
  REASON_CODES,
  type Resolution,
} from "../model/mod.ts";
import {
  KUBELET_WORDS,
  kubeletOf,
  openProviderConfig,
  type PluginDefinition,
  pluginDifferences,
  type PluginMatch,
  pluginMatches,
  type RunningKubelet,
} from "../resolve/mod.ts";
import { environmentNames, findProcesses } from "../discover/mod.ts";
import { openChain } from "./chain.ts";
import type { Context } from "./context.ts";
import { dockerDifferences } from "./kubelet_docker.ts";
import { alignColumns, printable } from "./table.ts";

/** Where the kubelet's things are, when its command line cannot be seen. */
export interface KubeletPaths {
  readonly config?: string;
  readonly binDir?: string;
}

/** What a kubelet of this machine would do for an image, and in what the agent differs. */
export interface KubeletView {
  /** Undefined when both paths were given, or none is seen. */
  readonly kubelet?: RunningKubelet;
  readonly configPath?: string;
  readonly binDir?: string;
  readonly matches: readonly PluginMatch[];
  /** What the kubelet's plugins answered, run as the agent would run them. */
  readonly resolution?: Resolution;
  readonly differences: readonly string[];
  /** Why something is not known. */
  readonly problems: readonly string[];
}

/** Variables that decide what a plugin answers, and that a unit of its own often lacks. */
const TELLING_ENV = /^(?:AWS_|AZURE_|GOOGLE_|GCE_|HTTPS?_PROXY$|NO_PROXY$|https?_proxy$|no_proxy$)/;

/**
 * Looks at the image as the kubelet would: its flags, its plugins, run from its folder. The plugins
 * are executed, by us and so in our environment.
 */
export async function asKubelet(
  context: Context,
  config: AgentConfig,
  image: ImageReference,
  paths: KubeletPaths,
): Promise<KubeletView> {
  const problems: string[] = [];
  const kubelet = await seenKubelet(context, paths, problems);
  const configPath = paths.config ?? kubelet?.configPath;
  const binDir = paths.binDir ?? kubelet?.binDir;
  const base = {
    ...(kubelet && { kubelet }),
    ...(configPath !== undefined && { configPath }),
    ...(binDir !== undefined && { binDir }),
  };
  const docker = await dockerDifferences(context, config, kubelet, image);
  if (configPath === undefined || binDir === undefined) {
    if (kubelet !== undefined) {
      problems.push("the kubelet has no flags for credential plugins: it runs none");
    }
    return { ...base, matches: [], differences: docker, problems };
  }
  const theirs = await readPlugins(context, configPath, problems);
  const { kubelet: own } = config.providers;
  const ours = own.enabled ? await readPlugins(context, own.configPath, problems) : [];
  return {
    ...base,
    matches: pluginMatches(theirs, image.text),
    resolution: await askPlugins(context, config, image, base),
    differences: [
      ...pathDifferences(own, configPath, binDir),
      ...pluginDifferences(theirs, ours),
      ...docker,
      ...await envDifferences(context, kubelet),
    ],
    problems,
  };
}

async function seenKubelet(
  { processRunner }: Context,
  paths: KubeletPaths,
  problems: string[],
): Promise<RunningKubelet | undefined> {
  if (paths.config !== undefined && paths.binDir !== undefined) return undefined;
  const processes = await findProcesses(processRunner, KUBELET_WORDS) ?? [];
  const [first, ...others] = processes.flatMap(({ pid, argv }) => kubeletOf(pid, argv) ?? []);
  if (first === undefined) {
    problems.push(
      "no kubelet is seen among the processes: run this in the host's PID namespace, or give " +
        "--kubelet-config and --kubelet-bin-dir",
    );
  }
  if (others.length > 0) {
    problems.push(`${others.length + 1} kubelets run here; this is about process ${first?.pid}`);
  }
  return first;
}

async function readPlugins(
  { files }: Context,
  path: string,
  problems: string[],
): Promise<readonly PluginDefinition[]> {
  try {
    const reading = await openProviderConfig(path, files);
    if (reading === undefined) {
      problems.push(`${path}: it does not exist`);
      return [];
    }
    problems.push(...reading.problems.map(formatProblem));
    return reading.plugins;
  } catch (error) {
    problems.push(messageOf(error));
    return [];
  }
}

async function askPlugins(
  context: Context,
  config: AgentConfig,
  image: ImageReference,
  { configPath, binDir }: { readonly configPath?: string; readonly binDir?: string },
): Promise<Resolution> {
  const { providers } = config;
  const chain = await openChain(context, {
    ...config,
    providers: {
      ...providers,
      labels: { enabled: false },
      cri: { ...providers.cri, enabled: false },
      docker: { ...providers.docker, enabled: false },
      kubesecret: { ...providers.kubesecret, enabled: false },
      kubelet: {
        ...providers.kubelet,
        enabled: true,
        configPath: configPath ?? "",
        binDir: binDir ?? "",
      },
    },
  });
  try {
    const resolution = await chain.chain.resolve({ image, labels: {} }, { all: true });
    const attempts = resolution.attempts.filter(({ provider }) => provider === "kubelet");
    return { ...resolution, attempts };
  } finally {
    await chain[Symbol.asyncDispose]();
  }
}

function pathDifferences(
  own: AgentConfig["providers"]["kubelet"],
  configPath: string,
  binDir: string,
): readonly string[] {
  if (!own.enabled) {
    const flag =
      `--credential-provider-config ${configPath} --credential-provider-bin-dir ${binDir}`;
    return [`the agent runs no plugins; give it ${flag}`];
  }
  return [
    ...(own.configPath === configPath ? [] : [`the agent reads ${own.configPath}`]),
    ...(own.binDir === binDir ? [] : [`the agent runs plugins from ${own.binDir}`]),
  ];
}

async function envDifferences(
  { host, processRunner }: Context,
  kubelet: RunningKubelet | undefined,
): Promise<readonly string[]> {
  if (kubelet === undefined) return [];
  const names = await environmentNames(processRunner, kubelet.pid);
  if (names === undefined) {
    return [`the kubelet's environment cannot be read (/proc/${kubelet.pid}/environ)`];
  }
  const missing = names.filter((name) => TELLING_ENV.test(name) && !(name in host.env));
  if (missing.length === 0) return [];
  return [`the kubelet has ${missing.join(", ")} in its environment, and this command has not`];
}

/** The order in which a kubelet takes credentials, which is not ours. */
const ORDER = "the pod's pull secrets first, then plugins and the node's docker configuration " +
  "together, by the most specific pattern; the agent takes the first provider of its chain";

/** The view for people. */
export function kubeletText(view: KubeletView): string {
  const { kubelet, configPath, binDir, matches, resolution, differences, problems } = view;
  const head = [
    [
      "kubelet",
      kubelet === undefined ? "not looked at" : `process ${kubelet.pid}, ${kubelet.program}`,
    ],
    ["config", configPath ?? "none"],
    ["plugins in", binDir ?? "none"],
    ["order", ORDER],
  ].map((row) => row.map(printable));
  const [attempt] = resolution?.attempts ?? [];
  const notes = attempt?.outcome.notes ?? [];
  const rows = matches.map(({ plugin: { name }, patterns }) => {
    const note = notes.find(({ subject }) => subject === name);
    const words = note === undefined ? "" : note.detail ?? REASON_CODES[note.reason];
    const why = note === undefined ? ["-", ""] : [note.reason, words];
    return [name, patterns[0] ?? "does not match", ...why].map(printable);
  });
  return [
    "\nAs the kubelet would\n",
    alignColumns(head),
    "\n",
    rows.length === 0 ? "" : alignColumns([["PLUGIN", "PATTERN", "REASON", "WHY"], ...rows]),
    ...problems.map((text) => `problem: ${printable(text)}\n`),
    ...differences.map((text) => `differs: ${printable(text)}\n`),
    differences.length === 0 && problems.length === 0
      ? "the agent reads the same plugins in the same way\n"
      : "",
  ].join("");
}

/** The view for programs. */
export function kubeletJson({ resolution, matches, ...view }: KubeletView) {
  const outcome = resolution?.attempts[0]?.outcome;
  return {
    ...view,
    plugins: matches.map(({ plugin: { name }, patterns }) => ({ name, patterns })),
    ...(outcome && { outcome: outcome.kind, reason: outcome.reason, notes: outcome.notes }),
  };
}
