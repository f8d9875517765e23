import { join } from "@std/path";
import {
  type ConfigProblem,
  defined,
  type FileSystem,
  ImagePattern,
  messageOf,
  parseDurationMs,
} from "../../model/mod.ts";
import {
  type Fields,
  goField,
  goString,
  isFields,
  readGoYaml,
  unknownFields,
} from "../../formats/mod.ts";
import { PLUGIN_API_VERSION } from "./plugin_api.ts";
import { readTokenAttributes, type TokenAttributes } from "./token_attributes.ts";

/** Definition of an exec plugin in a `CredentialProviderConfig`. */
export interface PluginDefinition {
  readonly name: string;
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
const PROVIDER_FIELDS = [
  "name",
  "matchImages",
  "defaultCacheDuration",
  "apiVersion",
  "args",
  "env",
  "tokenAttributes",
];

/** The files of a `CredentialProviderConfig`. */
export interface ProviderConfigFiles {
  /** Changes when one of the files may have changed. */
  readonly stamp: string;
  readonly paths: readonly string[];
}

/**
 * Returns the file at a path, or the files of the folder there in the order of their names, which
 * newer kubelets merge. Returns undefined if nothing exists at the path.
 *
 * @throws {AgentError} `io`.
 */
export async function findProviderConfig(
  path: string,
  files: Pick<FileSystem, "stat" | "list">,
): Promise<ProviderConfigFiles | undefined> {
  const stat = await files.stat(path);
  if (stat?.kind !== "directory") return stat && { stamp: stat.stamp, paths: [path] };
  const names = (await files.list(path)).filter((name) => /\.(?:json|ya?ml)$/.test(name));
  const stamps = new Map<string, string>();
  for (const name of names) {
    const entry = await files.stat(join(path, name));
    if (entry !== undefined && entry.kind !== "directory") {
      stamps.set(join(path, name), entry.stamp);
    }
  }
  return { stamp: JSON.stringify([...stamps]), paths: [...stamps.keys()] };
}

/**
 * Reads the configuration at a path. Returns undefined if nothing exists there, or if a file was
 * removed during the call.
 *
 * @param found The result of {@linkcode findProviderConfig}, if known.
 * @throws {AgentError} `io`.
 */
export async function openProviderConfig(
  path: string,
  files: Pick<FileSystem, "stat" | "list" | "readText">,
  found?: ProviderConfigFiles,
): Promise<ProviderConfigReading | undefined> {
  const { paths } = found ?? await findProviderConfig(path, files) ?? {};
  if (paths === undefined) return undefined;
  const isFolder = paths[0] !== path;
  const readings: (readonly [string, ProviderConfigReading])[] = [];
  for (const file of paths) {
    const text = await files.readText(file);
    if (text === undefined) return undefined;
    readings.push([file, readProviderConfig(text, file, { mayBeEmpty: isFolder })]);
  }
  return isFolder ? merged(path, readings) : readings[0]?.[1];
}

/**
 * Merges the files of a folder in their order. Together they must have a provider, and names must be
 * unique (Kubernetes `pkg/credentialprovider/plugin/config.go`, `readCredentialProviderConfig`).
 */
function merged(
  folder: string,
  readings: readonly (readonly [string, ProviderConfigReading])[],
): ProviderConfigReading {
  const plugins = readings.flatMap(([, { plugins }]) => plugins);
  const problems = readings.flatMap(([, { problems }]) => problems);
  const warnings = readings.flatMap(([, { warnings }]) => warnings);
  const filesByName = new Map<string, string>();
  for (const [file, { plugins }] of readings) {
    for (const { name } of plugins) {
      const other = filesByName.get(name);
      filesByName.set(name, file);
      if (other === undefined) continue;
      const problem = `the name ${JSON.stringify(name)} is used in ${other} too`;
      problems.push({ file, place: "providers", problem, remedy: "define each plugin once" });
    }
  }
  if (plugins.length === 0 && problems.length === 0) {
    const problem = readings.length === 0
      ? "there is no .json, .yaml or .yml file in the folder"
      : "at least one provider is required";
    problems.push({ file: folder, place: "", problem, remedy: "add a file that defines a plugin" });
  }
  return { plugins, problems, warnings };
}

/**
 * Decodes a `CredentialProviderConfig` (YAML or JSON) and validates it as the kubelet does
 * (Kubernetes `pkg/credentialprovider/plugin/config.go`, `validateCredentialProviderConfig`).
 * Reports all problems, not only the first.
 *
 * @param options `mayBeEmpty`: accept a file without providers, as one of several.
 */
export function readProviderConfig(
  text: string,
  file: string,
  { mayBeEmpty = false }: { readonly mayBeEmpty?: boolean } = {},
): ProviderConfigReading {
  const reader = new ConfigReader(file, mayBeEmpty);
  const plugins = reader.read(text);
  return { plugins, problems: reader.problems, warnings: reader.warnings };
}

class ConfigReader {
  readonly problems: ConfigProblem[] = [];
  readonly warnings: ConfigProblem[] = [];
  readonly #file: string;
  readonly #mayBeEmpty: boolean;

