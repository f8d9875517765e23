import { basename, isAbsolute, join } from "@std/path";
import { type ConfigObject, ConfigReport } from "../../formats/mod.ts";
import {
  type ConfigProblem,
  CREDENTIAL_PROVIDER,
  defined,
  type FileSystem,
  formatDuration,
  ImagePattern,
  messageOf,
  parseDurationMs,
  parseImageTarget,
  PLUGIN_API_VERSION,
  profileOfPlugin,
  REGISTRY_PROFILES,
  type RegistryProfile,
} from "../../model/mod.ts";

/** The service account data that a plugin requires for its requests (KEP-4412). */
export interface TokenAttributes {
  /** Audience of the token. */
  readonly audience: string;
  /** If false, the plugin is also executed without a token when no account is known. */
  readonly requireServiceAccount: boolean;
  /** Accounts without one of these are skipped. */
  readonly requiredAnnotations: readonly string[];
  readonly optionalAnnotations: readonly string[];
  /** Whether a response is cached per account, or per token and thus per pod. */
  readonly cacheType: "ServiceAccount" | "Token";
}

/** Definition of an exec plugin in a `CredentialProviderConfig`. */
export interface PluginDefinition {
  readonly name: string;
  /** Set if it is not in the plugin folder. */
  readonly path?: string;
  readonly matchImages: readonly string[];
  readonly defaultCacheDurationMs: number;
  readonly args: readonly string[];
  readonly env: Readonly<Record<string, string>>;
  /** Set for a plugin that is executed for the pods' service accounts (KEP-4412). */
  readonly tokenAttributes?: TokenAttributes;
}

/** A decoded configuration; it cannot be used if there is a problem. */
export interface ProviderConfigReading {
  readonly plugins: readonly PluginDefinition[];
  readonly problems: readonly ConfigProblem[];
  readonly warnings: readonly ConfigProblem[];
}

const CONFIG_API_VERSION = "kubelet.config.k8s.io/v1";
const CONFIG_KIND = "CredentialProviderConfig";
const CACHE_TYPES = ["ServiceAccount", "Token"] as const;

/**
 * Returns the file at a path, or the files of the folder there in the order of their names, which
 * newer kubelets merge. Returns undefined if nothing exists at the path.
 *
 * @throws {AgentError} `io`.
 */
export async function providerConfigPaths(
  path: string,
  files: Pick<FileSystem, "stat" | "list">,
): Promise<readonly string[] | undefined> {
  const stat = await files.stat(path);
  if (stat?.kind !== "directory") return stat && [path];
  const paths: string[] = [];
  for (const name of await files.list(path)) {
    const file = join(path, name);
    if (!/\.(?:json|ya?ml)$/.test(name) || (await files.stat(file))?.kind !== "file") continue;
    paths.push(file);
  }
  return paths;
}

/**
 * Reads the configuration at a path, together with its text. The files of a folder must have a
 * provider together, and names must be unique. Returns undefined if nothing exists at the path, or if
 * a file was removed during the call.
 *
 * @throws {AgentError} `io`.
 */
export async function openProviderConfig(
  path: string,
  files: Pick<FileSystem, "stat" | "list" | "readText">,
): Promise<ProviderConfigReading & { readonly text: string } | undefined> {
  const paths = await providerConfigPaths(path, files);
  if (paths === undefined) return undefined;
  const names = new Map<string, string>();
  const texts: string[] = [];
  const readings: ProviderConfigReading[] = [];
  for (const file of paths) {
    const text = await files.readText(file);
    if (text === undefined) return undefined;
    texts.push(file, text);
    readings.push(readProviderConfig(text, file, names));
  }
  const plugins = readings.flatMap(({ plugins }) => plugins.map(wrapped));
  const problems = readings.flatMap(({ problems }) => problems);
  if (plugins.length === 0 && problems.length === 0) {
    const problem = readings.length === 0
      ? "there is no .json, .yaml or .yml file in the folder"
      : "at least one provider is required";
    problems.push({ file: path, place: "", problem, remedy: "add a plugin" });
  }
  const warnings = readings.flatMap(({ warnings }) => warnings);
  return { plugins, problems, warnings, text: JSON.stringify(texts) };
}

/**
 * Returns the plugin that an entry for the agent's own program stands for. The agent executes it
 * itself: the program may not exist in the agent's container.
 */
