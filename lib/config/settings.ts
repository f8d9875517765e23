import { resolve } from "@std/path";
import type { ConfigProblem } from "../model/mod.ts";
import {
  CONFIG_ENVIRONMENT_NAME,
  CONFIG_KEYS,
  type ConfigKey,
  ENVIRONMENT_PREFIX,
  flagName,
  type KeyPath,
  type KeyValue,
  SINGLE_CONFIG_KEYS,
  SNAPSHOTTER_KEYS,
  tomlLiteral,
} from "./keys.ts";
import { describeFound, PATH, readText, readValue, type ValueType } from "./value_type.ts";

/** Where a value was set: a file and a key path, or a flag or variable and its key. */
export interface Origin {
  readonly file: string;
  readonly place: string;
}

/** A value that was set explicitly, parsed and validated. */
export interface Setting<Value = unknown> {
  readonly value: Value;
  readonly origin: Origin;
}

/** Problems lead to a `ConfigError`; warnings are part of the configuration. */
export interface Findings {
  readonly problems: ConfigProblem[];
  readonly warnings: ConfigProblem[];
}

/** Settings of one source (flags, environment, file), or of several merged. */
export type Settings = { readonly [Path in KeyPath]?: Setting<KeyValue<Path>> };

/** Flags by camel-case name, or environment variables by name. */
export type Texts = Readonly<Record<string, string | undefined>>;
/** A parsed TOML table. */
export type TomlTable = Readonly<Record<string, unknown>>;

/** Reads the settings in the environment. An empty variable counts as not set. */
export function readEnvironment(env: Texts, findings: Findings): Settings {
  warnAboutUnknownVariables(env, findings);
  return readTexts(findings, "=", ({ env: name }) => {
    const text = name && env[name];
    return name && text ? [name, text] : undefined;
  });
}

/** Reads the settings in the command line. Relative paths are resolved against `cwd`. */
export function readFlags(flags: Texts, cwd: string, findings: Findings): Settings {
  return readTexts(findings, " ", ({ flag, type }) => {
    const text = flag === undefined ? undefined : flags[flag];
    if (flag === undefined || text === undefined) return undefined;
    const isPath = type.name === PATH.name && text !== "" && text !== "off";
    return [flagName(flag), isPath ? resolve(cwd, text) : text];
  });
}

/** @param separator Between a name and its value, in messages. */
function readTexts(
  { problems }: Findings,
  separator: string,
  given: (key: ConfigKey) => readonly [name: string, text: string] | undefined,
): Settings {
  return Object.fromEntries(SINGLE_CONFIG_KEYS.flatMap((key: ConfigKey) => {
    const found = given(key);
    if (found === undefined) return [];
    const [name, text] = found;
    const origin = { file: name, place: key.path };
    const result = readText(key.type, text);
    if (result.kind === "value") return [[key.path, { value: result.value, origin }]];
    const remedy = `for example ${name}${separator}${key.example}`;
    problems.push({ ...origin, problem: result.problem, remedy });
    return [];
  }));
}

// Kubernetes sets variables of these forms in every pod for a Service with the agent's name.
const SERVICE_VARIABLE = /^(SERVICE_(HOST|PORT)|PORT)(_|$)/;

function warnAboutUnknownVariables(env: Texts, { warnings }: Findings): void {
  const known = new Set([CONFIG_ENVIRONMENT_NAME, ...CONFIG_KEYS.map(({ env }) => env)]);
  for (const name of Object.keys(env).sort()) {
    const isOurs = name.startsWith(ENVIRONMENT_PREFIX) &&
      !SERVICE_VARIABLE.test(name.slice(ENVIRONMENT_PREFIX.length));
    if (!isOurs || known.has(name)) continue;
    const remedy = "remove it, or see docs/configuration.md for the names";
    warnings.push({ file: name, place: "", problem: "unknown variable", remedy });
  }
}

function isTable(value: unknown): value is TomlTable {
  return typeof value === "object" && value !== null && !Array.isArray(value) &&
    !(value instanceof Date);
}

/** A `[[daemons]]` entry, each value validated separately. */
export interface DaemonEntry {
  readonly origin: Origin;
  readonly socket?: string;
  readonly ref?: string;
  readonly id?: string;
}

/** A key of a file. */
interface FileKey {
  readonly path: string;
  /** The path of its setting. */
  readonly setting: string;
  readonly type: ValueType;
  /** What to do about an invalid value. */
  readonly remedy: string;
}

const OUR_KEYS: readonly FileKey[] = CONFIG_KEYS.map(({ path, type, example }) => {
  const remedy = `for example ${leafName(path)} = ${tomlLiteral(example)}`;
  return { path, setting: path, type, remedy };
});

