import { html } from "hono/html";
import {
  type AgentStatus,
  formatDuration,
  PROVIDER_NAMES,
  type ProviderName,
  REASON_CODES,
} from "../../model/mod.ts";
import type { HealthLevel } from "../health.ts";
import type { HistoryEntry, ImagePast, ProviderAnswer } from "../image_history.ts";
import { printable } from "../printable.ts";
import {
  HEALTH_STATES,
  type ImageView,
  imageViews,
  mountLevel,
  type MountView,
} from "./image_view.ts";
import { layout, sentenceBlock } from "./layout.ts";
import { type Cell, lifetimeBar, type Markup, moment, table, word } from "./parts.ts";

const MAX_MOUNTS = 1_000;
const NO_PAST: ImagePast = { entries: [], answers: [] };

/** A page for one image; undefined when the agent knows nothing of it. */
export function imagePage(
  status: AgentStatus,
  ref: string,
  past: ImagePast | undefined,
): Markup | undefined {
  const { nowMs } = status;
  // One for each place that it is read from, the worst first.
  const views = imageViews(status, nowMs).filter(({ image }) => image.image === ref);
  const [view] = views;
  if (view === undefined && past === undefined) return undefined;
  const level = view?.level ?? "ok";
  return layout({
    heading: ref,
    title: `${ref}: ${view?.word ?? "not mounted"}`,
    level,
    summary: sentenceBlock({ level, ...imageSentence(view, ref) }),
    body: html`<p><a href="/">All images</a></p>
${views.map((each) => html`${facts(each, nowMs)}${mountTable(each.mounts, nowMs)}`)}
<h2>Why this credential</h2>
${explanation(view, past ?? NO_PAST, nowMs)}
<p class="small">To ask every source now, past what the agent remembers, run on the node:
<code>nydus-auth-agent explain ${shellWord(ref)}</code></p>
<h2>History</h2>
${historyTable(past ?? NO_PAST, ref, nowMs)}`,
  });
}

/** What a page says that knows nothing of the image. */
export function unknownImagePage(ref: string): Markup {
  const summary = ref === ""
    ? "no image is named: /images?ref=REF"
    : `${ref} is not mounted on this node, and was not lately`;
  return layout({
    title: "no such image",
    heading: ref === "" ? "No image" : ref,
    level: "ok",
    summary: sentenceBlock({ level: "ok", summary }),
    body: html`<p><a href="/">All images</a></p>
${
      ref === "" ? "" : html`<p>What it would be given, and why, say on the node:
<code>nydus-auth-agent explain ${shellWord(ref)}</code></p>`
    }`,
  });
}

/** A text as one word of a shell's command line. */
function shellWord(text: string): string {
  const shown = printable(text);
  return /^[\w./:@%+=,-]+$/.test(shown) ? shown : `'${shown.replaceAll("'", `'\\''`)}'`;
}

function imageSentence(
  view: ImageView | undefined,
  ref: string,
): { readonly summary: string; readonly remedy?: string } {
  if (view === undefined) {
    return { summary: `${ref} backs no mount any more; what follows is its past` };
  }
  const [first] = view.findings;
  if (first !== undefined) {
    return { summary: `${first.text}: ${first.remedy}`, remedy: first.remedy };
  }
  return { summary: `${view.word}: ${HEALTH_STATES[view.word]}` };
}

function facts({ image, word: name, level }: ImageView, nowMs: number): Markup {
  const { provider, origin, plugin, pattern, fingerprint, renewals, failures } = image;
  const at = (ms: number | undefined) => ms === undefined ? "" : moment(ms, nowMs);
  const rows: readonly (readonly [string, Cell])[] = [
    ["Read from", image.endpoint ?? ""],
    ["Health", html`${word(level, name)}, ${HEALTH_STATES[name]}`],
    ["Provider", provider ?? "none"],
    ["Plugin", plugin ?? ""],
    ["Winning pattern", pattern ?? ""],
    ["From", origin ?? ""],
    ["Credential ends", lifetimeBar(image, nowMs)],
    ["Source wants to be asked", at(image.refreshAtMs)],
    ["Renewed", at(image.renewedAtMs)],
    ["Renewed next", at(image.nextAttemptAtMs)],
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
    mount.deliveredAtMs === undefined ? "" : moment(mount.deliveredAtMs, nowMs),
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
  const reads = readsFailingSinceMs === undefined
    ? []
    : [`reads fail for ${formatDuration(Math.max(0, nowMs - readsFailingSinceMs))}`];
  return [...reads, deliveryDetail ?? stateDetail ?? ""].filter((part) => part !== "").join("; ");
}

/** What each provider said when it was asked last, and why the others were not. */
function explanation(view: ImageView | undefined, { answers }: ImagePast, nowMs: number): Markup {
  const rows = PROVIDER_NAMES.flatMap((name): Cell[][] => {
    const answer = answers.find(({ provider }) => provider === name);
    if (answer === undefined) return [[name, "not asked", "", notQueried(name, view), ""]];
    return answerRows(answer, view, nowMs);
  });
  return table("Answers of the providers", ["Provider", "Answer", "Reason", "Why", "When"], rows);
}

function notQueried(name: ProviderName, view: ImageView | undefined): string {
  if (name === "labels" || name === "cri") {
    return "it knows a credential only while an image is pulled";
  }
  const winner = view?.image.provider;
  return winner === undefined ? "" : `${winner} comes before it and has a credential`;
}

function answerRows(answer: ProviderAnswer, view: ImageView | undefined, nowMs: number): Cell[][] {
  const { provider, outcome, reason, detail, notes, atMs } = answer;
  return [
    [
      provider,
      outcomeCell(outcome, view?.image.provider === provider),
      reason,
      detail ?? REASON_CODES[reason],
      moment(atMs, nowMs),
    ],
    ...notes.map((note): Cell[] => [
      `${provider}: ${note.subject}`,
      "",
      note.reason,
      note.detail ?? REASON_CODES[note.reason],
      "",
    ]),
  ];
}

function outcomeCell(outcome: ProviderAnswer["outcome"], wins: boolean): Cell {
  switch (outcome) {
    case "found":
      return word("ok", wins ? "found, and wins" : "found");
    case "none":
      return wins ? "none now; what it gave before is used" : "none";
    case "failed":
      return wins
        ? html`${word("warning", "failed")}; what it gave before is used`
        : word("warning", "failed");
    default:
      return outcome satisfies never;
  }
}

function historyTable({ entries }: ImagePast, ref: string, nowMs: number): Markup {
  const rows = entries.map(({ atMs, firstAtMs, count, event, level, text }): Cell[] => [
    moment(atMs, nowMs),
    level === "warning" || level === "error" ? word(LEVELS[level], event) : event,
    ofItself(text, ref),
    count === 1 ? "" : `${count} times in ${formatDuration(atMs - firstAtMs)}`,
  ]);
  return table("History", ["When", "Event", "What", "How often"], rows);
}

const LEVELS = { warning: "warning", error: "critical" } as const satisfies Partial<
  Record<HistoryEntry["level"], HealthLevel>
>;

/** A line of the log on the page of the image that it names, which needs not be named again. */
function ofItself(text: string, ref: string): string {
  const name = printable(ref);
  const bare = text.startsWith(`${name}: `) ? text.slice(name.length + 2) : text;
  return bare.replaceAll(` (${name})`, "").replaceAll(name, "it");
}
