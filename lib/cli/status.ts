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
  imageLabel,
  imageViews,
  mountLevel,
  type NodeStatus,
  withTextTimes,
} from "../observability/mod.ts";
import type { Context } from "../platform/mod.ts";
import { queryAgent } from "./agent_client.ts";
import { type CommandCall, levelText, type OutputFormat, printJson } from "./options.ts";

/** Options of `status`. */
export interface StatusOptions {
  readonly output: OutputFormat;
  /** Print only the summary. */
  readonly brief?: boolean;
  /** Wait until the agent is ready. */
  readonly wait?: boolean;
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
  { context, flags, options }: CommandCall<StatusOptions>,
): Promise<number> {
  const { output, brief, wait, timeout } = options;
  const { host, clock } = context;
  const timeoutMs = parseDurationMs(timeout);
  const config = await loadConfigForStatus(context, flags);
  // An explicit address selects the agent; the API socket may belong to another one.
  const query = () => queryAgent(config, { atAddress: flags["address"] !== undefined });
  const status = wait ? await untilReady(context, query, timeoutMs, timeout) : await query();
  const { summary, level } = status.health;
  if (output === "json") {
    printJson(context, brief ? { summary, level } : withTextTimes(status));
  } else {
    const rest = brief ? "" : `\n${statusText(status, clock.wallMs())}`;
    host.out(`${levelText(context, level)}: ${printable(summary)}\n${rest}`);
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
  query: () => Promise<NodeStatus>,
  timeoutMs: number,
  timeout: string,
): Promise<NodeStatus> {
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

/** Returns the complete status as tables, problems first. */
export function statusText(status: AgentStatus, nowMs: number): string {
  const problems = status.problems.map(({ source, subject, detail }) =>
    [source, subject, detail].map(printable)
  );
  return [
    imageTable(status, nowMs),
    mountTable(status, nowMs) + toleranceText(status, nowMs),
    ...providerTables(status, nowMs),
    ...table(["SOURCE", "SUBJECT", "PROBLEM"], problems),
  ].join("\n");
}

/** Returns a table, or nothing without rows. */
function table(header: readonly string[], rows: readonly (readonly string[])[]): string[] {
  return rows.length === 0 ? [] : [alignColumns([header, ...rows])];
}

function imageTable(status: AgentStatus, nowMs: number): string {
  const rows = imageViews(status, nowMs).map(({ image, word, mounts }) => [
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
  return alignColumns([header, ...rows]);
}

function nextText({ provider, nextAttemptAtMs }: ImageStatus, nowMs: number): string {
  if (nextAttemptAtMs !== undefined) return span(nextAttemptAtMs - nowMs);
  return provider === undefined || provider === "adopted" ? "-" : "when it changes";
}

/** Lists mounts with problems first: the end may not fit on the screen. */
function mountTable({ daemons }: AgentStatus, nowMs: number): string {
  const mounts = daemons.flatMap((daemon) =>
    daemon.instances.map((instance) => ({ daemon, instance, isOk: mountLevel(instance) === "ok" }))
  );
  const sorted = mounts.toSorted((a, b) => Number(a.isOk) - Number(b.isOk));
  const rows = sorted.map(({ daemon, instance }) => [
    printable(daemon.id),
    daemon.state,
    printable(instance.snapshotId),
    deliveryText(instance),
    instance.readsFailAtMs === undefined ? "-" : span(instance.readsFailAtMs - nowMs),
    printable(`${instance.image ?? "-"}${instance.host ? ` (from ${instance.host})` : ""}`),
    printable(instance.deliveryDetail ?? instance.imageProblem ?? ""),
  ]);
  const header = ["DAEMON", "STATE", "SNAPSHOT", "DELIVERY", "READS FAIL IN", "IMAGE", "DETAIL"];
  return alignColumns([header, ...rows]);
}

function deliveryText({ delivery, provenReads }: DaemonStatus["instances"][number]): string {
  return delivery === "proven" && provenReads !== undefined
    ? `proven (${provenReads} reads)`
    : delivery;
}

/** Describes how long the node tolerates an outage of all providers. */
function toleranceText({ daemons }: AgentStatus, nowMs: number): string {
  const ends = daemons.flatMap(({ instances }) =>
    instances.flatMap(({ readsFailAtMs }) => readsFailAtMs ?? [])
  );
  if (ends.length === 0) return "";
  const inMs = Math.min(...ends) - nowMs;
  const when = inMs <= 0 ? "already fails" : `fails in ${span(inMs)}`;
  return `if no provider answers from now on, the first read ${when}\n`;
}

function providerTables({ providers = [], plugins = [] }: AgentStatus, nowMs: number): string[] {
  const used = providers.filter(({ last }) => last !== undefined && last.reason !== "not-enabled");
  const providerRows = used.map(({ name, requests, failures, last, lastFailure }) => [
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
  const pluginRows = plugins.map((plugin) => [
    printable(plugin.name),
    String(plugin.executions),
    String(plugin.failures),
    formatDuration(plugin.lastDurationMs),
    span(plugin.lastAtMs - nowMs),
    printable(plugin.lastFailure?.detail ?? ""),
  ]);
  return [
    ...table(["PROVIDER", "REQUESTS", "FAILED", "LAST RESULT", "LAST FAILURE"], providerRows),
    ...table(
      ["PLUGIN", "EXECUTIONS", "FAILED", "DURATION", "LAST RUN", "LAST FAILURE"],
      pluginRows,
    ),
  ];
}

function span(ms: number): string {
  return ms < 0 ? `${formatDuration(-ms)} ago` : formatDuration(ms);
}
