import type { FileSystem } from "../model/mod.ts";
import type { AgentConfig } from "./agent_config.ts";
import { CONFIG_ENVIRONMENT_NAME } from "./layers.ts";
import { loadAgentConfig } from "./load_agent_config.ts";

/** Values of the command line's options, in camel case. */
export type Flags = Readonly<Record<string, string | undefined>>;

/** What loading a configuration reads. */
export interface ConfigSources {
  readonly host: { readonly env: Readonly<Record<string, string>>; readonly cwd: string };
  readonly files: Pick<FileSystem, "readText">;
}

/** TOML can take some hundred times its length in memory. */
const MAX_CONFIG_BYTES = 512 * 1024;

/**
 * Loads the configuration of a command.
 *
 * @throws {ConfigError} With every problem at once.
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
 * Loads the configuration for a command that queries the running agent, which needs no more than
 * its socket. A file that this user may not read counts as absent unless it was named explicitly:
 * members of `api.group` may use the socket, and the files belong to root.
 *
 * @throws {ConfigError} As {@linkcode loadConfig}.
 */
export function loadClientConfig(sources: ConfigSources, flags: Flags): Promise<AgentConfig> {
  const { host: { env, cwd }, files } = sources;
  const isNamed = (flags["config"] ?? env[CONFIG_ENVIRONMENT_NAME] ?? "") !== "";
  if (isNamed) return loadConfig(sources, flags);
  const readText = (path: string) =>
    files.readText(path, { maxBytes: MAX_CONFIG_BYTES }).catch(() => undefined);
  return loadAgentConfig({ flags, env, cwd, readText });
}
