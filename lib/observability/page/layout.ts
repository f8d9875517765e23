import { createHash } from "node:crypto";
import { html, raw } from "hono/html";
import type { HealthLevel, HealthView } from "../health.ts";
import { printable } from "../../model/mod.ts";
import type { Markup } from "./components.ts";
import refresh from "./refresh.js" with { type: "text" };
import style from "./style.css" with { type: "text" };

/** The Content-Security-Policy: only this style and script, and requests to the same origin. */
export const PAGE_POLICY = `default-src 'none'; style-src '${hashOf(style)}'; ` +
  `script-src '${hashOf(refresh)}'; connect-src 'self'; img-src 'self'; ` +
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
        <link rel="icon" href="/icon.svg?level=${level}">
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

/** Returns the icon of a page, a dot in the color of a level, as SVG. */
export function icon(level: string): string {
  const name = level === "critical" || level === "warning" ? level : "ok";
  const [, color = ""] = new RegExp(`--${name}: (#[0-9a-f]+);`).exec(style) ?? [];
  return '<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 16 16">' +
    `<circle cx="8" cy="8" r="7" fill="${color}"/></svg>\n`;
}

/** Returns the hash of an inline text as a source expression of a Content-Security-Policy. */
function hashOf(text: string): string {
  return `sha256-${createHash("sha256").update(text).digest("base64")}`;
}
