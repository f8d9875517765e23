import { type AgentConfig, loadAgentConfig } from "../../../lib/config/mod.ts";
import { AgentError, ConfigError, type ConfigProblem } from "../../../lib/model/mod.ts";

export const OURS = "/etc/nydus-auth-agent/config.toml";
export const THEIRS = "/etc/nydus/config.toml";

/** What a test gives. An error in place of a text makes a file unreadable. */
export interface Sources {
  readonly files?: Readonly<Record<string, string | AgentError>>;
  /** Short for the text of our default file. */
  readonly ours?: string;
  /** Short for the text of the snapshotter's default file. */
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
  return loadAgentConfig({ flags, env, readText, cwd });
}

/** The problems that loading ends in; fails when it does not end in a `ConfigError`. */
export async function problemsOf(sources: Sources): Promise<readonly ConfigProblem[]> {
  try {
    await load(sources);
  } catch (error) {
    if (error instanceof ConfigError) return error.problems;
    throw error;
  }
  throw new Error("load configuration: no problem was found");
}

/** The one problem that loading ends in. */
export async function problemOf(sources: Sources): Promise<ConfigProblem> {
  const [problem, ...more] = await problemsOf(sources);
  if (problem === undefined || more.length > 0) {
    throw new Error(`load configuration: wanted one problem, found ${more.length + 1}`);
  }
  return problem;
}
