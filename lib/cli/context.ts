import { type AgentConfig, CONFIG_KEYS, loadAgentConfig } from "../config/mod.ts";
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
    readText: (path) => files.readText(path),
  });
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
