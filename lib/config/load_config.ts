import { createHash } from "node:crypto";
import { resolve } from "@std/path";
import { parse, TomlError } from "@std/toml";
import { AgentError, ConfigError, type FileSystem, messageOf } from "../model/mod.ts";
import { CONFIG_ENVIRONMENT_NAME, DEFAULTS } from "./keys.ts";
import { type AgentConfig, normalize } from "./normalize.ts";
import {
  type Findings,
  readConfigTables,
  readEnvironment,
  readFlags,
  readTables,
  type Settings,
  SNAPSHOTTER_FILE_KEYS,
  type TomlTable,
} from "./settings.ts";
import { PATH, readValue } from "./value_type.ts";

/** Values of the command-line options by camel-case name: `config`, and the flags of all keys. */
export type Flags = Readonly<Record<string, string | undefined>>;

/** The environment and file system of a command. */
export interface ConfigSources {
  readonly host: {
    /** Only variables that start with `NYDUS_AUTH_AGENT_` are read. */
    readonly env: Readonly<Record<string, string | undefined>>;
    /** Base of relative paths in flags. */
    readonly cwd: string;
  };
  readonly files: Pick<FileSystem, "readText">;
}

/** A parsed TOML file can take some hundred times its size in memory. */
const MAX_CONFIG_BYTES = 512 * 1024;

/** Default path of the configuration file. */
const DEFAULT_CONFIG_PATH = "/etc/nydus-auth-agent/config.toml";

/**
 * Loads, validates, normalizes and freezes the agent's configuration. Precedence: flag,
 * environment, configuration file, snapshotter's configuration file, default.
 *
 * @throws {ConfigError} With the problems of all sources.
 *
 * @example Only the snapshotter's configuration file
 * ```ts
 * import { loadConfig } from "./load_config.ts";
 * const texts: Record<string, string> = { "/etc/nydus/config.toml": `root = "/data/nydus"` };
 * const files = { readText: (path: string) => Promise.resolve(texts[path]) };
 * const config = await loadConfig({ host: { env: {}, cwd: "/" }, files }, {});
 * if (config.node.root !== "/data/nydus") throw new Error("not read");
 * ```
 */
export async function loadConfig(
  { host, files }: ConfigSources,
  flags: Flags,
): Promise<AgentConfig> {
  const findings: Findings = { problems: [], warnings: [] };
  const loaded: string[] = [];
  const load = async (file: FileToLoad | undefined) => {
    const tables = file && await loadToml(file, files, findings);
    if (file === undefined || tables === undefined) return undefined;
    loaded.push(file.path);
    return { path: file.path, tables };
  };
  const ours = await load(locateConfig(host, flags, findings));
  const file = ours && readConfigTables(ours.path, ours.tables, findings);
  const own: Settings = {
    ...file?.settings,
    ...readEnvironment(host.env, findings),
    ...readFlags(flags, host.cwd, findings),
  };
  const theirs = await load(locateSnapshotterConfig(own));
  const snapshotter = theirs &&
    readTables(theirs.path, theirs.tables, SNAPSHOTTER_FILE_KEYS, findings);
  const settings: Settings = { ...snapshotter, ...own };
  const input = {
    settings,
    own,
    daemons: file?.daemons ?? [],
    hasSnapshotter: theirs !== undefined,
  };
  const normalized = normalize(input, findings);
  const { problems, warnings } = findings;
  if (problems.length > 0) throw new ConfigError(problems);
  const hash = createHash("sha256").update(JSON.stringify(normalized)).digest("hex");
  return deepFreeze({ files: loaded, hash, warnings, values: valuesOf(settings), ...normalized });
}

/**
 * Loads the configuration for a command that queries the running agent and needs only its socket. A
 * file that this user may not read counts as missing unless its path was set explicitly: members of
 * `api.group` may use the socket, although the files belong to root.
 *
 * @throws {ConfigError} With the problems of all sources.
 */