function wrapped(plugin: PluginDefinition): PluginDefinition {
  const [path = "", ...args] = plugin.args;
  if (plugin.name !== CREDENTIAL_PROVIDER || !isAbsolute(path)) return plugin;
  return { ...plugin, name: basename(path), path, args };
}

/**
 * Decodes a `CredentialProviderConfig` (YAML or JSON) and validates it as the kubelet does
 * (Kubernetes `pkg/credentialprovider/plugin/config.go`, `validateCredentialProviderConfig`).
 * Reports all problems, not only the first.
 *
 * @param names Plugins of the files before it and their files, to which this one's are added.
 */
export function readProviderConfig(
  text: string,
  file: string,
  names = new Map<string, string>(),
): ProviderConfigReading {
  const report = new ConfigReport(file);
  const config = report.parse(text, `start it with apiVersion: ${CONFIG_API_VERSION}`);
  const plugins = config === undefined ? [] : readProviders(config, names);
  return { plugins, problems: report.problems, warnings: report.warnings };
}

function readProviders(
  config: ConfigObject,
  names: Map<string, string>,
): readonly PluginDefinition[] {
  const { report } = config;
  const header = { kind: CONFIG_KIND, apiVersion: CONFIG_API_VERSION };
  for (const [name, wanted] of Object.entries(header)) {
    if (config.get(name) === wanted) continue;
    report.warn(name, "the kubelet expects another value", `write ${wanted}`);
  }
  const providers = config.list("providers", "write one `- name: …` for each plugin");
  config.warnUnread();
  return providers.flatMap((value, i) => {
    const remedy = "write name, apiVersion, matchImages …";
    const provider = report.object(value, `providers[${i}]`, remedy);
    return provider === undefined ? [] : readProvider(provider, names) ?? [];
  });
}

/** Returns undefined after a problem. */
function readProvider(
  provider: ConfigObject,
  names: Map<string, string>,
): PluginDefinition | undefined {
  const { report } = provider;
  const problemsBefore = report.problems.length;
  const tokens = provider.object("tokenAttributes", "write serviceAccountTokenAudience, …");
  const definition = {
    name: readName(provider, names),
    matchImages: readPatterns(provider),
    defaultCacheDurationMs: readDuration(provider),
    args: provider.strings("args"),
    env: readEnv(provider),
    ...defined({ tokenAttributes: tokens && readTokenAttributes(tokens) }),
  };
  const version = provider.string("apiVersion");
  if (version !== PLUGIN_API_VERSION) {
    const problem = version === ""
      ? "it is required"
      : `${JSON.stringify(version)} is not supported`;
    provider.problem("apiVersion", problem, `write ${PLUGIN_API_VERSION}`);
  }
  provider.warnUnread();
  return report.problems.length === problemsBefore ? definition : undefined;
}

function readName(provider: ConfigObject, names: Map<string, string>): string {
  const name = provider.string("name");
  const quoted = JSON.stringify(name);
  const { file } = provider.report;
  const other = names.get(name);
  if (name === "") {
    provider.problem("name", "the name is required", "write the plugin's file name");
  } else if (/[ /\\\0]/.test(name) || name === "." || name === "..") {
    const remedy = "use no space, slash or backslash, and neither . nor ..";
    provider.problem("name", `the name ${quoted} is not a file name`, remedy);
  } else if (other !== undefined) {
    const where = other === file ? "twice" : `in ${other} too`;
    provider.problem("name", `the name ${quoted} is used ${where}`, "define each plugin once");
  }
  names.set(name, file);
  return name;
}

function readPatterns(provider: ConfigObject): readonly string[] {
  const patterns = provider.strings("matchImages");
  if (patterns.length === 0) {
    const remedy = 'write patterns such as ["*.registry.example.com"]';
    provider.problem("matchImages", "at least one pattern is required", remedy);
  }
  patterns.forEach((pattern, i) => {
    const field = `matchImages[${i}]`;
    if (pattern === "") {
      provider.problem(field, "the pattern is empty", "remove it, or write a registry");
      return;
    }
    const warn = (problem: string, remedy: string) =>
      provider.report.warn(provider.place(field), problem, remedy);
    try {
      if (!ImagePattern.parse(pattern).isBracketedIpv6) return;
      const problem = "the kubelet never matches an IPv6 address without a port";
      warn(problem, "add the port, if the images have one");
    } catch (error) {
      warn(`it matches nothing: ${messageOf(error)}`, "correct or remove the pattern");
    }
  });
  return patterns;
}

