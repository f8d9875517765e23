import {
  type ConfigProblem,
  formatDuration,
  parseImageTarget,
  profileOfPlugin,
  REGISTRY_PROFILES,
  type RegistryProfile,
} from "../../model/mod.ts";
import type { PluginDefinition } from "./provider_config.ts";

/** Longer than any token of a cloud is valid. */
const MAX_CACHE_MS = 24 * 3_600_000;

/**
 * Returns what is valid in a provider configuration but does not work as intended.
 *
 * @param environment The agent's environment, which plugins inherit.
 */
export function lintPlugins(
  plugins: readonly PluginDefinition[],
  environment: Readonly<Record<string, string | undefined>>,
  file: string,
): readonly ConfigProblem[] {
  const ownerOf = new Map<string, string>();
  return plugins.flatMap((plugin, i) => {
    const { name, matchImages, env, defaultCacheDurationMs } = plugin;
    const findings: ConfigProblem[] = [];
    const warn = (field: string, problem: string, remedy: string) =>
      findings.push({ file, place: `providers[${i}].${field}`, problem, remedy });
    const isSet = (variable: string) => (env[variable] ?? environment[variable]) !== undefined;
    const profile = profileOfPlugin(name);
    matchImages.forEach((pattern, k) => {
      const problem = patternProblem(pattern);
      if (problem !== undefined) warn(`matchImages[${k}]`, ...problem);
      const owner = ownerOf.get(pattern);
      if (owner !== undefined && owner !== name) {
        const remedy = "keep the pattern in one of the plugins";
        warn(`matchImages[${k}]`, `plugin ${owner} has the same pattern and precedes it`, remedy);
      }
      ownerOf.set(pattern, owner ?? name);
    });
    if (defaultCacheDurationMs > MAX_CACHE_MS) {
      const problem = `a response without a cacheDuration is used for ${
        formatDuration(defaultCacheDurationMs)
      }, longer than tokens are valid`;
      warn("defaultCacheDuration", problem, 'write at most "12h"');
    }
    for (const { name: variable, value, why } of profile?.remedies ?? []) {
      if (!isSet(variable)) warn("env", `${profile?.name}: ${why}`, `set ${variable} to ${value}`);
    }
    if (ignoresToken(plugin, profile, isSet)) {
      const { annotation = "", variable = "" } = profile?.tokenRole ?? {};
      const problem = `${profile?.name}: without a role, the service account token is not used`;
      const remedy = `require the annotation ${annotation}, or set ${variable} in env`;
      warn("tokenAttributes", problem, remedy);
    }
    return findings;
  });
}

/** Whether a plugin cannot use the tokens that its configuration requests. */
function ignoresToken(
  { tokenAttributes }: PluginDefinition,
  profile: RegistryProfile | undefined,
  isSet: (variable: string) => boolean,
): boolean {
  if (tokenAttributes === undefined || profile?.tokenRole === undefined) return false;
  const { requiredAnnotations, optionalAnnotations } = tokenAttributes;
  const { annotation, variable } = profile.tokenRole;
  return !requiredAnnotations.includes(annotation) && !optionalAnnotations.includes(annotation) &&
    !isSet(variable);
}

/** Returns why a pattern matches no image, or not those that it seems to mean, and the remedy. */
function patternProblem(pattern: string): [problem: string, remedy: string] | undefined {
  const slash = pattern.replace(/^https?:\/\//, "").indexOf("/");
  if (slash >= 0 && pattern.slice(pattern.indexOf("/", slash)).includes("*")) {
    return ["a path is a literal prefix, in which * stands for itself", "remove the * of the path"];
  }
  const labels = labelsOf(pattern);
  if (!labels.join().includes("*")) return undefined;
  const similar = REGISTRY_PROFILES.map(({ example }) => example).find((example) =>
    labelsOf(example).slice(-2).join() === labels.slice(-2).join() &&
    labelsOf(example).length !== labels.length
  );
  if (similar === undefined) return undefined;
  return [
    `* matches within one label, so it does not match hosts such as ${similar}`,
    `write a pattern with ${labelsOf(similar).length} labels`,
  ];
}

function labelsOf(pattern: string): readonly string[] {
  try {
    return parseImageTarget(pattern).labels;
  } catch {
    return []; // reported when the configuration was read
  }
}
