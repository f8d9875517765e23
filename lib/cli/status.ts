import {
  type AgentConfig,
  CONFIG_ENVIRONMENT_NAME,
  type Flags,
  loadClientConfig,
  loadConfig,
} from "../config/mod.ts";
import {
  AgentError,
  type AgentStatus,
  alignColumns,
  ConfigError,
  type DaemonStatus,
  EXIT,
  formatDuration,
  formatProblem,
  type ImageStatus,
  messageOf,
  parseDurationMs,
  printable,
} from "../model/mod.ts";
import {
  type HealthLevel,
  type HealthView,
  imageLabel,
  imageViews,
  mountLevel,
  statusDocument,
  type StatusReply,
} from "../observability/mod.ts";
import type { Context } from "../platform/mod.ts";
import { queryAgent } from "./agent_client.ts";
import { colored, type OutputFormat, printJson, styleOf, type TextStyle } from "./output.ts";

/** Options of `status`. */
export interface StatusOptions {
  readonly output: OutputFormat;
  /** Print only the summary. */
  readonly brief: boolean;
  /** Wait until the agent is ready. */
  readonly wait: boolean;
  /** Limit of the wait, such as `30s`. */
  readonly timeout: string;
}

/** Exit codes by health level, for scripts. */
export const LEVEL_EXIT: Readonly<Record<HealthLevel, number>> = {
  ok: EXIT.ok,
  warning: EXIT.warning,
  critical: EXIT.critical,
};

const WAIT_INTERVAL_MS = 500;

/**
 * `status`: prints the health and the state of the running agent. The exit code is that of the
 * health level, or 1 when no agent answers, or when it is not ready within the timeout of a wait.
 */
export async function status(
  context: Context,
  flags: Flags,
  { output, brief, wait, timeout }: StatusOptions,
): Promise<number> {
  const { host, clock } = context;
  const timeoutMs = parseDurationMs(timeout);
  const config = await loadConfigForStatus(context, flags);
  // An explicit address selects the agent; the API socket may belong to another one.
  const query = () => queryAgent(config, { atAddress: flags["address"] !== undefined });
  const { status, health } = wait
    ? await untilReady(context, query, timeoutMs, timeout)
    : await query();
  const { summary, level } = health;
  if (output === "json") {
    printJson(context, brief ? { summary, level } : statusDocument(status, health));
  } else {
    const style = styleOf(context);
    const rest = brief ? "" : `\n${statusText(status, clock.wallMs(), style)}`;
    host.out(`${summaryText(health, style)}\n${rest}`);
  }
  return LEVEL_EXIT[level];
}

/**
 * Waits until the agent answers and has completed its first reconcile.
 *
 * @throws {AgentError} `unreachable` after the timeout.
 */
async function untilReady(
  { clock }: Context,
  query: () => Promise<StatusReply>,
  timeoutMs: number,
  timeout: string,
): Promise<StatusReply> {
  const deadlineMs = clock.monotonicMs() + timeoutMs;
  while (true) {
    const reply = await query().catch((error) => messageOf(error));
    if (typeof reply !== "string" && reply.health.ready) return reply;
    if (clock.monotonicMs() >= deadlineMs) {
      const reason = typeof reply === "string" ? reply : reply.health.summary;
      throw new AgentError("unreachable", `the agent is not ready after ${timeout}: ${reason}`);
    }
    await clock.sleep(WAIT_INTERVAL_MS);
  }
}

/**
 * Loads the configuration for finding the agent. An invalid file must not hide the agent: the
 * defaults are then used, with a warning.
 *
 * @throws {ConfigError} When the options or the environment are invalid.
 */
export async function loadConfigForStatus(context: Context, flags: Flags): Promise<AgentConfig> {
  const { host } = context;
  try {
    return await loadClientConfig(context, flags);
  } catch (error) {
    if (!(error instanceof ConfigError)) throw error;
    const { [CONFIG_ENVIRONMENT_NAME]: _, ...env } = host.env;
    const { config: __, ...rest } = flags;
    const files = { readText: () => Promise.resolve(undefined) };
    const config = await loadConfig({ host: { env, cwd: host.cwd }, files }, rest);
    for (const problem of error.problems) {
      host.err(`warning: ${printable(formatProblem(problem))}\n`);
    }
    host.err("warning: the configuration is invalid; using the default socket and address\n");
    return config;
  }
}

/** Returns the status summary after its level. */
function summaryText(
  { level, summary }: Pick<HealthView, "level" | "summary">,
  style: TextStyle,
): string {
  return `${colored(level, level, style)}: ${printable(summary)}`;
}

/** Returns the complete status as tables, problems first. */
export function statusText(status: AgentStatus, nowMs: number, style: TextStyle): string {
  const sections = [
    imageTable(status, nowMs, style),
    mountTable(status, style),
    ...providerTables(status, nowMs),
  ];
  if (status.problems.length > 0) {
    const rows = status.problems.map((p) => [p.source, printable(p.subject), printable(p.detail)]);
    sections.push(alignColumns([["SOURCE", "SUBJECT", "PROBLEM"], ...rows]));
  }
  return sections.join("\n");
}

