import { type AgentStatus, formatDuration, messageOf } from "../model/mod.ts";
import { healthOf } from "../report/mod.ts";
import { type Context, EXIT, type Flags, loadConfig } from "./context.ts";
import { alignColumns, printable } from "./table.ts";

const TIMEOUT_MS = 5_000;

/**
 * `status`: asks the running agent how the node stands. Exit code 0 when all is well or merely
 * noteworthy, 1 when something is wrong or no agent answers.
 */
export async function status(
  context: Context,
  flags: Flags,
  options: { readonly output: string },
): Promise<number> {
  const config = await loadConfig(context, flags);
  if (config.server === undefined) {
    context.host.err(
      "ask the agent: its server is off (server.address); there is nowhere to ask\n",
    );
    return EXIT.failed;
  }
  const { hostname, port } = config.server;
  const host = hostname.includes(":")
    ? `[${hostname}]`
    : hostname === "0.0.0.0"
    ? "127.0.0.1"
    : hostname;
  const url = `http://${host}:${port}/v1/status`;
  let answer: AgentStatus;
  try {
    const response = await fetch(url, {
      redirect: "error",
      signal: AbortSignal.timeout(TIMEOUT_MS),
    });
    if (!response.ok) throw new Error(`it answered ${response.status}`);
    answer = await response.json();
  } catch (error) {
    context.host.err(`ask the agent at ${url}: ${printable(messageOf(error))}; is it running\n`);
    return EXIT.failed;
  }
  const nowMs = context.clock.wallMs();
  const { checkIntervalMs } = config.renewal;
  const health = healthOf(answer, nowMs, { checkIntervalMs });
  context.host.out(
    options.output === "json"
      ? JSON.stringify({ sentence: health.sentence, level: health.level, ...answer }, null, 2) +
        "\n"
      : `${health.sentence}\n\n${statusText(answer, nowMs)}`,
  );
  return health.level === "critical" ? EXIT.failed : EXIT.ok;
}

function statusText({ images, daemons, problems }: AgentStatus, nowMs: number): string {
  const imageRows = images.map((i) => [
    printable(i.endpoint === undefined ? i.image : `${i.image} (read from ${i.endpoint})`),
    i.provider ?? "none",
    i.window ?? "-",
    i.hardExpiresAtMs === undefined ? "-" : span(i.hardExpiresAtMs - nowMs),
    i.nextAttemptAtMs === undefined ? "when it changes" : span(i.nextAttemptAtMs - nowMs),
    i.lastFailure === undefined
      ? ""
      : `${i.lastFailure.reason}: ${printable(i.lastFailure.detail)}`,
  ]);
  const mountRows = daemons.flatMap((daemon) =>
    daemon.instances.map((instance) => [
      printable(daemon.id),
      daemon.state,
      printable(instance.snapshotId),
      instance.delivery,
      printable(`${instance.image ?? "-"}${instance.host ? ` (from ${instance.host})` : ""}`),
      printable(instance.deliveryDetail ?? ""),
    ])
  );
  const sections = [
    alignColumns([["IMAGE", "PROVIDER", "LIFE", "LEFT", "ASKED AGAIN", "TROUBLE"], ...imageRows]),
    alignColumns([["DAEMON", "STATE", "SNAPSHOT", "DELIVERY", "IMAGE", "DETAIL"], ...mountRows]),
  ];
  if (problems.length > 0) {
    const rows = problems.map((p) => [p.source, printable(p.subject), printable(p.detail)]);
    sections.push(alignColumns([["SOURCE", "SUBJECT", "PROBLEM"], ...rows]));
  }
  return sections.join("\n");
}

function span(ms: number): string {
  return ms < 0 ? `${formatDuration(-ms)} ago` : formatDuration(ms);
}
