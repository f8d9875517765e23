import { createHash } from "node:crypto";
import { ConfigError, defined, type FileSystem } from "../model/mod.ts";
import type { AgentConfig } from "./agent_config.ts";
import {
  CONFIG_ENVIRONMENT_NAME,
  locateConfig,
  readEnvironment,
  readFlags,
  type Texts,
} from "./layers.ts";
import { normalize } from "./normalize.ts";
import { defaultOf, type Findings, type Settings } from "./settings.ts";
import { readSnapshotterTables } from "./snapshotter.ts";
import { type FileToLoad, loadToml, type ReadText } from "./toml.ts";
import { validateTables } from "./validate.ts";

/** Values of the command-line options by camel-case name: `config`, and the flags of all keys. */
export type Flags = Readonly<Record<string, string | undefined>>;

/** Sources of the configuration. */
export interface LoadAgentConfigOptions {
  readonly flags: Flags;
  /** The environment; only variables that start with `NYDUS_AUTH_AGENT_` are read. */
  readonly env: Texts;
  readonly readText: ReadText;
  /** Base of relative paths in flags; without it they are rejected. */
  readonly cwd?: string;
}

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
  const hash = hashOf(normalized);
  return deepFreeze({ files, hash, warnings: findings.warnings, ...normalized });
}

function locateSnapshotterConfig(settings: Settings): FileToLoad | undefined {
  const setting = settings["snapshotter.config"];
  if (setting === undefined) return { path: defaultOf("snapshotter.config") };
  if (setting.value === "off") return undefined;
  const { file, place } = setting.origin;
  return { path: setting.value, setBy: file.startsWith("/") ? `${place} in ${file}` : file };
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
export function deepFreeze<T>(value: T): T {
  if (typeof value !== "object" || value === null || Object.isFrozen(value)) return value;
  Object.values(value).forEach(deepFreeze);
  return Object.freeze(value);
}

/** Returns the SHA-256 (hex) of a plain value, independent of key order and undefined fields. */
export function hashOf(value: unknown): string {
  return createHash("sha256").update(JSON.stringify(value, sortKeys)).digest("hex");
}

function sortKeys(_key: string, value: unknown): unknown {
  if (typeof value !== "object" || value === null || Array.isArray(value)) return value;
  return Object.fromEntries(Object.entries(value).sort(([a], [b]) => a < b ? -1 : 1));
}
