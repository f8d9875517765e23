import { AgentError, type AgentStatus, Deadline, messageOf } from "../model/mod.ts";
import { healthOf, type HealthView } from "../observability/mod.ts";
import type { AgentConfig } from "../config/mod.ts";
import { queryApi } from "./api_client.ts";
import type { Context } from "../platform/mod.ts";
import { sentenceText, statusText } from "./status_text.ts";

/** What the running agent answered. */
export interface AgentReply {
  readonly status: AgentStatus;
  readonly health: HealthView;
}

const TIMEOUT_MS = 5_000;

/** The answer for programs. */
export function answerOf({ status, health }: AgentReply) {
  return { summary: health.summary, level: health.level, ...status, health };
}

/** The sentence, and the tables below it. */
export function wholeText(context: Context, { status, health }: AgentReply): string {
  const { host, clock } = context;
  const style = { colour: host.stdoutIsTerminal && (host.env["NO_COLOR"] ?? "") === "" };
  return `${sentenceText(health, style)}\n\n${statusText(status, clock.wallMs(), style)}`;
}

/**
 * Asks the agent that runs with this configuration: over its local API, else at its address.
 *
 * @throws {AgentError} `unreachable` when there is none, or none that answers.
 */
export async function queryAgent(
  { clock }: Context,
  config: AgentConfig,
  { atAddress = false }: { readonly atAddress?: boolean } = {},
): Promise<AgentReply> {
  type Answer = AgentStatus & { readonly health?: HealthView };
  const asked = atAddress ? undefined : await queryApi<Answer>(config, {
    method: "GET",
    path: "/v1/status",
    timeoutMs: TIMEOUT_MS,
  });
  // Whoever may not use the local API may still ask the server for metrics.
  const { health, ...status } = asked?.kind === "answered"
    ? asked.body
    : await getFromAgent<Answer>(config, "/v1/status");
  const { checkIntervalMs } = config.renewal;
  // An older agent does not say the sentence itself.
  return { status, health: health ?? healthOf(status, clock.wallMs(), { checkIntervalMs }) };
}

/**
 * Gets a path of the agent that runs with this configuration.
 *
 * @throws {AgentError} `unreachable` when there is none, or none that answers.
 */
export async function getFromAgent<T>(config: AgentConfig, path: string): Promise<T> {
  if (config.server === undefined) {
    const text = "ask the agent: its server is off (server.address), so there is nowhere to ask";
    throw new AgentError("unreachable", text);
  }
  const url = `http://${addressOf(config.server)}${path}`;
  using deadline = new Deadline(TIMEOUT_MS);
  try {
    const response = await fetch(url, { redirect: "error", signal: deadline.signal });
    if (!response.ok) throw new Error(`it answered ${response.status}`);
    return await response.json();
  } catch (error) {
    const text = `ask the agent at ${url}: ${messageOf(error)}; is it running`;
    throw new AgentError("unreachable", text, { cause: error });
  }
}

/** Where to ask for what is served at an address: one that stands for all becomes loopback. */
export function addressOf(
  { hostname, port }: { readonly hostname: string; readonly port: number },
) {
  if (hostname === "0.0.0.0") return `127.0.0.1:${port}`;
  if (hostname === "::") return `[::1]:${port}`;
  return hostname.includes(":") ? `[${hostname}]:${port}` : `${hostname}:${port}`;
}