export function loadClientConfig(
  { host, files }: ConfigSources,
  flags: Flags,
): Promise<AgentConfig> {
  const isExplicit = (flags["config"] ?? host.env[CONFIG_ENVIRONMENT_NAME] ?? "") !== "";
  if (isExplicit) return loadConfig({ host, files }, flags);
  const readText: FileSystem["readText"] = (path, options) =>
    files.readText(path, options).catch(() => undefined);
  return loadConfig({ host, files: { readText } }, flags);
}

/** A file to load. */
interface FileToLoad {
  readonly path: string;
  /** The flag, variable or key that sets the path; undefined for a default that may be missing. */
  readonly setBy?: string;
}

function locateConfig(
  { env, cwd }: ConfigSources["host"],
  { config: flag }: Flags,
  { problems }: Findings,
): FileToLoad | undefined {
  const path = flag ? resolve(cwd, flag) : flag ?? (env[CONFIG_ENVIRONMENT_NAME] || undefined);
  if (path === undefined) return { path: DEFAULT_CONFIG_PATH };
  const setBy = flag === undefined ? CONFIG_ENVIRONMENT_NAME : "--config";
  const result = readValue(PATH, path);
  if (result.kind === "value") return { path, setBy };
  const remedy = `for example ${DEFAULT_CONFIG_PATH}`;
  problems.push({ file: setBy, place: "", problem: result.problem, remedy });
  return undefined;
}

function locateSnapshotterConfig(settings: Settings): FileToLoad | undefined {
  const setting = settings["snapshotter.config"];
  if (setting === undefined) return { path: DEFAULTS["snapshotter.config"] };
  if (setting.value === "off") return undefined;
  const { file, place } = setting.origin;
  return { path: setting.value, setBy: file.startsWith("/") ? `${place} in ${file}` : file };
}

/** Returns undefined if the file is missing or invalid; problems are added to `findings`. */
async function loadToml(
  { path, setBy }: FileToLoad,
  files: ConfigSources["files"],
  { problems }: Findings,
): Promise<TomlTable | undefined> {
  const refuse = (problem: string, remedy: string, place = "") => {
    problems.push({ file: path, place, problem, remedy });
    return undefined;
  };
  try {
    const text = await files.readText(path, { maxBytes: MAX_CONFIG_BYTES });
    if (text !== undefined) return parse(text.replace(/^\uFEFF/, ""));
    if (setBy === undefined) return undefined;
    return refuse(`no such file, but ${setBy} refers to it`, "create it or change the path");
  } catch (error) {
    if (error instanceof AgentError) {
      return refuse(messageOf(error), "make it a TOML file that the agent's user can read");
    }
    if (!(error instanceof TomlError)) throw error;
    // The rest of the parser's message quotes the file, which may contain a secret.
    const problem = (error.message.split("\n")[0] ?? "").replace("Invalid TOML document: ", "");
    const remedy = `write key = "value" or [table], one per line and each once`;
    return refuse(`invalid TOML: ${problem}`, remedy, `line ${error.line}, column ${error.column}`);
  }
}

/** Returns the value of every setting as JSON, by key path; `daemons[0].ref` of an entry. */
function valuesOf(settings: Settings) {
  const set = Object.entries(settings).map(([path, setting]) => [path, setting?.value] as const);
  const values = [...Object.entries(DEFAULTS), ...set];
  return Object.fromEntries(values.map(([path, value]) => [path, JSON.stringify(value)]));
}

/** Returns the sorted key paths of the settings that differ between two configurations. */
export function configDifferences(a: AgentConfig, b: AgentConfig): string[] {
  return Object.keys({ ...a.values, ...b.values })
    .filter((path) => a.values[path] !== b.values[path]).sort();
}

/** Freezes a plain value and everything in it. */
function deepFreeze<T>(value: T): T {
  if (typeof value !== "object" || value === null || Object.isFrozen(value)) return value;
  Object.values(value).forEach(deepFreeze);
  return Object.freeze(value);
}
