import { type AgentConfig, CONFIG_ENVIRONMENT_NAME, loadAgentConfig } from "../config/mod.ts";
import { ConfigError, formatProblem, messageOf } from "../model/mod.ts";
import type { HealthLevel } from "../observability/mod.ts";
import type { Context } from "../platform/mod.ts";
import { EXIT } from "../model/mod.ts";
import { type Flags, loadClientConfig } from "../config/mod.ts";
import { type AgentReply, answerOf, queryAgent, wholeText } from "./agent_client.ts";
import { watchStatus } from "./status_watch.ts";
import { printable } from "./table.ts";

/** Options of `status`. */
export interface StatusOptions {
  readonly output: string;
  /** Show it again and again, until told to stop. */
  readonly watch: boolean;
}

/** The exit code for a level, so that a script can tell them apart. */
export const LEVEL_EXIT: Readonly<Record<HealthLevel, number>> = {
  ok: EXIT.ok,
  warning: EXIT.warning,
  critical: EXIT.critical,
};

/**
 * `status`: asks the running agent how the node stands. Exit code 0 when all is well, 3 when
 * something wants a look, 4 when reads fail or are about to, 1 when no agent answers. With `watch`
 * it asks every two seconds until it is interrupted, which is 0.
 */
export async function status(
  context: Context,
  flags: Flags,
  options: StatusOptions,
): Promise<number> {
  const config = await loadConfigForStatus(context, flags);
  // An address on the command line names the agent to ask; the API socket may be another's.
  const ask = () => queryAgent(context, config, { atAddress: flags["address"] !== undefined });
  if (options.watch) {
    return await watchStatus(context, ask, options.output);
  }
  let told: AgentReply;
  try {
    told = await ask();
  } catch (error) {
    context.host.err(`${printable(messageOf(error))}\n`);
    return EXIT.failed;
  }
  context.host.out(
    options.output === "json"
      ? `${JSON.stringify(answerOf(told), null, 2)}\n`
      : wholeText(context, told),
  );
  return LEVEL_EXIT[told.health.level];
}

/**
 * The configuration for asking the running agent. A broken file hides no agent: the built-in
 * settings are used then, with a warning.
 *
 * @throws {ConfigError} When the options or the environment are wrong themselves.
 */
async function loadConfigForStatus(context: Context, flags: Flags): Promise<AgentConfig> {
  try {
    return await loadClientConfig(context, flags);
  } catch (error) {
    if (!(error instanceof ConfigError)) throw error;
    const { [CONFIG_ENVIRONMENT_NAME]: _, ...env } = context.host.env;
    const { config: __, ...rest } = flags;
    const config = await loadAgentConfig({
      flags: rest,
      env,
      readText: () => Promise.resolve(undefined),
    });
    for (const problem of error.problems) {
      context.host.err(`warning: ${printable(formatProblem(problem))}\n`);
    }
    context.host.err("warning: the configuration is not used, asking at the default places\n");
    return config;
  }
}
