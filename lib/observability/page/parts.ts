import { html, raw } from "hono/html";
import { formatDuration, type ImageStatus } from "../../model/mod.ts";
import type { HealthLevel } from "../health.ts";
import { printable } from "../printable.ts";

/** Markup that `hono/html` has made, in which everything from outside is escaped. */
export type Markup = ReturnType<typeof html>;
/** What may stand in a cell: text is escaped, and made unable to steer a reader's eye. */
export type Cell = string | Markup;

/** A table that narrow screens show as a list of cards. */
export function table(
  caption: string,
  header: readonly string[],
  rows: readonly (readonly Cell[])[],
): Markup {
  if (rows.length === 0) return html`<p class="muted">None.</p>`;
  // A display other than "table" takes the meaning away from the elements: the roles keep it.
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

/** The first cell of a row names it: for those who hear the others. */
function tableCell(label: string, cell: Cell, isName: boolean): Markup {
  if (cell === "") return html`<td role="cell" data-label="${label}"></td>`;
  const content = typeof cell === "string" ? printable(cell) : cell;
  // One element inside, so that a card has two columns: the label and this.
  return isName
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

/** A word whose colour says again what it says itself. */
export function word(level: HealthLevel, text: string, meaning = ""): Markup {
  return meaning === ""
    ? html`<span class="word ${level}">${text}</span>`
    : html`<span class="word ${level}" title="${meaning}">${text}</span>`;
}

/** A moment, as seen from now. */
export function fromNow(ms: number): string {
  return ms < 0 ? `${formatDuration(-ms)} ago` : `in ${formatDuration(ms)}`;
}

/** A moment as a machine-readable element that says how far away it is. */
export function moment(atMs: number, nowMs: number): Markup {
  const date = new Date(atMs);
  if (Number.isNaN(date.getTime())) return html`${fromNow(atMs - nowMs)}`;
  const iso = date.toISOString();
  return html`<time datetime="${iso}" title="${iso}">${fromNow(atMs - nowMs)}</time>`;
}

/** What is left of a credential's life, in parts of it; undefined where that cannot be told. */
export function remainingLifetime(image: ImageStatus, nowMs: number): number | undefined {
  const { renewedAtMs, expiresAtMs } = image;
  if (expiresAtMs === undefined) return undefined;
  if (expiresAtMs <= nowMs) return 0;
  if (renewedAtMs === undefined || renewedAtMs >= expiresAtMs) return undefined;
  return Math.min(1, (expiresAtMs - nowMs) / (expiresAtMs - renewedAtMs));
}

/** Life left as a bar that runs out to the left, with a mark at which it is renewed. */
export function lifetimeBar(image: ImageStatus, nowMs: number): Cell {
  const { expiresAtMs, renewedAtMs, nextAttemptAtMs } = image;
  if (image.provider === undefined) return "";
  if (expiresAtMs === undefined) return html`<span class="muted">no end is known</span>`;
  const text = expiresAtMs <= nowMs
    ? html`<span class="word critical">ended ${moment(expiresAtMs, nowMs)}</span>`
    : html`${moment(expiresAtMs, nowMs)}`;
  const left = remainingLifetime(image, nowMs);
  if (left === undefined) return text;
  const percent = Math.round(left * 100);
  const level: HealthLevel = percent === 0 || image.window === "expired"
    ? "critical"
    : image.window === "mandatory"
    ? "warning"
    : "ok";
  const lifetimeMs = expiresAtMs - (renewedAtMs ?? expiresAtMs);
  const due = nextAttemptAtMs === undefined ? -1 : (expiresAtMs - nextAttemptAtMs) / lifetimeMs;
  const mark = due > 0 && due < 1
    ? html`<rect class="due" x="${(due * 100 - 1).toFixed(1)}" width="2" height="10"></rect>`
    : "";
  const renewed = mark === "" ? "" : `, it is renewed at ${Math.round(due * 100)} %`;
  const label = `${percent} % of its life is left${renewed}`;
  const bar = html`<rect class="left ${level}" y="2" width="${percent}" height="6"></rect>`;
  const track = html`<rect class="track ${
    percent === 0 ? "gone" : ""
  }" y="2" width="100" height="6"></rect>`;
  const box = raw('class="life" viewBox="0 0 100 10" preserveAspectRatio="none" role="img"');
  return html`<svg ${box} aria-label="${label}">${track}${bar}${mark}</svg>${text}`;
}

/** The address of an image's own page. */
export function imageHref(image: string): string {
  return `/images?ref=${encodeURIComponent(image)}`;
}