function imageTable(status: AgentStatus, nowMs: number, style: TextStyle): string {
  const views = imageViews(status, nowMs);
  const rows = views.map(({ image, word, mounts }) => [
    printable(imageLabel(image)),
    word,
    image.provider ?? "none",
    image.expiresAtMs === undefined ? "-" : span(image.expiresAtMs - nowMs),
    nextText(image, nowMs),
    String(mounts.length),
    image.lastFailure === undefined
      ? ""
      : `${image.lastFailure.reason}: ${printable(image.lastFailure.detail)}`,
  ]);
  const header = [
    "IMAGE",
    "HEALTH",
    "PROVIDER",
    "EXPIRES IN",
    "NEXT RENEWAL",
    "MOUNTS",
    "LAST FAILURE",
  ];
  const lines = alignColumns([header, ...rows]).split("\n");
  // Colored after alignment, because color codes have no width.
  return lines.map((line, i) => {
    const view = views[i - 1];
    return view === undefined ? line : colorWord(line, view.word, view.level, style);
  }).join("\n");
}

function colorWord(line: string, word: string, level: HealthLevel, style: TextStyle): string {
  const at = line.indexOf(` ${word} `);
  if (at < 0) return line;
  return line.slice(0, at + 1) + colored(level, word, style) + line.slice(at + 1 + word.length);
}

function nextText({ provider, nextAttemptAtMs }: ImageStatus, nowMs: number): string {
  if (provider === undefined || provider === "adopted") {
    return nextAttemptAtMs === undefined ? "-" : span(nextAttemptAtMs - nowMs);
  }
  return nextAttemptAtMs === undefined ? "when it changes" : span(nextAttemptAtMs - nowMs);
}

/** Lists mounts with problems first: the end may not fit on the screen. */
function mountTable({ daemons, nowMs }: AgentStatus, style: TextStyle): string {
  const mounts = daemons.flatMap((daemon) =>
    daemon.instances.map((instance) => ({ daemon, instance, level: mountLevel(instance) }))
  );
  const sorted = mounts.toSorted((a, b) => Number(a.level === "ok") - Number(b.level === "ok"));
  const rows = sorted.map(({ daemon, instance }) => [
    printable(daemon.id),
    daemon.state,
    printable(instance.snapshotId),
    deliveryText(instance),
    readsFailText(instance, nowMs),
    printable(`${instance.image ?? "-"}${instance.host ? ` (from ${instance.host})` : ""}`),
    printable(instance.deliveryDetail ?? instance.imageProblem ?? ""),
  ]);
  const header = ["DAEMON", "STATE", "SNAPSHOT", "DELIVERY", "READS FAIL IN", "IMAGE", "DETAIL"];
  const table = alignColumns([header, ...rows]).split("\n").map((line, i) => {
    const mount = sorted[i - 1];
    return mount === undefined
      ? line
      : colorWord(line, mount.instance.delivery, mount.level, style);
  }).join("\n");
  return table + toleranceText(daemons, nowMs);
}

function deliveryText({ delivery, provenReads }: DaemonStatus["instances"][number]): string {
  return delivery === "proven" && provenReads !== undefined
    ? `proven (${provenReads} reads)`
    : delivery;
}

function readsFailText(
  { readsFailAtMs }: Pick<DaemonStatus["instances"][number], "readsFailAtMs">,
  nowMs: number,
): string {
  return readsFailAtMs === undefined ? "-" : span(readsFailAtMs - nowMs);
}

/** Describes how long the node tolerates an outage of all providers. */
function toleranceText(daemons: readonly DaemonStatus[], nowMs: number): string {
  const [first] = daemons.flatMap(({ instances }) => instances)
    .filter(({ readsFailAtMs }) => readsFailAtMs !== undefined)
    .sort((a, b) => (a.readsFailAtMs ?? 0) - (b.readsFailAtMs ?? 0));
  if (first === undefined) return "";
  const isPast = (first.readsFailAtMs ?? 0) <= nowMs;
  const when = isPast ? "already fails" : `fails in ${readsFailText(first, nowMs)}`;
  return `if no provider answers from now on, the first read ${when}\n`;
}

function providerTables({ providers = [], plugins = [] }: AgentStatus, nowMs: number): string[] {
  const tables: string[] = [];
  const used = providers.filter(({ last }) => last !== undefined && last.reason !== "not-enabled");
  if (used.length > 0) {
    const rows = used.map(({ name, requests, failures, last, lastFailure }) => [
      name,
      String(requests),
      String(failures),
      last?.reason ?? "-",
      lastFailure === undefined
        ? ""
        : `${lastFailure.reason}: ${printable(lastFailure.detail)} (${
          span(lastFailure.atMs - nowMs)
        })`,
    ]);
    const header = ["PROVIDER", "REQUESTS", "FAILED", "LAST RESULT", "LAST FAILURE"];
    tables.push(alignColumns([header, ...rows]));
  }
  if (plugins.length > 0) {
    const rows = plugins.map((plugin) => [
      printable(plugin.name),
      String(plugin.executions),
      String(plugin.failures),
      formatDuration(plugin.lastDurationMs),
      span(plugin.lastAtMs - nowMs),
      printable(plugin.lastFailure?.detail ?? ""),
    ]);
    const header = ["PLUGIN", "EXECUTIONS", "FAILED", "DURATION", "LAST RUN", "LAST FAILURE"];
    tables.push(alignColumns([header, ...rows]));
  }
  return tables;
}

function span(ms: number): string {
  return ms < 0 ? `${formatDuration(-ms)} ago` : formatDuration(ms);
}