/** The keys that are read from the snapshotter's configuration file. */
export const SNAPSHOTTER_FILE_KEYS: readonly FileKey[] = [...CONFIG_KEYS, ...SNAPSHOTTER_KEYS]
  .flatMap(({ path: setting, type, snapshotter: path }) => {
    const remedy = `the snapshotter expects ${type.expected}`;
    return path === undefined ? [] : [{ path, setting, type, remedy }];
  });

/** Reads the configuration file, in which every key must be known. */
export function readConfigTables(file: string, tables: TomlTable, findings: Findings) {
  const { problems } = findings;
  const unknown = (name: string, { path, place }: Section) => {
    const known = new Set(OUR_KEYS.flatMap((key) => nameBelow(path, key.path) ?? []));
    const elsewhere = OUR_KEYS.find((key) => leafName(key.path) === name)?.path;
    const remedy = elsewhere === undefined
      ? `known keys: ${[...known].join(", ")}`
      : `did you mean ${elsewhere}?`;
    // A name can have any characters and any length.
    const shown = /^[\w-]{1,64}$/.test(name) ? name : JSON.stringify(name.slice(0, 64));
    problems.push({ file, place: join(place, shown), problem: "unknown key", remedy });
  };
  const settings = readTables(file, tables, OUR_KEYS, findings, unknown);
  const entries = Array.isArray(tables["daemons"]) ? tables["daemons"] : [];
  const daemons = entries.flatMap((entry, index): DaemonEntry[] => {
    if (!isTable(entry)) return []; // reported above
    const origin = { file, place: `daemons[${index}]` };
    for (const { path, remedy } of OUR_KEYS) {
      const name = nameBelow("daemons[]", path) ?? "id";
      if (name === "id" || Object.hasOwn(entry, name)) continue;
      problems.push({ file, place: join(origin.place, name), problem: "missing", remedy });
    }
    const value = (name: string) => [name, settings[join(origin.place, name)]?.value];
    return [{ ...Object.fromEntries(["socket", "ref", "id"].map(value)), origin }];
  });
  return { settings, daemons };
}

/** A table in a file. */
interface Section {
  /** As in the paths of keys, such as `daemons[]`. */
  readonly path: string;
  /** As in messages, such as `daemons[0]`. */
  readonly place: string;
}

/** Reads the values of known keys, and passes other keys to `unknown`, if given. */
export function readTables(
  file: string,
  tables: TomlTable,
  keys: readonly FileKey[],
  { problems }: Findings,
  unknown?: (name: string, section: Section) => void,
): Record<string, Setting> {
  const settings: Record<string, Setting> = {};
  const refuse = (place: string, raw: unknown, expected: string, remedy: string) => {
    problems.push({
      file,
      place,
      problem: `found ${describeFound(raw)}, expected ${expected}`,
      remedy,
    });
  };
  const visitTable = (raw: unknown, section: Section, remedy = `write [${section.place}]`) => {
    if (!isTable(raw)) return refuse(section.place, raw, "a table", remedy);
    for (const [name, value] of Object.entries(raw)) visit(name, value, section);
  };
  const visit = (name: string, raw: unknown, section: Section) => {
    const path = join(section.path, name);
    const place = join(section.place, name);
    const key = keys.find((key) => key.path === path);
    if (key !== undefined) {
      // Like in the snapshotter, an empty text counts as not set there.
      if (raw === "" && unknown === undefined) return;
      const result = readValue(key.type, raw);
      if (result.kind === "problem") {
        problems.push({ file, place, problem: result.problem, remedy: key.remedy });
      } else {
        const setting = key.path === key.setting ? place : key.setting;
        settings[setting] = { value: result.value, origin: { file, place } };
      }
    } else if (keys.some((key) => key.path.startsWith(`${path}.`))) {
      visitTable(raw, { path, place });
    } else if (keys.some((key) => key.path.startsWith(`${path}[].`))) {
      const remedy = `write [[${place}]] for each entry`;
      if (!Array.isArray(raw)) return refuse(place, raw, "an array of tables", remedy);
      for (const [index, entry] of raw.entries()) {
        visitTable(entry, { path: `${path}[]`, place: `${place}[${index}]` }, remedy);
      }
    } else unknown?.(name, section);
  };
  for (const [name, raw] of Object.entries(tables)) visit(name, raw, { path: "", place: "" });
  return settings;
}

function join(path: string, name: string): string {
  return path === "" ? name : `${path}.${name}`;
}

function leafName(path: string): string {
  return path.slice(path.lastIndexOf(".") + 1);
}

/** Returns the name of the key or table of `path` directly below a section. */
function nameBelow(section: string, path: string): string | undefined {
  const prefix = section === "" ? "" : `${section}.`;
  if (!path.startsWith(prefix)) return undefined;
  return path.slice(prefix.length).replace(/(\[\])?\..*$/, "");
}