  constructor(file: string, mayBeEmpty: boolean) {
    this.#file = file;
    this.#mayBeEmpty = mayBeEmpty;
  }

  read(text: string): readonly PluginDefinition[] {
    const body = this.#parse(text);
    if (body === undefined) return [];
    if (!isFields(body)) {
      this.#problem("", "it is not an object", `start it with apiVersion: ${CONFIG_API_VERSION}`);
      return [];
    }
    this.#checkHeader(body);
    const providers = goField(body, "providers");
    if (providers !== undefined && !Array.isArray(providers)) {
      this.#problem("providers", "it is not a list", "write one `- name: …` for each plugin");
      return [];
    }
    if (providers === undefined || providers.length === 0) {
      if (this.#mayBeEmpty) return [];
      this.#problem("providers", "at least one provider is required", "add a plugin");
      return [];
    }
    const names = new Set<string>();
    return providers.flatMap((provider: unknown, i) => this.#provider(provider, i, names));
  }

  #parse(text: string): unknown {
    const reading = readGoYaml(text);
    if (reading.kind === "ok") return reading.value ?? {};
    this.#problem(reading.place, `it is not YAML or JSON: ${reading.detail}`, reading.remedy);
    return undefined;
  }

  #checkHeader(body: Fields): void {
    const header = { kind: CONFIG_KIND, apiVersion: CONFIG_API_VERSION };
    for (const [name, expected] of Object.entries(header)) {
      if (goField(body, name) === expected) continue;
      this.#warn(name, "the kubelet expects another value", `write ${expected}`);
    }
    for (const field of unknownFields(body, ["apiVersion", "kind", "providers"])) {
      this.#warnUnknown(field);
    }
  }

  #provider(provider: unknown, i: number, names: Set<string>): PluginDefinition[] {
    const place = `providers[${i}]`;
    if (!isFields(provider)) {
      this.#problem(place, "it is not an object", "write name, apiVersion, matchImages …");
      return [];
    }
    const problemsBefore = this.problems.length;
    for (const field of unknownFields(provider, PROVIDER_FIELDS)) {
      this.#warnUnknown(`${place}.${field}`);
    }
    const tokens = goField(provider, "tokenAttributes");
    const tokenAttributes = tokens === undefined
      ? undefined
      : readTokenAttributes(tokens, `${place}.tokenAttributes`, {
        problem: (...report) => this.#problem(...report),
        warn: (...report) => this.#warn(...report),
      });
    const definition = {
      name: this.#name(provider, `${place}.name`, names),
      matchImages: this.#matchImages(provider, `${place}.matchImages`),
      defaultCacheDurationMs: this.#duration(provider, `${place}.defaultCacheDuration`),
      args: this.#strings(provider, "args", `${place}.args`),
      env: this.#env(provider, `${place}.env`),
      ...defined({ tokenAttributes }),
    };
    this.#checkApiVersion(provider, `${place}.apiVersion`);
    return this.problems.length === problemsBefore ? [definition] : [];
  }

