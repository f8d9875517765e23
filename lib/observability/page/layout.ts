import { createHash } from "node:crypto";
import { html, raw } from "hono/html";
import { formatDuration, type ImageStatus, printable } from "../../model/mod.ts";
import type { HealthLevel, HealthView } from "../health.ts";
import type { FindingCode } from "../problems.ts";
import refresh from "./refresh.js" with { type: "text" };
import style from "./style.css" with { type: "text" };

/** Markup from `hono/html`, which escapes every interpolated text. */
export type Markup = ReturnType<typeof html>;
/** The content of a table cell. Text is escaped and made printable. */
export type Cell = string | Markup;

/** The Content-Security-Policy: only this style and script, and requests to the same origin. */
export const PAGE_POLICY = `default-src 'none'; style-src '${hashOf(style)}'; ` +
  `script-src '${hashOf(refresh)}'; connect-src 'self'; img-src data:; ` +
  "base-uri 'none'; form-action 'self'; frame-ancestors 'none'";

/** Renders a page. `body` is the main part below the summary. */
export function layout(
  { title, heading, level, summary, body }: {
    readonly title: string;
    readonly heading: string;
    readonly level: HealthLevel;
    readonly summary: Markup | "";
    readonly body: Markup;
  },
): Markup {
  return html`
    <!doctype html>
    <html lang="en">
      <head>
        <meta charset="utf-8">
        <meta name="viewport" content="width=device-width, initial-scale=1">
        <title>${printable(title)}</title>
        <link rel="icon" href="${icon(level)}">
        <style>${raw(style)}</style>
      </head>
      <body>
        <header>
          <h1>${printable(heading)}</h1>
          <label class="small" hidden><input type="checkbox" id="live" checked> refresh every
    10 s</label>
        </header>
        <p id="announcement" class="visually-hidden" role="status"></p>
        <p id="stale" class="summary critical" role="alert"
          hidden>The agent is not responding. The information below is outdated.
    Credentials stay valid until they expire.</p>
        <main>
    ${summary}
    ${body}
        </main>
        <script>${raw(refresh)}</script>
      </body>
    </html>
  `;
}

/** Renders the status summary: what, the remedy on a line of its own, and what is known beyond. */
export function summaryBlock(
  { level, summary, remedy }: Pick<HealthView, "level" | "summary" | "remedy">,
  about?: Markup,
): Markup {
  const name = html`<strong class="word ${level}">${level}</strong>`;
  const text = printable(summary);
  const end = remedy === undefined ? "" : printable(remedy);
  if (end === "" || !text.endsWith(`: ${end}`)) {
    return html`<p class="summary ${level}">${name}: ${text}</p>`;
  }
  const problem = text.slice(0, -end.length);
  return html`
    <p class="summary ${level}">${name}: ${problem}<span class="remedy">${end}</span></p>
    <p class="since small ${level}">${about}</p>
  `;
}

/** Returns the icon of a page, a dot in the color of a level. */
function icon(level: HealthLevel): string {
  const [, color = ""] = new RegExp(`--${level}: (#[0-9a-f]+);`).exec(style) ?? [];
  const svg = '<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 16 16">' +
    `<circle cx="8" cy="8" r="7" fill="${color}"/></svg>`;
  return `data:image/svg+xml,${encodeURIComponent(svg)}`;
}

/** Returns the hash of an inline text as a source expression of a Content-Security-Policy. */
function hashOf(text: string): string {
  return `sha256-${createHash("sha256").update(text).digest("base64")}`;
}

/** Renders a table, which narrow screens show as a list of cards. */
export function table(
  caption: string,
  header: readonly string[],
  rows: readonly (readonly Cell[])[],
): Markup {
  if (rows.length === 0) return html`<p class="muted">None.</p>`;
  // The roles keep the semantics when the style changes the display of the elements.
  const head = header.map((name) => html`<th scope="col" role="columnheader">${name}</th>`);
  const body = rows.map((row) =>
    html`
      <tr role="row">${row.map((cell, i) => tableCell(header[i] ?? "", cell, i === 0))}</tr>
    `
  );
  return html`
    <table role="table" aria-label="${caption}">
      <thead role="rowgroup">
        <tr role="row">${head}</tr>
      </thead>
      <tbody role="rowgroup">
    ${body}</tbody>
    </table>
  `;
}

