import { createHash } from "node:crypto";
import { parse, TomlError } from "@std/toml";
import { AgentError, ConfigError, defined, type FileSystem, messageOf } from "../model/mod.ts";
import { CONFIG_KEYS } from "./keys.ts";
import { type AgentConfig, defaultOf, normalize } from "./normalize.ts";
import {
  absoluteText,
  CONFIG_ENVIRONMENT_NAME,
  type Findings,
  readEnvironment,
  readFlags,
  readSnapshotterTables,
  type Setting,
  type Settings,
  type Texts,
  type TomlTable,
  validateTables,
} from "./settings.ts";
import { PATH } from "./value_type.ts";

/** Values of the command-line options by camel-case name: `config`, and the flags of all keys. */
export type Flags = Readonly<Record<string, string | undefined>>;

/** Sources of the configuration. */
export interface LoadAgentConfigOptions {
  readonly flags: Flags;
  /** The environment; only variables that start with `NYDUS_AUTH_AGENT_` are read. */
  readonly env: Texts;
  /** Reads a text file; undefined if it is missing. Throws an `AgentError` with code `io`. */
  readonly readText: ReadText;
  /** Base of relative paths in flags; without it they are rejected. */
  readonly cwd?: string;
}

type ReadText = (path: string) => Promise<string | undefined>;

/** The environment and file system of a command. */
export interface ConfigSources {
  readonly host: { readonly env: Readonly<Record<string, string>>; readonly cwd: string };
  readonly files: Pick<FileSystem, "readText">;
}

/** A parsed TOML file can take some hundred times its size in memory. */
const MAX_CONFIG_BYTES = 512 * 1024;

/**
 * Loads, validates, normalizes and freezes the agent's configuration. Precedence: flag,
 * environment, configuration file, snapshotter's configuration file, default.
 *
 * @throws {ConfigError} With the problems of all sources.
 *
 * @example Only the snapshotter's configuration file
 * ```ts
 * import { loadAgentConfig } from "./load_config.ts";
 * const files: Record<string, string> = { "/etc/nydus/config.toml": `root = "/data/nydus"` };
 * const readText = (path: string) => Promise.resolve(files[path]);
 * const config = await loadAgentConfig({ flags: {}, env: {}, readText });
 * if (config.node.root !== "/data/nydus") throw new Error("not read");
 * ```
 */
export async function loadAgentConfig(options: LoadAgentConfigOptions): Promise<AgentConfig> {
  const findings: Findings = { problems: [], warnings: [] };
  const files: string[] = [];
  const load = async (file: FileToLoad | undefined) => {
    const tables = file && await loadToml(file, options.readText, findings);
    if (file === undefined || tables === undefined) return undefined;
    files.push(file.path);
    return { path: file.path, tables };
  };

  const ours = await load(locateConfig(options, findings));
  const file = ours && validateTables(ours.path, ours.tables, findings);
  const settings: Settings = {
    ...file?.settings,
    ...readEnvironment(options.env, findings),
    ...readFlags(options.flags, options.cwd, findings),
  };
  const theirs = await load(locateSnapshotterConfig(settings));
  const snapshotter = theirs && readSnapshotterTables(theirs.path, theirs.tables, findings);
  const daemons = file?.daemons ?? [];
  const normalized = normalize(defined({ settings, daemons, snapshotter }), findings);
  if (findings.problems.length > 0) throw new ConfigError(findings.problems);
  const { warnings } = findings;
  const hash = createHash("sha256").update(JSON.stringify(normalized)).digest("hex");
  const values = valuesOf({ ...snapshotter, ...settings });
  return deepFreeze({ files, hash, warnings, values, ...normalized });
}

/** Default path of the configuration file. */
const DEFAULT_CONFIG_PATH = "/etc/nydus-auth-agent/config.toml";

/** Returns the path of the configuration file, and what sets it. */
function locateConfig(
  { flags, env, cwd }: LoadAgentConfigOptions,
  { problems }: Findings,
): FileToLoad | undefined {
  const variable = env[CONFIG_ENVIRONMENT_NAME] || undefined;
  const setBy = flags.config === undefined ? CONFIG_ENVIRONMENT_NAME : "--config";
  const text = flags.config === undefined ? variable : absoluteText(PATH, flags.config, cwd);
  if (text === undefined) return { path: DEFAULT_CONFIG_PATH };
  const result = PATH.read(text);
  if (result.kind === "value") return { path: text, setBy };
  const remedy = `for example ${DEFAULT_CONFIG_PATH}`;
  problems.push({ file: setBy, place: "", problem: result.problem, remedy });
  return undefined;
}

