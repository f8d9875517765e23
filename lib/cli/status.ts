import {
  type AgentConfig,
  CONFIG_ENVIRONMENT_NAME,
  type Flags,
  loadAgentConfig,
  loadClientConfig,
} from "../config/mod.ts";
import { ConfigError, EXIT, formatProblem, messageOf } from "../model/mod.ts";
import type { HealthLevel } from "../observability/mod.ts";
import type { Context } from "../platform/mod.ts";
import { type AgentReply, queryAgent } from "./agent_client.ts";
import { statusText, summaryText } from "./status_text.ts";
import { clipped, printable, type TextStyle, wrapped } from "./terminal_text.ts";

/** Options of `status`. */
export interface StatusOptions {
  readonly output: string;
  /** Print the status repeatedly until a signal. */
  readonly watch: boolean;
}

/** Exit codes by health level, for scripts. */
export const LEVEL_EXIT: Readonly<Record<HealthLevel, number>> = {
  ok: EXIT.ok,
  warning: EXIT.warning,
  critical: EXIT.critical,
};

/**
 * `status`: prints the health and the state of the running agent. The exit code is that of the
 * health level, or 1 when no agent answers; with `watch`, 0 after a signal.
 */
export async function status(
  context: Context,
  flags: Flags,
  { output, watch }: StatusOptions,
): Promise<number> {
  const { host } = context;
  const config = await loadConfigForStatus(context, flags);
  // An explicit address selects the agent; the API socket may belong to another one.
  const query = () => queryAgent(context, config, { atAddress: flags["address"] !== undefined });
  if (watch) return await watchStatus(context, query, output);
  let reply: AgentReply;
  try {
    reply = await query();
  } catch (error) {
    host.err(`${printable(messageOf(error))}\n`);
    return EXIT.failed;
  }
  host.out(
    output === "json" ? `${JSON.stringify(jsonOf(reply), null, 2)}\n` : textOf(context, reply),
  );
  return LEVEL_EXIT[reply.health.level];
}

/**
 * Loads the configuration for finding the agent. An invalid file must not hide the agent: the
 * defaults are then used, with a warning.
 *
 * @throws {ConfigError} When the options or the environment are invalid.
 */
async function loadConfigForStatus(context: Context, flags: Flags): Promise<AgentConfig> {
  const { host } = context;
  try {
    return await loadClientConfig(context, flags);
  } catch (error) {
    if (!(error instanceof ConfigError)) throw error;
    const { [CONFIG_ENVIRONMENT_NAME]: _, ...env } = host.env;
    const { config: __, ...rest } = flags;
    const readText = () => Promise.resolve(undefined);
    const config = await loadAgentConfig({ flags: rest, env, readText });
    for (const problem of error.problems) {
      host.err(`warning: ${printable(formatProblem(problem))}\n`);
    }
    host.err("warning: the configuration is invalid; using the default socket and address\n");
    return config;
  }
}

function jsonOf({ status, health }: AgentReply) {
  return { summary: health.summary, level: health.level, ...status, health };
}

function textOf({ host, clock }: Context, { status, health }: AgentReply): string {
  const style: TextStyle = { color: host.stdoutIsTerminal && !host.env["NO_COLOR"] };
  return `${summaryText(health, style)}\n\n${statusText(status, clock.wallMs(), style)}`;
}

const WATCH_INTERVAL_MS = 2_000;
/** Switches to the alternate screen without a cursor, and back. */
const ENTER_SCREEN = "\x1b[?1049h\x1b[?25l";
const LEAVE_SCREEN = "\x1b[?25h\x1b[?1049l";
const CLEAR_SCREEN = "\x1b[H\x1b[J";

/**
 * Prints the status every two seconds until a signal, or until the output is closed: in a terminal as
 * a table that is redrawn; in a pipe as a line when the summary changes, other than by its numbers;
 * as JSON one line each time.
 */
export async function watchStatus(
  context: Context,
  query: () => Promise<AgentReply>,
  output: string,
): Promise<number> {
  const { host, clock } = context;
  const stop = new AbortController();
  using _signals = host.onSignal(["SIGTERM", "SIGINT"], () => stop.abort());
  const isScreen = output !== "json" && host.stdoutIsTerminal;
  const show = isScreen
    ? screenPrinter(context)
    : output === "json"
    ? jsonPrinter(context)
    : summaryPrinter(context);
  if (isScreen) host.out(ENTER_SCREEN);
  try {
    while (!stop.signal.aborted) {
      const isOpen = show(await query().catch((error) => printable(messageOf(error))));
      if (!isOpen) break;
      await clock.sleep(WATCH_INTERVAL_MS, { signal: stop.signal });
    }
  } catch (error) {
    if (!stop.signal.aborted) throw error;
  } finally {
    if (isScreen) host.out(LEAVE_SCREEN);
  }
  return EXIT.ok;
}

/** Prints a reply, or why there is none; returns false when the output is closed. */
type Printer = (reply: AgentReply | string) => boolean;

function screenPrinter(context: Context): Printer {
  const { host, clock } = context;
  let lastReplyMs: number | undefined;
  return (reply) => {
    const time = timeText(clock.wallMs());
    if (typeof reply === "string") {
      const last = lastReplyMs === undefined ? "" : `; last answer at ${timeText(lastReplyMs)}`;
      return host.out(`${CLEAR_SCREEN}${time}  ${reply}${last}\n`);
    }
    lastReplyMs = clock.wallMs();
    const { columns, rows } = host.terminalSize();
    const [summary = "", ...rest] = textOf(context, reply).trimEnd().split("\n");
    const lines = [...wrapped(`${time}  ${summary}`, columns), ...rest];
    const available = Math.max(1, rows - 1);
    const shown = lines.length > available ? lines.slice(0, available - 1) : lines;
    const more = lines.length > available ? [`… ${lines.length - shown.length} more lines`] : [];
    return host.out(
      CLEAR_SCREEN + [...shown, ...more].map((line) => clipped(line, columns)).join("\n"),
    );
  };
}

function summaryPrinter({ host, clock }: Context): Printer {
  let previous = "";
  return (reply) => {
    const text = typeof reply === "string"
      ? `no answer: ${reply}`
      : `${reply.health.level}: ${printable(reply.health.summary)}`;
    const shape = text.replace(/\d+(?:\.\d+)?(?:ms|[dhms])?/g, "0").replace(/(?:0)+/g, "0");
    const isChanged = shape !== previous;
    previous = shape;
    return !isChanged || host.out(`${new Date(clock.wallMs()).toISOString()} ${text}\n`);
  };
}

function jsonPrinter({ host }: Context): Printer {
  return (reply) => {
    const line = typeof reply === "string" ? { error: reply } : jsonOf(reply);
    return host.out(`${JSON.stringify(line)}\n`);
  };
}

function timeText(ms: number): string {
  return new Date(ms).toISOString().slice(11, 19);
}
