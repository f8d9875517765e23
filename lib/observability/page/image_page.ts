import { html } from "hono/html";
import { type AgentStatus, formatDuration, printable, REASON_CODES } from "../../model/mod.ts";
import type { ImageRecord, ProviderResult, RenewalSlot } from "../history.ts";
import {
  HEALTH_STATES,
  type ImageView,
  imageViews,
  mountLevel,
  type MountView,
} from "../image_view.ts";
import {
  type Cell,
  guideLink,
  layout,
  lifetimeBar,
  type Markup,
  moment,
  summaryBlock,
  table,
  word,
} from "./layout.ts";

const MAX_MOUNTS = 1_000;
const NO_RECORD: ImageRecord = { entries: [], results: [], renewals: [] };

/** Renders the page of an image, which may be unknown. */
export function imagePage(
  status: AgentStatus,
  ref: string,
  known: ImageRecord | undefined,
): { readonly page: Markup; readonly isKnown: boolean } {
  const { nowMs } = status;
  const record = known ?? NO_RECORD;
  // One for each endpoint, the worst first.
  const views = imageViews(status, nowMs).filter(({ image }) => image.image === ref);
  const [view] = views;
  const level = view?.level ?? "ok";
  const page = layout({
    heading: ref,
    title: `${ref}: ${view === undefined ? "not mounted" : HEALTH_STATES[view.word].label}`,
    level,
    summary: summaryBlock(
      { level, ...imageSummary(view, ref, known) },
      guideLink(view?.problems[0]?.code),
    ),
    body: html`<p><a href="/">All images</a></p>
${views.map((each) => html`${facts(each, nowMs)}${mountTable(each.mounts, nowMs)}`)}
<h2>Provider results</h2>
${resultTable(view, record, nowMs)}
<p class="small">To query all providers now, without cached results, run on the node:
<code>nydus-auth-agent explain ${shellQuote(ref)}</code></p>
<h2>Renewals of the last day</h2>
${timeline(record.renewals, nowMs)}
<h2>History</h2>
${historyTable(record, ref, nowMs)}`,
  });
  return { page, isKnown: view !== undefined || known !== undefined };
}

