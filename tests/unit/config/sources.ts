import { type AgentConfig, loadConfig } from "../../../lib/config/mod.ts";
import { AgentError, ConfigError, type ConfigProblem } from "../../../lib/model/mod.ts";

export const OURS = "/etc/nydus-auth-agent/config.toml";
export const THEIRS = "/etc/nydus/config.toml";

/** The sources of a test. An error in place of a text makes the file unreadable. */
export interface Sources {
  readonly files?: Readonly<Record<string, string | AgentError>>;
  /** Text of the default configuration file. */
  readonly ours?: string;
  /** Text of the snapshotter's default file. */
  readonly theirs?: string;
  readonly flags?: Readonly<Record<string, string | undefined>>;
  readonly env?: Readonly<Record<string, string | undefined>>;
  readonly cwd?: string;
}

export function load(sources: Sources = {}): Promise<AgentConfig> {
  const { files = {}, ours, theirs, flags = {}, env = {}, cwd = "/cwd/dir" } = sources;
  const all: Record<string, string | AgentError | undefined> = {
    [OURS]: ours,
    [THEIRS]: theirs,
    ...files,
  };
  const readText = (path: string) => {
    const content = all[path];
    return content instanceof AgentError ? Promise.reject(content) : Promise.resolve(content);
  };
  return loadConfig({ host: { env, cwd }, files: { readText } }, flags);
}

/** Returns the problems of a `ConfigError`; throws if loading succeeds. */
export async function problemsOf(sources: Sources): Promise<readonly ConfigProblem[]> {
  try {
    await load(sources);
  } catch (error) {
    if (error instanceof ConfigError) return error.problems;
    throw error;
  }
  throw new Error("failed to get problems: the configuration is valid");
}

/** Returns the only problem of a `ConfigError`. */
export async function problemOf(sources: Sources): Promise<ConfigProblem> {
  const [problem, ...more] = await problemsOf(sources);
  if (problem === undefined || more.length > 0) {
    throw new Error(`expected one problem, found ${more.length + 1}`);
  }
  return problem;
}
