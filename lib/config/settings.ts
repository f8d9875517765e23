import { resolve } from "@std/path";
import type { ConfigProblem } from "../model/mod.ts";
import {
  CONFIG_KEYS,
  type ConfigKey,
  DAEMON_MODE,
  ENVIRONMENT_PREFIX,
  environmentName,
  flagName,
  FS_DRIVER,
  SINGLE_CONFIG_KEYS,
  tomlLiteral,
} from "./keys.ts";
import {
  ANY_DURATION,
  BOOLEAN,
  describeFound,
  PATH,
  type RawValue,
  type ReadResult,
  type ValueType,
} from "./value_type.ts";

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

type SingleKey = (typeof SINGLE_CONFIG_KEYS)[number];
type ValueOf<Key> = Key extends { readonly type: ValueType<infer Value> } ? Value : never;

/** Path of a key with a single value. */
export type KeyPath = SingleKey["path"];
/** Type of a key's parsed value. */
export type KeyValue<Path extends KeyPath> = ValueOf<Extract<SingleKey, { path: Path }>>;
/** Settings of one source (flags, environment, file), or of several merged. */
export type Settings = { readonly [Path in KeyPath]?: Setting<KeyValue<Path>> };

/** Flags by camel-case name, or environment variables by name. */
export type Texts = Readonly<Record<string, string | undefined>>;
/** A parsed TOML table. */
export type TomlTable = Readonly<Record<string, unknown>>;

/** Environment variable with the path of the configuration file, like the flag `--config`. */
export const CONFIG_ENVIRONMENT_NAME = environmentName("config");

/** Returns a valid result; otherwise reports the problem with a remedy. */
function accept(
  result: ReadResult,
  origin: Origin,
  remedy: (instead: RawValue | undefined) => string,
  { problems }: Findings,
): Setting | undefined {
  if (result.kind === "value") return { value: result.value, origin };
  problems.push({ ...origin, problem: result.problem, remedy: remedy(result.instead) });
  return undefined;
}

/** Reads the settings in the environment. An empty variable counts as not set. */
export function readEnvironment(env: Texts, findings: Findings): Settings {
  warnAboutUnknownVariables(env, findings);
  return readTexts(findings, ({ env: name }) => {
    const text = name === undefined ? "" : env[name];
    return name && text ? { name, text, example: (value) => `${name}=${value}` } : undefined;
  });
}

/** Reads the settings in the command line. Relative paths are resolved against `cwd`. */
export function readFlags(flags: Texts, cwd: string | undefined, findings: Findings): Settings {
  return readTexts(findings, ({ flag, type }) => {
    const text = flag === undefined ? undefined : flags[flag];
    if (flag === undefined || text === undefined) return undefined;
    const name = flagName(flag);
    return {
      name,
      text: absoluteText(type, text, cwd),
      example: (value) => `${name} ${value}`,
    };
  });
}

/** Resolves a relative path. */
export function absoluteText(type: ValueType, text: string, cwd: string | undefined): string {
  const isPath = type.name === PATH.name && text !== "" && type.read(text).kind === "problem";
  return isPath && cwd !== undefined ? resolve(cwd, text) : text;
}

interface GivenText {
  readonly name: string;
  readonly text: string;
  readonly example: (value: string) => string;
}

function readTexts(
  findings: Findings,
  given: (key: ConfigKey) => GivenText | undefined,
): Settings {
  return Object.fromEntries(SINGLE_CONFIG_KEYS.flatMap((key: ConfigKey) => {
    const found = given(key);
    if (found === undefined) return [];
    const { name, text, example } = found;
    const setting = accept(
      key.type.read(key.type.fromText(text)),
      { file: name, place: key.path },
      (instead = key.example) => `for example ${example(String(instead))}`,
      findings,
    );
    return setting === undefined ? [] : [[key.path, setting]];
  }));
}

// Kubernetes sets variables of these forms in every pod for a Service with the agent's name.
const SERVICE_VARIABLE = /^(SERVICE_(HOST|PORT)|PORT)(_|$)/;

