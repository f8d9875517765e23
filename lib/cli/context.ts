import {
  type AgentConfig,
  CONFIG_ENVIRONMENT_NAME,
  CONFIG_KEYS,
  loadAgentConfig,
} from "../config/mod.ts";
import type { Host } from "../edge/mod.ts";
import type { Clock, FileSystem, ProcessRunner, Random } from "../model/mod.ts";

/** Values of the command line's options, in camel case. */
export type Flags = Readonly<Record<string, string | undefined>>;

/** What every command is given: the world, and nothing of it as a global. */
export interface Context {
  readonly host: Host;
  readonly clock: Clock;
  readonly random: Random;
  readonly files: FileSystem;
  readonly processRunner: ProcessRunner;
  /** URL of the program's entry, for running it again. */
  readonly mainUrl: string;
}

/** Exit codes, as the manual lists them. */
export const EXIT = { ok: 0, failed: 1, badConfig: 2, warning: 3, critical: 4 } as const;

/** In the worst case TOML takes some hundred times its length in memory. */
const MAX_CONFIG_BYTES = 512 * 1024;

/**
 * The configuration for a command.
 *
 * @throws {ConfigError} With every problem at once.
 */
export function loadConfig({ host, files }: Context, flags: Flags): Promise<AgentConfig> {
  return loadAgentConfig({
    flags,
    env: host.env,
    cwd: host.cwd,
    readText: (path) => files.readText(path, { maxBytes: MAX_CONFIG_BYTES }),
  });
}

/**
 * The configuration for asking the running agent, which takes no more than its socket. A file that
 * this user may not read counts as none, unless it was named: members of `api.group` are let in by
 * the socket, and the files are root's.
 *
 * @throws {ConfigError} As {@linkcode loadConfig}.
 */
export function loadConfigToAsk(context: Context, flags: Flags): Promise<AgentConfig> {
  const { host, files } = context;
  const { env, cwd } = host;
  const isNamed = (flags["config"] ?? env[CONFIG_ENVIRONMENT_NAME] ?? "") !== "";
  if (isNamed) return loadConfig(context, flags);
  const readText = (path: string) =>
    files.readText(path, { maxBytes: MAX_CONFIG_BYTES }).catch(() => undefined);
  return loadAgentConfig({ flags, env, cwd, readText });
}

/** The options that a command shares with `run`, out of the table of configuration keys. */
export const CONFIG_FLAGS: readonly {
  readonly name: string;
  /** What stands for its value in a help text. */
  readonly value: string;
  readonly help: string;
}[] = CONFIG_KEYS.flatMap(({ flag, description, path, type, ...key }) => {
  if (flag === undefined) return [];
  const value = type.kind === "choice" ? type.choices.join("|") : type.kind;
  const byDefault = key.default === undefined ? "" : `, default ${key.default}`;
  return [{ name: flag, value, help: `${description} (${path}${byDefault})` }];
});
