import { runChecks } from "../agent/mod.ts";
import { loadConfig } from "../config/mod.ts";
import { AgentError, EXIT, formatProblem, printable } from "../model/mod.ts";
import { queryAgent } from "./agent_client.ts";
import { type CommandCall, type OutputFormat, printJson } from "./options.ts";

/**
 * `check`: prints what is wrong with the configuration, the host and the node, and a verdict. Exit
 * code 0, or 2 when a problem keeps the agent from working.
 */
export async function check(
  { context, flags, args: [refs], options: { probe = false, output } }: CommandCall<
    { readonly probe?: boolean; readonly output: OutputFormat }
  >,
): Promise<number> {
  const { host } = context;
  if (probe && refs.length === 0) {
    throw new AgentError("usage", "check --probe: give at least one image");
  }
  const config = await loadConfig(context, flags);
  const reply = await queryAgent(config).catch(() => undefined);
  // Another program at the configured address may answer with JSON of its own.
  const running = Array.isArray(reply?.health.checks) ? reply : undefined;
  const { passed, warnings, problems } = await runChecks(context, config, { refs, probe, running });
  const { files, hash } = config;
  const verdict = problems.length > 0 ? "problems" : warnings.length > 0 ? "warnings" : "ok";
  if (output === "json") {
    printJson(context, { verdict, problems, warnings, passed, configuration: { files, hash } });
  } else {
    for (const text of passed) host.out(`ok: ${printable(text)}\n`);
    for (const warning of warnings) host.out(`warning: ${printable(formatProblem(warning))}\n`);
    for (const problem of problems) host.err(`error: ${printable(formatProblem(problem))}\n`);
    const loaded = files.length === 0 ? "defaults only" : files.join(", ");
    host.out(`configuration: ${loaded} (${hash.slice(0, 12)})\n`);
    const text = problems.length === 0
      ? `the agent can work; ${count(warnings, "warning")}`
      : `${count(problems, "problem")} to fix before the agent can work`;
    host.out(`verdict: ${text}\n`);
  }
  return problems.length === 0 ? EXIT.ok : EXIT.badConfig;
}

function count({ length }: readonly unknown[], what: string): string {
  return `${length} ${what}${length === 1 ? "" : "s"}`;
}
