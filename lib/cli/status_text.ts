import {
  type AgentStatus,
  type DaemonStatus,
  formatDuration,
  type ImageStatus,
} from "../model/mod.ts";
import {
  type HealthLevel,
  type HealthView,
  imageLabel,
  imageViews,
  mountLevel,
} from "../observability/mod.ts";
import { alignColumns, printable } from "./table.ts";

/** How a text is put on a screen. */
export interface ScreenStyle {
  readonly colour: boolean;
}

const CODES: Readonly<Record<HealthLevel, number>> = { ok: 32, warning: 33, critical: 31 };
/** Marks where a colour begins and ends; text from outside cannot hold them (`printable`). */
const ESCAPE = "\x1b[";

/** A word in the colour of its level, where colours are wanted. */
export function coloured(level: HealthLevel, text: string, { colour }: ScreenStyle): string {
  return colour ? `${ESCAPE}${CODES[level]}m${text}${ESCAPE}0m` : text;
}

/** The one sentence, with its level before it. */
export function sentenceText(
  { level, summary }: Pick<HealthView, "level" | "summary">,
  style: ScreenStyle,
): string {
  return `${coloured(level, level, style)}: ${printable(summary)}`;
}

/** The whole state as tables, what is in trouble first. */
export function statusText(status: AgentStatus, nowMs: number, style: ScreenStyle): string {
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

function imageTable(status: AgentStatus, nowMs: number, style: ScreenStyle): string {
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
  const header = ["IMAGE", "HEALTH", "PROVIDER", "LEFT", "ASKED AGAIN", "MOUNTS", "LAST FAILURE"];
  const lines = alignColumns([header, ...rows]).split("\n");
  // Painted after the columns are aligned: what paints has no width.
  return lines.map((line, i) => {
    const view = views[i - 1];
    return view === undefined ? line : paint(line, view.word, view.level, style);
  }).join("\n");
}

function paint(line: string, word: string, level: HealthLevel, style: ScreenStyle): string {
  const at = line.indexOf(` ${word} `);
  if (at < 0) return line;
  return line.slice(0, at + 1) + coloured(level, word, style) + line.slice(at + 1 + word.length);
}

function nextText({ provider, nextAttemptAtMs }: ImageStatus, nowMs: number): string {
  if (provider === undefined || provider === "adopted") {
    return nextAttemptAtMs === undefined ? "-" : span(nextAttemptAtMs - nowMs);
  }
  return nextAttemptAtMs === undefined ? "when it changes" : span(nextAttemptAtMs - nowMs);
}

/** Mounts in trouble first: a screen may not have room for more. */
function mountTable({ daemons, nowMs }: AgentStatus, style: ScreenStyle): string {
  const mounts = daemons.flatMap((daemon) =>
    daemon.instances.map((instance) => ({ daemon, instance, level: mountLevel(instance) }))
  );
  const sorted = mounts.toSorted((a, b) => Number(a.level === "ok") - Number(b.level === "ok"));
  const rows = sorted.map(({ daemon, instance }) => [
    printable(daemon.id),
    daemon.state,
    printable(instance.snapshotId),
    deliveryText(instance),
    endText(instance, nowMs),
    printable(`${instance.image ?? "-"}${instance.host ? ` (from ${instance.host})` : ""}`),
    printable(instance.deliveryDetail ?? instance.imageProblem ?? ""),
  ]);
  const header = ["DAEMON", "STATE", "SNAPSHOT", "DELIVERY", "READS END", "IMAGE", "DETAIL"];
  const table = alignColumns([header, ...rows]).split("\n").map((line, i) => {
    const mount = sorted[i - 1];
    return mount === undefined ? line : paint(line, mount.instance.delivery, mount.level, style);
  }).join("\n");
  return table + toleranceText(daemons, nowMs);
}

function deliveryText({ delivery, provenReads }: DaemonStatus["instances"][number]): string {
  return delivery === "proven" && provenReads !== undefined
    ? `proven (${provenReads} reads)`
    : delivery;
}

/** Reads end when every source is silent from now on: for each mount, and for the node. */
type ReadsEnd = Pick<DaemonStatus["instances"][number], "readsFailAtMs">;

function endText({ readsFailAtMs }: ReadsEnd, nowMs: number): string {
  return readsFailAtMs === undefined ? "-" : span(readsFailAtMs - nowMs);
}

function toleranceText(daemons: readonly DaemonStatus[], nowMs: number): string {
  const ends = daemons.flatMap(({ instances }) => instances)
    .filter(({ readsFailAtMs }) => readsFailAtMs !== undefined)
    .sort((a, b) => (a.readsFailAtMs ?? 0) - (b.readsFailAtMs ?? 0));
  const [first] = ends;
  if (first === undefined) return "";
  return `if every source is silent from now on, the first read fails: ${endText(first, nowMs)}\n`;
}

function providerTables({ providers = [], plugins = [] }: AgentStatus, nowMs: number): string[] {
  const tables: string[] = [];
  const asked = providers.filter(({ last }) => last !== undefined && last.reason !== "not-enabled");
  if (asked.length > 0) {
    const rows = asked.map(({ name, requests, failures, last, lastFailure }) => [
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
    const header = ["PROVIDER", "ASKED", "FAILED", "LAST ANSWER", "LAST FAILURE"];
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
    const header = ["PLUGIN", "EXECUTED", "FAILED", "TOOK", "LAST RUN", "LAST FAILURE"];
    tables.push(alignColumns([header, ...rows]));
  }
  return tables;
}

function span(ms: number): string {
  return ms < 0 ? `${formatDuration(-ms)} ago` : formatDuration(ms);
}
