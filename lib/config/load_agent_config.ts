import { ConfigError } from "../model/mod.ts";
import type { AgentConfig } from "./agent_config.ts";
import { deepFreeze, hashOf } from "./identity.ts";
import { locateConfig, readEnvironment, readFlags, type Texts } from "./layers.ts";
import { type FileToLoad, loadToml, type ReadText } from "./load.ts";
import { normalize } from "./normalize.ts";
import { defaultOf, type Findings, type Settings } from "./settings.ts";
import { readSnapshotterTables } from "./snapshotter.ts";
import { validateTables } from "./validate.ts";

/** Where configuration comes from. */
export interface LoadAgentConfigOptions {
  /** Options of the command line: `config`, and the `flag` of every key in `CONFIG_KEYS`. */
  readonly flags: Texts;
  /** The environment; of it, what begins with `NYDUS_AUTH_AGENT_`. */
  readonly env: Texts;
  readonly readText: ReadText;
  /** Folder that relative paths in flags start from; without it they are refused. */
  readonly cwd?: string;
}

/**
 * Loads, validates and normalizes the agent's configuration, and freezes it. Precedence: flag,
 * environment, our file, the snapshotter's file, default.
 *
 * @throws {ConfigError} With every problem of every source at once.
 *
 * @example The snapshotter's own file is enough
 * ```ts
 * import { loadAgentConfig } from "./load_agent_config.ts";
 * const files: Record<string, string> = { "/etc/nydus/config.toml": `root = "/data/nydus"` };
 * const readText = (path: string) => Promise.resolve(files[path]);
 * const config = await loadAgentConfig({ flags: {}, env: {}, readText });
 * if (config.node.root !== "/data/nydus") throw new Error("not taken");
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
  const meaning = normalize(
    { settings, daemons, ...(snapshotter === undefined ? {} : { snapshotter }) },
    findings,
  );
  if (findings.problems.length > 0) throw new ConfigError(findings.problems);
  const hash = hashOf(meaning);
  return deepFreeze({ files, hash, warnings: findings.warnings, ...meaning });
}

function locateSnapshotterConfig(settings: Settings): FileToLoad | undefined {
  const setting = settings["snapshotter.config"];
  if (setting === undefined) return { path: defaultOf("snapshotter.config") };
  if (setting.value === "off") return undefined;
  const { file, place } = setting.origin;
  return { path: setting.value, approvedBy: file.startsWith("/") ? `${place} in ${file}` : file };
}