function locateSnapshotterConfig(settings: Settings): FileToLoad | undefined {
  const setting = settings["snapshotter.config"];
  if (setting === undefined) return { path: defaultOf("snapshotter.config") };
  if (setting.value === "off") return undefined;
  const { file, place } = setting.origin;
  return { path: setting.value, setBy: file.startsWith("/") ? `${place} in ${file}` : file };
}

/** A file to load. */
interface FileToLoad {
  readonly path: string;
  /** The flag, variable or key that sets the path; undefined for a default that may be missing. */
  readonly setBy?: string;
}

/** Returns undefined if the file is missing or invalid; problems are added to `findings`. */
async function loadToml(
  { path, setBy }: FileToLoad,
  readText: ReadText,
  { problems }: Findings,
): Promise<TomlTable | undefined> {
  const refuse = (problem: string, remedy: string, place = "") => {
    problems.push({ file: path, place, problem, remedy });
    return undefined;
  };
  try {
    const text = await readText(path);
    if (text === undefined) {
      return setBy === undefined
        ? undefined
        : refuse(`no such file, but ${setBy} refers to it`, "create it or change the path");
    }
    return /[\0\uFFFD]/.test(text)
      ? refuse("not a UTF-8 text file", "use a TOML file")
      : parse(text.replace(/^\uFEFF/, ""));
  } catch (error) {
    if (error instanceof AgentError) {
      const text = messageOf(error);
      const isWrongKind = /not a file|not UTF-8/.test(text);
      const remedy = isWrongKind ? "use a TOML file" : "make it readable for the user of the agent";
      return refuse(text, remedy);
    }
    if (!(error instanceof TomlError)) throw error;
    // The rest of the parser's message quotes the file, which may contain a secret.
    const problem = (error.message.split("\n")[0] ?? "").replace("Invalid TOML document: ", "");
    const remedy = /redefine/.test(problem)
      ? "keep one of the two definitions"
      : `write key = "value" or [table], one per line`;
    const place = `line ${error.line}, column ${error.column}`;
    return refuse(`invalid TOML: ${problem}`, remedy, place);
  }
}

/** Returns the value of every setting as JSON, by key path; `daemons[0].ref` of an entry. */
function valuesOf(settings: Readonly<Record<string, Setting | undefined>>) {
  const defaults = CONFIG_KEYS.flatMap(({ path, type, default: value }) => {
    const result = type.read(value);
    return result.kind === "value" ? [[path, result.value]] : [];
  });
  const set = Object.entries(settings).map(([path, setting]) => [path, setting?.value]);
  return Object.fromEntries(
    [...defaults, ...set].map(([path, value]) => [path, JSON.stringify(value)]),
  );
}

/** Returns the sorted key paths of the settings that differ between two configurations. */
export function configDifferences(a: AgentConfig, b: AgentConfig): string[] {
  return Object.keys({ ...a.values, ...b.values })
    .filter((path) => a.values[path] !== b.values[path]).sort();
}

/**
 * Loads the configuration of a command.
 *
 * @throws {ConfigError} With the problems of all sources.
 */
export function loadConfig({ host, files }: ConfigSources, flags: Flags): Promise<AgentConfig> {
  return loadAgentConfig({
    flags,
    env: host.env,
    cwd: host.cwd,
    readText: (path) => files.readText(path, { maxBytes: MAX_CONFIG_BYTES }),
  });
}

/**
 * Loads the configuration for a command that queries the running agent and needs only its socket. A
 * file that this user may not read counts as missing unless its path was set explicitly: members of
 * `api.group` may use the socket, although the files belong to root.
 *
 * @throws {ConfigError} With the problems of all sources.
 */
export function loadClientConfig(sources: ConfigSources, flags: Flags): Promise<AgentConfig> {
  const { host: { env, cwd }, files } = sources;
  const isExplicit = (flags["config"] ?? env[CONFIG_ENVIRONMENT_NAME] ?? "") !== "";
  if (isExplicit) return loadConfig(sources, flags);
  const readText = (path: string) =>
    files.readText(path, { maxBytes: MAX_CONFIG_BYTES }).catch(() => undefined);
  return loadAgentConfig({ flags, env, cwd, readText });
}

/** Freezes a plain value and everything in it. */
function deepFreeze<T>(value: T): T {
  if (typeof value !== "object" || value === null || Object.isFrozen(value)) return value;
  Object.values(value).forEach(deepFreeze);
  return Object.freeze(value);
}
