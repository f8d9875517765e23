import { basename } from "@std/path";
import { comparePatterns, ImagePattern, parseImageTarget } from "../model/mod.ts";
import type { PluginDefinition } from "./provider_config.ts";

/** A process with a kubelet in it, as its command line shows it. */
export interface RunningKubelet {
  readonly pid: number;
  readonly program: string;
  /** `--image-credential-provider-config`: a file, or a folder of them. */
  readonly configPath?: string;
  /** `--image-credential-provider-bin-dir`. */
  readonly binDir?: string;
  /** `--root-dir`: the kubelet reads a docker configuration there, too. */
  readonly rootDir: string;
}

const CONFIG_FLAG = "image-credential-provider-config";
const BIN_DIR_FLAG = "image-credential-provider-bin-dir";
const ROOT_DIR = "/var/lib/kubelet";
/** What the command line of a kubelet has in it, as an extended regular expression. */
export const KUBELET_WORDS = `kubelet|hyperkube|${CONFIG_FLAG}`;

/**
 * A kubelet out of a command line; undefined for any other program. Beside programs of that name,
 * those count that carry one and are given its flags (k3s and its kind, also behind
 * `--kubelet-arg`).
 */
export function kubeletOf(pid: number, argv: readonly string[]): RunningKubelet | undefined {
  const [program = "", ...args] = argv;
  const configPath = flag(args, CONFIG_FLAG);
  const binDir = flag(args, BIN_DIR_FLAG);
  const isKubelet = /^(?:kubelet|hyperkube)$/.test(basename(program));
  if (!isKubelet && (configPath === undefined || binDir === undefined)) return undefined;
  return {
    pid,
    program,
    rootDir: flag(args, "root-dir") ?? ROOT_DIR,
    ...(configPath !== undefined && { configPath }),
    ...(binDir !== undefined && { binDir }),
  };
}

/** The last value counts, as in pflag; `--name value` and `--name=value`, one dash or two. */
function flag(args: readonly string[], name: string): string | undefined {
  let value: string | undefined;
  for (const [i, arg] of args.entries()) {
    const text = arg.replace(/^--?kubelet-arg=/, "--");
    if (text === `--${name}` || text === `-${name}`) value = args[i + 1] ?? value;
    for (const start of [`--${name}=`, `-${name}=`]) {
      if (text.startsWith(start)) value = text.slice(start.length);
    }
  }
  return value;
}

/** A plugin, and the patterns of it that match an image, the most specific first. */
export interface PluginMatch {
  readonly plugin: PluginDefinition;
  readonly patterns: readonly string[];
}

/** Which plugins a kubelet would run for an image: each with a pattern that matches. */
export function pluginMatches(
  plugins: readonly PluginDefinition[],
  image: string,
): readonly PluginMatch[] {
  const target = parseImageTarget(image);
  return plugins.map((plugin) => ({
    plugin,
    patterns: plugin.matchImages.filter((text) => {
      try {
        return ImagePattern.parse(text).matches(target);
      } catch {
        return false; // the kubelet's own answer to a pattern that does not parse
      }
    }).sort(comparePatterns),
  }));
}

/** How two lists of plugins differ, a sentence each; values of the environment are not told. */
export function pluginDifferences(
  theirs: readonly PluginDefinition[],
  ours: readonly PluginDefinition[],
): readonly string[] {
  const own = new Map(ours.map((plugin) => [plugin.name, plugin]));
  const names = new Set(theirs.map(({ name }) => name));
  return [
    ...theirs.flatMap((plugin) => {
      const other = own.get(plugin.name);
      if (other === undefined) return [`plugin ${plugin.name} is the kubelet's alone`];
      return FIELDS.filter(([, read]) => read(plugin) !== read(other))
        .map(([what]) => `plugin ${plugin.name}: ${what} differ`);
    }),
    ...ours.filter(({ name }) => !names.has(name)).map(({ name }) =>
      `plugin ${name} is the agent's alone`
    ),
  ];
}

const FIELDS: readonly (readonly [string, (plugin: PluginDefinition) => string])[] = [
  ["matchImages", ({ matchImages }) => JSON.stringify(matchImages)],
  ["its args", ({ args }) => JSON.stringify(args)],
  ["its environment variables", ({ env }) => JSON.stringify(Object.entries(env).sort())],
  ["the default cache durations", (plugin) => String(plugin.defaultCacheDurationMs)],
  ["the token attributes", ({ tokenAttributes }) => JSON.stringify(tokenAttributes ?? null)],
];