function readDuration(provider: ConfigObject): number {
  const value = provider.get("defaultCacheDuration");
  try {
    if (value === undefined) throw new Error("it is required");
    if (typeof value !== "string") throw new Error("it is not a string");
    const ms = parseDurationMs(value);
    if (ms < 0) throw new Error("it is negative");
    return ms;
  } catch (error) {
    const remedy = 'write a duration such as "12h", or "0s" for no caching';
    provider.problem("defaultCacheDuration", messageOf(error), remedy);
    return 0;
  }
}

function readEnv(provider: ConfigObject): Readonly<Record<string, string>> {
  const { report } = provider;
  const env = new Map<string, string>();
  const list = provider.list("env", "write one `- name: …, value: …` for each variable");
  list.forEach((item, i) => {
    const variable = report.object(item, provider.place(`env[${i}]`), "write name and value");
    if (variable === undefined) return;
    const name = variable.string("name");
    const value = variable.string("value");
    if (name === "") {
      variable.problem("name", "the name is required", "write the name of the variable");
    } else if (/[=\0]/.test(name) || value.includes("\0")) {
      variable.problem("name", "it is not a valid variable", "use neither = nor NUL");
    } else if (env.has(name)) {
      variable.problem("name", `the variable ${name} is set twice`, "set it once");
    }
    env.set(name, value);
  });
  return Object.fromEntries(env);
}

function readTokenAttributes(attributes: ConfigObject): TokenAttributes {
  const audience = attributes.string("serviceAccountTokenAudience");
  if (audience === "") {
    const remedy = "set the audience of the token";
    attributes.problem("serviceAccountTokenAudience", "it is required", remedy);
  }
  const required = attributes.get("requireServiceAccount");
  if (typeof required !== "boolean") {
    attributes.problem("requireServiceAccount", "it is required", "write true or false");
  }
  const requiredAnnotations = readKeys(attributes, "requiredServiceAccountAnnotationKeys");
  const optionalAnnotations = readKeys(attributes, "optionalServiceAccountAnnotationKeys");
  if (required === false && requiredAnnotations.length > 0) {
    const problem = "annotations cannot be required unless a service account is";
    const remedy = "set requireServiceAccount: true";
    attributes.problem("requiredServiceAccountAnnotationKeys", problem, remedy);
  }
  const both = requiredAnnotations.filter((key) => optionalAnnotations.includes(key));
  if (both.length > 0) {
    attributes.problem("", `${both.join(", ")}: both required and optional`, "keep one of the two");
  }
  const type = attributes.get("cacheType");
  const cacheType = CACHE_TYPES.find((one) => one === type);
  if (cacheType === undefined) {
    const isMissing = type === undefined || type === "";
    const problem = isMissing ? "it is required" : "this type is not supported";
    attributes.problem("cacheType", problem, `write ${CACHE_TYPES.join(" or ")}`);
  }
  attributes.warnUnread();
  return {
    audience,
    requireServiceAccount: required === true,
    requiredAnnotations,
    optionalAnnotations,
    cacheType: cacheType ?? "ServiceAccount",
  };
}

const KEY_PREFIX = /^[a-z0-9](?:[a-z0-9-]*[a-z0-9])?(?:\.[a-z0-9](?:[a-z0-9-]*[a-z0-9])?)*$/;
const KEY_NAME = /^[a-z0-9](?:[a-z0-9._-]{0,61}[a-z0-9])?$/;

/** Reads annotation keys: Kubernetes qualified names, in any letter case. */
function readKeys(attributes: ConfigObject, field: string): readonly string[] {
  const keys: string[] = [];
  attributes.list(field, "write a list of annotation keys").forEach((key, i) => {
    const at = `${field}[${i}]`;
    if (typeof key !== "string" || !isQualifiedName(key.toLowerCase())) {
      const remedy = "write a key such as example.com/role";
      attributes.problem(at, "it is not a valid annotation key", remedy);
    } else if (keys.includes(key)) {
      attributes.problem(at, `the key ${key} is listed twice`, "list each key once");
    } else keys.push(key);
  });
  return keys;
}

function isQualifiedName(key: string): boolean {
  const [name = "", prefix, ...others] = key.split("/").reverse();
  if (others.length > 0 || !KEY_NAME.test(name)) return false;
  return prefix === undefined || prefix.length <= 253 && KEY_PREFIX.test(prefix);
}

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
