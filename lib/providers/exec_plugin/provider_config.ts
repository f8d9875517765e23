import { type ConfigProblem, ImagePattern, messageOf, parseDurationMs } from "../../model/mod.ts";
import { type Fields, goField, isFields, unknownFields } from "../../formats/mod.ts";
import { goString, readGoYaml } from "../../formats/mod.ts";
import { PLUGIN_API_VERSION } from "./plugin_api.ts";
import { readTokenAttributes, type TokenAttributes } from "./token_attributes.ts";

/** One exec plugin, as the `CredentialProviderConfig` defines it. */
export interface PluginDefinition {
  readonly name: string;
  readonly matchImages: readonly string[];
  readonly defaultCacheDurationMs: number;
  readonly args: readonly string[];
  readonly env: Readonly<Record<string, string>>;
  /** Set for a plugin that is run in the name of pods' service accounts (KEP-4412). */
  readonly tokenAttributes?: TokenAttributes;
}

/** A configuration read, or every reason why it cannot be used. */
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

/**
 * Reads a kubelet `CredentialProviderConfig` (YAML or JSON) and checks it as the kubelet does
 * (Kubernetes `pkg/credentialprovider/plugin/config.go`, `validateCredentialProviderConfig`), with
 * every problem at once.
 *
 * @param options `mayBeEmpty`: one of several files needs no provider of its own.
 */
export function readProviderConfig(
  text: string,
  file: string,
  { mayBeEmpty = false }: { readonly mayBeEmpty?: boolean } = {},
): ProviderConfigReading {
  const reader = new Reader(file, mayBeEmpty);
  const plugins = reader.read(text);
  return { plugins, problems: reader.problems, warnings: reader.warnings };
}

class Reader {
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
    this.#checkHead(body);
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

  #checkHead(body: Fields): void {
    const kind = goField(body, "kind");
    const version = goField(body, "apiVersion");
    if (kind !== CONFIG_KIND) this.#warn("kind", "not what the kubelet wants", CONFIG_KIND);
    if (version !== CONFIG_API_VERSION) {
      this.#warn("apiVersion", "not what the kubelet wants", CONFIG_API_VERSION);
    }
    for (const field of unknownFields(body, ["apiVersion", "kind", "providers"])) {
      this.#warn(field, "an unknown field is ignored", "remove it, or check its spelling");
    }
  }

  #provider(provider: unknown, i: number, names: Set<string>): PluginDefinition[] {
    const place = `providers[${i}]`;
    if (!isFields(provider)) {
      this.#problem(place, "it is not an object", "write name, apiVersion, matchImages …");
      return [];
    }
    const before = this.problems.length;
    for (const field of unknownFields(provider, PROVIDER_FIELDS)) {
      this.#warn(
        `${place}.${field}`,
        "an unknown field is ignored",
        "remove it, or check its spelling",
      );
    }
    const tokens = goField(provider, "tokenAttributes");
    const tokenAttributes = tokens === undefined
      ? undefined
      : readTokenAttributes(tokens, `${place}.tokenAttributes`, {
        problem: (...words) => this.#problem(...words),
        warn: (...words) => this.#warn(...words),
      });
    const definition = {
      name: this.#name(provider, `${place}.name`, names),
      matchImages: this.#matchImages(provider, `${place}.matchImages`),
      defaultCacheDurationMs: this.#duration(provider, `${place}.defaultCacheDuration`),
      args: this.#strings(provider, "args", `${place}.args`),
      env: this.#env(provider, `${place}.env`),
      ...(tokenAttributes && { tokenAttributes }),
    };
    this.#apiVersion(provider, `${place}.apiVersion`);
    return this.problems.length === before ? [definition] : [];
  }

  #name(provider: Fields, place: string, names: Set<string>): string {
    const name = this.#string(goField(provider, "name"), place);
    if (name === "") this.#problem(place, "the name is required", "give the plugin's file name");
    else if (/[ /\\\0]/.test(name) || name === "." || name === "..") {
      this.#problem(
        place,
        `the name ${JSON.stringify(name)} is not a file name`,
        "use no space, slash or backslash, and neither . nor ..",
      );
    } else if (names.has(name)) {
      this.#problem(
        place,
        `the name ${JSON.stringify(name)} is there twice`,
        "name each plugin once",
      );
    }
    names.add(name);
    return name;
  }

  #apiVersion(provider: Fields, place: string): void {
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
      this.#problem(
        place,
        "at least one pattern is required",
        'such as ["*.registry.example.com"]',
      );
    }
    patterns.forEach((pattern, i) => {
      const at = `${place}[${i}]`;
      if (pattern === "") {
        this.#problem(at, "the pattern is empty", "remove it, or name a registry");
        return;
      }
      try {
        if (!ImagePattern.parse(pattern).missesItself) return;
        const problem = "the kubelet's rules match no IPv6 address without a port";
        this.#warn(at, problem, "add the port, if the images name one");
      } catch (error) {
        this.#warn(at, `it matches nothing: ${messageOf(error)}`, "mend or remove the pattern");
      }
    });
    return patterns;
  }

  #duration(provider: Fields, place: string): number {
    const value = goField(provider, "defaultCacheDuration");
    if (value === undefined) {
      this.#problem(place, "it is required", 'such as "12h", or "0s" for no caching');
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
      this.#problem(place, "it is not a list", "write one `- name: …, value: …` a variable");
      return {};
    }
    list.forEach((item: unknown, i) => {
      const at = `${place}[${i}]`;
      if (!isFields(item)) return this.#problem(at, "it is not an object", "write name and value");
      const name = this.#string(goField(item, "name"), `${at}.name`);
      const value = this.#string(goField(item, "value"), `${at}.value`);
      if (name === "") this.#problem(`${at}.name`, "the name is required", "name the variable");
      else if (/[=\0]/.test(name) || value.includes("\0")) {
        this.#problem(`${at}.name`, "it can be no variable", "use neither = nor NUL");
      } else if (env.has(name)) {
        this.#problem(`${at}.name`, `the variable ${name} is there twice`, "set it once");
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

  /** A string; null and nothing are empty, as in Go. The value itself is never quoted. */
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

  #warn(place: string, problem: string, remedy: string): void {
    this.warnings.push({ file: this.#file, place, problem, remedy });
  }
}