/** The first cell is the header of the row, for screen readers. */
function tableCell(label: string, cell: Cell, isHeader: boolean): Markup {
  if (cell === "") return html`<td role="cell" data-label="${label}"></td>`;
  const content = typeof cell === "string" ? printable(cell) : cell;
  // One element inside, so that a card has two columns: the label and this.
  return isHeader
    ? html`
      <th scope="row" role="rowheader" data-label="${label}">
        <div>${content}</div>
      </th>
    `
    : html`
      <td role="cell" data-label="${label}">
        <div>${content}</div>
      </td>
    `;
}

/** Renders a word in the color of a level. */
export function word(level: HealthLevel, text: string, meaning = ""): Markup {
  return html`<span class="word ${level}" title="${meaning}">${text}</span>`;
}

/** Renders a time, if it is known, relative to now; its machine-readable value is absolute. */
export function moment(atMs: number | undefined, nowMs: number): Cell {
  if (atMs === undefined) return "";
  const ms = atMs - nowMs;
  const text = ms < 0 ? `${formatDuration(-ms)} ago` : `in ${formatDuration(ms)}`;
  const date = new Date(atMs);
  if (Number.isNaN(date.getTime())) return html`${text}`;
  const iso = date.toISOString();
  return html`<time datetime="${iso}" title="${iso}">${text}</time>`;
}

/** Renders the remaining lifetime of a credential as a bar with a mark at its next renewal. */
export function lifetimeBar(image: ImageStatus, nowMs: number): Cell {
  const { provider, expiresAtMs, renewedAtMs, nextAttemptAtMs, window } = image;
  if (provider === undefined) return "";
  if (expiresAtMs === undefined) return html`<span class="muted">unknown</span>`;
  const isExpired = expiresAtMs <= nowMs;
  const text = isExpired
    ? html`<span class="word critical">expired ${moment(expiresAtMs, nowMs)}</span>`
    : moment(expiresAtMs, nowMs);
  const lifetimeMs = expiresAtMs - (renewedAtMs ?? expiresAtMs);
  if (!isExpired && lifetimeMs <= 0) return text;
  const percent = isExpired ? 0 : Math.round(Math.min(1, (expiresAtMs - nowMs) / lifetimeMs) * 100);
  const level: HealthLevel = percent === 0 || window === "expired"
    ? "critical"
    : window === "mandatory"
    ? "warning"
    : "ok";
  const due = nextAttemptAtMs === undefined ? -1 : (expiresAtMs - nextAttemptAtMs) / lifetimeMs;
  const hasMark = due > 0 && due < 1;
  const mark = hasMark
    ? html`<rect class="due" x="${(due * 100 - 1).toFixed(1)}" width="2" height="10"></rect>`
    : "";
  const renewal = hasMark ? `, renewal at ${Math.round(due * 100)} %` : "";
  const label = `${percent} % of the lifetime is left${renewal}`;
  const bar = html`<rect class="left ${level}" y="2" width="${percent}" height="6"></rect>`;
  const track = html`<rect class="track ${
    percent === 0 ? "gone" : ""
  }" y="2" width="100" height="6"></rect>`;
  const box = raw('class="lifetime" viewBox="0 0 100 10" preserveAspectRatio="none" role="img"');
  return html`<svg ${box} aria-label="${label}">${track}${bar}${mark}</svg>${text}`;
}

/** Returns the path of the page of an image. */
export function imageHref(image: string): string {
  return `/images?ref=${encodeURIComponent(image)}`;
}

/** Sections of the guides about findings. */
const SECTIONS: Partial<Record<FindingCode, string>> = {
  "loop-stuck": "runbooks.md#nydusauthagentreconcilestuck",
  "reads-failing": "troubleshooting.md#401-in-nydusds-log",
  "credential-expired": "runbooks.md#nyduscredentialexpired",
  "delivery-failed": "runbooks.md#nyduscredentialdeliveryfailing",
  "renewal-failed": "runbooks.md#nyduscredentialabouttoexpire",
  "credential-missing": "troubleshooting.md#nydusd-logs-invalid-auth-config-or-authreq-is-empty",
  "credential-outdated": "troubleshooting.md#mounts-fail-after-n-hours",
  "credential-not-renewed": "troubleshooting.md#mounts-fail-after-n-hours",
  "daemon-failing": "troubleshooting.md#a-mount-is-unreachable",
  "watch-interrupted": "runbooks.md#nyduskuberneteswatchstale",
  "discovery-failed": "troubleshooting.md#the-snapshotter-is-unavailable",
};

/** Renders a link to the part of the guides that a finding is about. */
export function guideLink(code?: FindingCode): Markup {
  const section = code && SECTIONS[code];
  return html`<a href="/docs/${section ?? "troubleshooting.md"}">troubleshooting</a>`;
}