function warnAboutUnknownVariables(env: Texts, { warnings }: Findings): void {
  const known = [
    CONFIG_ENVIRONMENT_NAME,
    ...SINGLE_CONFIG_KEYS.flatMap(({ env }: ConfigKey) => env ?? []),
  ].map((name) => name.slice(ENVIRONMENT_PREFIX.length));
  for (const name of Object.keys(env).sort()) {
    const rest = name.slice(ENVIRONMENT_PREFIX.length);
    const isOurs = name.startsWith(ENVIRONMENT_PREFIX) && !SERVICE_VARIABLE.test(rest);
    if (!isOurs || known.includes(rest)) continue;
    const near = nearestName(rest, known);
    const remedy = near === undefined ? "remove it" : `did you mean ${ENVIRONMENT_PREFIX}${near}?`;
    warnings.push({ file: name, place: "", problem: "unknown variable", remedy });
  }
}

/** Returns whether a parsed value is a table. */
export function isTable(value: unknown): value is TomlTable {
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

/** Settings in the configuration file. */
export interface FileSettings {
  readonly settings: Settings;
  readonly daemons: readonly DaemonEntry[];
}

/** Replaces the index of a `[[daemons]]` entry: `daemons[0].ref` is the key `daemons[].ref`. */
function keyPathOf(path: string): string {
  return path.replace(/\[\d+\]/, "[]");
}

function leafName(path: string): string {
  return path.slice(path.lastIndexOf(".") + 1);
}

/** Validates the tables of the configuration file against {@linkcode CONFIG_KEYS}. */
export function validateTables(file: string, tables: TomlTable, findings: Findings): FileSettings {
  const settings: Record<string, Setting> = {};
  const daemons: DaemonEntry[] = [];
  const expected = (what: string, path: string, raw: unknown, remedy: string) => {
    const problem = `found ${describeFound(raw)}, expected ${what}`;
    findings.problems.push({ file, place: path, problem, remedy });
  };
  const visit = (table: TomlTable, prefix: string) => {
    for (const [name, raw] of Object.entries(table)) {
      const path = prefix === "" ? name : `${prefix}.${name}`;
      const key = CONFIG_KEYS.find((key) => key.path === keyPathOf(path));
      if (key !== undefined) {
        const example = (instead = key.example) => `for example ${name} = ${tomlLiteral(instead)}`;
        const setting = accept(key.type.read(raw), { file, place: path }, example, findings);
        if (setting !== undefined) settings[path] = setting;
      } else if (path === "daemons") visitDaemons(raw);
      else if (!isSection(path)) findings.problems.push(unknownKey(file, prefix, name));
      else if (isTable(raw)) visit(raw, path);
      else expected("a table", path, raw, `write [${path}]`);
    }
  };
  const visitDaemons = (raw: unknown) => {
    const remedy = "write [[daemons]] for each daemon";
    if (!Array.isArray(raw)) return expected("an array of tables", "daemons", raw, remedy);
    for (const [index, entry] of raw.entries()) {
      const place = `daemons[${index}]`;
      if (!isTable(entry)) {
        expected("a table", place, entry, remedy);
        continue;
      }
      visit(entry, place);
      for (const name of ["socket", "ref"]) {
        if (Object.hasOwn(entry, name)) continue;
        const example = CONFIG_KEYS.find(({ path }) => path === `daemons[].${name}`)?.example ?? "";
        const remedy = `for example ${name} = ${tomlLiteral(example)}`;
        findings.problems.push({ file, place: `${place}.${name}`, problem: "missing", remedy });
      }
      const values = ["socket", "ref", "id"].map((name) => [
        name,
        settings[`${place}.${name}`]?.value,
      ]);
      daemons.push({ ...Object.fromEntries(values), origin: { file, place } });
    }
  };
  visit(tables, "");
  return { settings, daemons };
}

/** Names that are valid directly in a table: keys and nested tables. */
function namesIn(prefix: string): string[] {
  const start = prefix === "" ? "" : `${prefix}.`;
  const names = CONFIG_KEYS.filter(({ path }) => path.startsWith(start))
    .map(({ path }) => path.slice(start.length).replace(/(\[\])?\..*$/, ""));
  return [...new Set(names)];
}

function isSection(path: string): boolean {
  return CONFIG_KEYS.some((key) => key.path.startsWith(`${path}.`));
}

function unknownKey(file: string, prefix: string, name: string): ConfigProblem {
  const shown = /^[\w-]{1,64}$/.test(name) ? name : JSON.stringify(name.slice(0, 64));
  const place = prefix === "" ? shown : `${prefix}.${shown}`;
  const names = namesIn(keyPathOf(prefix));
  const elsewhere = CONFIG_KEYS.find(({ path }) => leafName(path) === name);
  const near = nearestName(name, names) ?? elsewhere?.path;
  const remedy = near === undefined ? `known keys: ${names.join(", ")}` : `did you mean ${near}?`;
  return { file, place, problem: "unknown key", remedy };
}

/**
 * The keys that are read from the snapshotter's file. Names, defaults and meanings are those of
 * https://github.com/containerd/nydus-snapshotter/blob/a7a1f071/config/config.go
 */
const SNAPSHOTTER_KEYS = {
  "root": PATH,
  "daemon_mode": DAEMON_MODE,
  "daemon.fs_driver": FS_DRIVER,
  "daemon.nydusd_config": PATH,
  "system.enable": BOOLEAN,
  "system.address": PATH,
  "remote.convert_vpc_registry": BOOLEAN,
  "remote.auth.enable_kubeconfig_keychain": BOOLEAN,
  "remote.auth.kubeconfig_path": PATH,
  "remote.auth.enable_cri_keychain": BOOLEAN,
  "remote.auth.image_service_address": PATH,
  "remote.auth.enable_kubelet_credential_providers": BOOLEAN,
  "remote.auth.credential_provider_config": PATH,
  "remote.auth.credential_provider_bin_dir": PATH,
  "remote.auth.credential_renewal_interval": ANY_DURATION,
  "remote.mirrors_config.dir": PATH,
  "experimental.enable_backend_source": BOOLEAN,
} as const;

/** Paths of the keys that are read from the snapshotter's configuration file. */
export const SNAPSHOTTER_KEY_PATHS: readonly string[] = Object.keys(SNAPSHOTTER_KEYS);

/** Settings in the snapshotter's configuration file. */
export type SnapshotterSettings = {
  readonly [Path in keyof typeof SNAPSHOTTER_KEYS]?: Setting<
    ValueOf<{ type: typeof SNAPSHOTTER_KEYS[Path] }>
  >;
};

/**
 * Reads the known keys and ignores all others. Like in the snapshotter, an empty text counts as not
 * set.
 */
export function readSnapshotterTables(
  file: string,
  tables: TomlTable,
  findings: Findings,
): SnapshotterSettings {
  const settings: Record<string, Setting> = {};
  const types = new Map<string, ValueType>(Object.entries(SNAPSHOTTER_KEYS));
  const visit = (table: TomlTable, prefix: string) => {
    for (const [name, raw] of Object.entries(table)) {
      const place = `${prefix}${name}`;
      const type = types.get(place);
      if (type !== undefined && raw !== "") {
        const remedy = () => `the snapshotter expects ${type.expected}`;
        const setting = accept(type.read(raw), { file, place }, remedy, findings);
        if (setting !== undefined) settings[place] = setting;
      } else if (SNAPSHOTTER_KEY_PATHS.some((path) => path.startsWith(`${place}.`))) {
        if (isTable(raw)) visit(raw, `${place}.`);
        else {
          const problem = `found ${describeFound(raw)}, expected a table`;
          findings.problems.push({ file, place, problem, remedy: `write [${place}]` });
        }
      }
    }
  };
  visit(tables, "");
  return settings;
}

/** Returns the known name that is closest to a mistyped one; undefined if none is close. */
function nearestName(name: string, known: readonly string[]): string | undefined {
  // The distance costs the product of the lengths, and a long text is not a typing error.
  if (name.length > 64) return undefined;
  const plain = plainForm(name);
  const limit = Math.max(2, Math.floor(plain.length / 3));
  const [best] = known
    .map((candidate) => ({ candidate, distance: editDistance(plain, plainForm(candidate)) }))
    // For short names, a distance of the whole length means that nothing matches.
    .filter(({ candidate, distance }) => distance <= limit && distance < candidate.length)
    .sort((a, b) => a.distance - b.distance);
  return best?.candidate;
}

/** Maps `checkInterval`, `check-interval` and `Check_Interval` to the same name. */
function plainForm(name: string): string {
  return name.replaceAll(/([a-z0-9])([A-Z])/g, "$1_$2").replaceAll("-", "_").toLowerCase();
}

/** Returns the number of insertions, deletions and replacements. */
function editDistance(a: string, b: string): number {
  let row = Array.from({ length: b.length + 1 }, (_, j) => j);
  for (const [i, letter] of [...a].entries()) {
    const next = [i + 1];
    for (const [j, other] of [...b].entries()) {
      const replaced = (row[j] ?? 0) + (letter === other ? 0 : 1);
      next.push(Math.min(replaced, (row[j + 1] ?? 0) + 1, (next[j] ?? 0) + 1));
    }
    row = next;
  }
  return row.at(-1) ?? 0;
}