/** Quotes a text as one word of a shell command. */
function shellQuote(text: string): string {
  const safe = printable(text);
  return /^[\w./:@%+=,-]+$/.test(safe) ? safe : `'${safe.replaceAll("'", `'\\''`)}'`;
}

function imageSummary(
  view: ImageView | undefined,
  ref: string,
  known: ImageRecord | undefined,
): { readonly summary: string; readonly remedy?: string } {
  if (view === undefined) {
    const summary = known === undefined
      ? "this image is not mounted on this node and was not mounted recently"
      : `${ref} is no longer mounted; its history is below`;
    return { summary };
  }
  const [first] = view.problems;
  if (first !== undefined) {
    return { summary: `${first.text}: ${first.remedy}`, remedy: first.remedy };
  }
  return { summary: `${HEALTH_STATES[view.word].label}: ${HEALTH_STATES[view.word].meaning}` };
}

function facts({ image, word: state, level }: ImageView, nowMs: number): Markup {
  const { provider, origin, plugin, pattern, fingerprint, renewals, failures } = image;
  const rows: readonly (readonly [string, Cell])[] = [
    ["Endpoint", image.endpoint ?? ""],
    ["Health", html`${word(level, HEALTH_STATES[state].label)}, ${HEALTH_STATES[state].meaning}`],
    ["Provider", provider ?? "none"],
    ["Plugin", plugin ?? ""],
    ["Matched pattern", pattern ?? ""],
    ["Origin", origin ?? ""],
    ["Credential expires", lifetimeBar(image, nowMs)],
    ["Refresh requested", moment(image.refreshAtMs, nowMs)],
    ["Last renewal", moment(image.renewedAtMs, nowMs)],
    ["Next renewal", moment(image.nextAttemptAtMs, nowMs)],
    ["Renewals", `${renewals.success} succeeded, ${renewals.failure} failed`],
    ["Failures since the last success", failures === 0 ? "" : String(failures)],
    ["Fingerprint", fingerprint ?? ""],
  ];
  const shown = rows.filter(([, value]) => value !== "");
  return html`<dl>${
    shown.map(([name, value]) =>
      html`
        <dt>${name}</dt>
        <dd>${typeof value === "string" ? printable(value) : value}</dd>
      `
    )
  }</dl>`;
}

function mountTable(mounts: readonly MountView[], nowMs: number): Markup {
  const columns = ["Snapshot", "nydusd", "Delivery", "Delivered", "Detail"];
  const rows = mounts.slice(0, MAX_MOUNTS).map(({ daemon, mount }): Cell[] => [
    mount.snapshotId,
    `${daemon.id} (${[daemon.state, daemon.mode, daemon.version].filter(Boolean).join(", ")})`,
    word(mountLevel(mount), mount.delivery),
    moment(mount.deliveredAtMs, nowMs),
    mountDetail(daemon, mount, nowMs),
  ]);
  return html`<h2>Mounts</h2>
${table("Mounts", columns, rows)}`;
}

function mountDetail(
  { stateDetail }: MountView["daemon"],
  { readsFailingSinceMs, deliveryDetail }: MountView["mount"],
  nowMs: number,
): string {
  const detail = deliveryDetail ?? stateDetail ?? "";
  if (readsFailingSinceMs === undefined) return detail;
  const reads = `reads have failed for ${formatDuration(Math.max(0, nowMs - readsFailingSinceMs))}`;
  return detail === "" ? reads : `${reads}; ${detail}`;
}

function resultTable(view: ImageView | undefined, { results }: ImageRecord, nowMs: number): Markup {
  const rows = results.map(({ provider, outcome, reason, detail, atMs }): Cell[] => [
    provider,
    outcomeCell(outcome, view?.image.provider === provider),
    reason,
    detail ?? REASON_CODES[reason],
    moment(atMs, nowMs),
  ]);
  return table("Provider results", ["Provider", "Result", "Reason", "Detail", "Time"], rows);
}

function outcomeCell(outcome: ProviderResult["outcome"], isInUse: boolean): Cell {
  const level = outcome === "failed" ? "warning" : "ok";
  const inUse = outcome === "found" ? ", in use" : "; its previous credential is in use";
  return html`${outcome === "none" ? "none" : word(level, outcome)}${isInUse ? inUse : ""}`;
}

const DAY_MS = 24 * 3_600_000;
/** The greatest height of a bar. */
const BAR = 18;

/** Renders the renewals of the last day as bars, failed ones downwards, and as a table. */
function timeline(renewals: readonly RenewalSlot[], nowMs: number): Markup {
  const slots = renewals.filter(({ atMs }) => nowMs - atMs < DAY_MS && atMs <= nowMs);
  if (slots.length === 0) return html`<p class="muted">None.</p>`;
  const total = (key: "succeeded" | "failed") => slots.reduce((sum, slot) => sum + slot[key], 0);
  const most = Math.max(...slots.flatMap(({ succeeded, failed }) => [succeeded, failed]));
  const bars = slots.flatMap(({ atMs, succeeded, failed }) => {
    const x = Math.max(0, 100 - (nowMs - atMs) / DAY_MS * 100).toFixed(2);
    const [up, down] = [succeeded, failed].map((count) => count / most * BAR);
    return [
      html`<rect class="left ok" x="${x}" y="${20 - (up ?? 0)}" width="1.6" height="${up}"></rect>`,
      html`<rect class="left critical" x="${x}" y="21" width="1.6" height="${down}"></rect>`,
    ];
  });
  const title = `${total("succeeded")} renewals succeeded and ${total("failed")} failed`;
  const rows = slots.toReversed().map(({ atMs, succeeded, failed }) => [
    moment(atMs, nowMs),
    String(succeeded),
    String(failed),
  ]);
  return html`
    <svg class="timeline" viewBox="0 0 102 40" preserveAspectRatio="none" role="img"
      aria-labelledby="timeline-title timeline-text">
      <title id="timeline-title">${title}</title>
      <desc id="timeline-text">In half hours of the last day; the table below has the numbers.</desc>
      <rect class="track" y="20" width="102" height="1"></rect>${bars}
    </svg>
    <p
      class="small">${title}. Left: a day ago; right: now; upwards: succeeded; downwards: failed.</p>
    <details id="renewals">
      <summary class="small">As a table</summary>
      ${table("Renewals of the last day", ["From", "Succeeded", "Failed"], rows)}
    </details>
  `;
}

function historyTable({ entries }: ImageRecord, ref: string, nowMs: number): Markup {
  const rows = entries.map(({ atMs, firstAtMs, count, event, level, text }): Cell[] => [
    moment(atMs, nowMs),
    level === "warning" || level === "error"
      ? word(level === "error" ? "critical" : level, event)
      : event,
    withoutName(text, ref),
    count === 1 ? "" : `${count} times in ${formatDuration(atMs - firstAtMs)}`,
  ]);
  return table("History", ["Time", "Event", "Message", "Count"], rows);
}

/** Shortens a log message on the page of the image that it names. */
function withoutName(text: string, ref: string): string {
  const name = printable(ref);
  return text.replaceAll(` (${name})`, "").replaceAll(name, "this image");
}