  #name(provider: Fields, place: string, names: Set<string>): string {
    const name = this.#string(goField(provider, "name"), place);
    const quoted = JSON.stringify(name);
    if (name === "") {
      this.#problem(place, "the name is required", "write the plugin's file name");
    } else if (/[ /\\\0]/.test(name) || name === "." || name === "..") {
      const remedy = "use no space, slash or backslash, and neither . nor ..";
      this.#problem(place, `the name ${quoted} is not a file name`, remedy);
    } else if (names.has(name)) {
      this.#problem(place, `the name ${quoted} is used twice`, "define each plugin once");
    }
    names.add(name);
    return name;
  }

  #checkApiVersion(provider: Fields, place: string): void {
    const version = this.#string(goField(provider, "apiVersion"), place);
    if (version === PLUGIN_API_VERSION) return;
    const problem = version === ""
      ? "it is required"
      : `${JSON.stringify(version)} is not supported`;
    this.#problem(place, problem, `write ${PLUGIN_API_VERSION}`);
  }

  #matchImages(provider: Fields, place: string): readonly string[] {
    const patterns = this.#strings(provider, "matchImages", place);
    if (patterns.length === 0) {
      const remedy = 'write patterns such as ["*.registry.example.com"]';
      this.#problem(place, "at least one pattern is required", remedy);
    }
    patterns.forEach((pattern, i) => {
      const at = `${place}[${i}]`;
      if (pattern === "") {
        this.#problem(at, "the pattern is empty", "remove it, or write a registry");
        return;
      }
      try {
        if (!ImagePattern.parse(pattern).isBracketedIpv6) return;
        const problem = "the kubelet never matches an IPv6 address without a port";
        this.#warn(at, problem, "add the port, if the images have one");
      } catch (error) {
        this.#warn(at, `it matches nothing: ${messageOf(error)}`, "correct or remove the pattern");
      }
    });
    return patterns;
  }

  #duration(provider: Fields, place: string): number {
    const value = goField(provider, "defaultCacheDuration");
    if (value === undefined) {
      this.#problem(
        place,
        "it is required",
        'write a duration such as "12h", or "0s" for no caching',
      );
      return 0;
    }
    if (typeof value !== "string") {
      this.#problem(place, "it is not a string", 'write a duration in quotes, such as "12h"');
      return 0;
    }
    try {
      const ms = parseDurationMs(value);
      if (ms < 0) this.#problem(place, "it is negative", 'write "0s" or more');
      return ms;
    } catch (error) {
      this.#problem(place, messageOf(error), 'write a duration such as "1h30m"');
      return 0;
    }
  }

  #env(provider: Fields, place: string): Readonly<Record<string, string>> {
    const list = goField(provider, "env") ?? [];
    const env = new Map<string, string>();
    if (!Array.isArray(list)) {
      this.#problem(place, "it is not a list", "write one `- name: …, value: …` for each variable");
      return {};
    }
    list.forEach((item: unknown, i) => {
      const at = `${place}[${i}]`;
      if (!isFields(item)) return this.#problem(at, "it is not an object", "write name and value");
      const name = this.#string(goField(item, "name"), `${at}.name`);
      const value = this.#string(goField(item, "value"), `${at}.value`);
      if (name === "") {
        this.#problem(`${at}.name`, "the name is required", "write the name of the variable");
      } else if (/[=\0]/.test(name) || value.includes("\0")) {
        this.#problem(`${at}.name`, "it is not a valid variable", "use neither = nor NUL");
      } else if (env.has(name)) {
        this.#problem(`${at}.name`, `the variable ${name} is set twice`, "set it once");
      }
      env.set(name, value);
    });
    return Object.fromEntries(env);
  }

  #strings(fields: Fields, name: string, place: string): readonly string[] {
    const list = goField(fields, name) ?? [];
    if (!Array.isArray(list)) {
      this.#problem(place, "it is not a list", "write a list of strings");
      return [];
    }
    return list.map((item: unknown, i) => this.#string(item ?? undefined, `${place}[${i}]`));
  }

  /** Converts a value to a string as Go does: a missing one is empty. Never quotes the value. */
  #string(value: unknown, place: string): string {
    if (value === undefined) return "";
    const text = goString(value);
    if (text !== undefined) return text;
    const found = Array.isArray(value) ? "a list" : "an object";
    this.#problem(place, `it is ${found}, not a string`, "write a string");
    return "";
  }

  #problem(place: string, problem: string, remedy: string): void {
    this.problems.push({ file: this.#file, place, problem, remedy });
  }

  #warnUnknown(place: string): void {
    this.#warn(place, "an unknown field is ignored", "remove it, or check its spelling");
  }

  #warn(place: string, problem: string, remedy: string): void {
    this.warnings.push({ file: this.#file, place, problem, remedy });
  }
}
