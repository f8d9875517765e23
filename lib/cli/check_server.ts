import type { AgentConfig } from "../config/mod.ts";
import { Deadline } from "../model/mod.ts";
import { about, type CheckFindings } from "./check_findings.ts";
import type { Context } from "../platform/mod.ts";
import { addressOf, queryAgent } from "./agent_client.ts";

const TIMEOUT_MS = 2_000;

/**
 * Reports what the running agent finds wrong: it runs in the unit's sandbox or a container, where
 * other paths are writable than for this command. Returns whether an agent answered.
 */
export async function checkRunningAgent(
  context: Context,
  config: AgentConfig,
  { warnings, fine }: CheckFindings,
): Promise<boolean> {
  const answer = await queryAgent(context, config).catch(() => undefined);
  // Another program may listen at the configured address, and answer JSON of its own.
  if (answer === undefined || !Array.isArray(answer.health.checks)) return false;
  const wrong = answer.health.checks.filter(({ ok }) => !ok);
  for (const { name, text } of wrong) {
    const problem = `its check "${name}" fails: ${text}`;
    warnings.push(about("the running agent", problem, "run: nydus-auth-agent status"));
  }
  if (wrong.length === 0) fine.push("the running agent: nothing is wrong");
  return true;
}

/** Checks who listens where the agent wants to serve: an agent, nobody, or another program. */
export async function checkServer(
  { server, metricsServer }: Pick<AgentConfig, "server" | "metricsServer">,
  findings: CheckFindings,
): Promise<void> {
  await checkAddress(server, "server.address", findings);
  await checkAddress(metricsServer, "server.metrics_address", findings);
}

async function checkAddress(
  server: AgentConfig["server"],
  key: string,
  { problems, fine }: CheckFindings,
): Promise<void> {
  if (server === undefined || server.port === 0) return;
  const address = addressOf(server);
  const taken = "another program listens there, so that the agent cannot start";
  const remedy = `stop that program, or name another ${key}`;
  using deadline = new Deadline(TIMEOUT_MS);
  try {
    const { signal } = deadline;
    const response = await fetch(`http://${address}/livez`, { redirect: "manual", signal });
    const text = await response.text();
    // The agent's own policy is on each of its responses.
    const isAgent = (text === "ok\n" || response.status === 503) &&
      response.headers.has("content-security-policy");
    if (isAgent) fine.push(`server: an agent answers at ${address}`);
    else problems.push(about(address, taken, remedy));
  } catch {
    // Nobody listens, as it should be before the agent runs; or somebody who speaks no HTTP.
    if (deadline.passed) problems.push(about(address, taken, remedy));
  }
}
