import { html, raw } from "hono/html";
import type { HealthLevel, HealthView } from "../health.ts";
import { printable } from "../printable.ts";
import type { Markup } from "./parts.ts";
import { REFRESH, REFRESH_HASH } from "./refresh.ts";
import { PALETTES, STYLE, STYLE_HASH } from "./style.ts";

/** Nothing but our own style, our own script, and what that asks of us. */
export const PAGE_POLICY = `default-src 'none'; style-src '${STYLE_HASH}'; ` +
  `script-src '${REFRESH_HASH}'; connect-src 'self'; img-src 'self'; ` +
  "base-uri 'none'; form-action 'none'; frame-ancestors 'none'";

/** A whole page; `body` is its main part below the sentence. */
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
        <style>${raw(STYLE)}</style>
      </head>
      <body>
        <header>
          <h1>${printable(heading)}</h1>
          <label class="small" hidden><input type="checkbox" id="live" checked> refresh every
    10 s</label>
        </header>
        <p id="news" class="unseen" role="status"></p>
        <p id="stale" class="sentence critical" role="alert"
          hidden>The agent does not answer: what stands below is
    old. Credentials go on to work until they expire.</p>
        <main>
    ${summary}
    ${body}
        </main>
        <script>${raw(REFRESH)}</script>
      </body>
    </html>
  `;
}

/** The one sentence, as every page has it on top; what to do stands on a line of its own. */
export function sentenceBlock(
  { level, summary, remedy }: Pick<HealthView, "level" | "summary" | "remedy">,
): Markup {
  const name = html`<strong class="word ${level}">${level}</strong>`;
  const text = printable(summary);
  const end = remedy === undefined ? "" : printable(remedy);
  if (end === "" || !text.endsWith(`: ${end}`)) {
    return html`<p class="sentence ${level}">${name}: ${text}</p>`;
  }
  const what = text.slice(0, -end.length);
  return html`<p class="sentence ${level}">${name}: ${what}<span class="mend">${end}</span></p>`;
}

/** A dot in the colour of a level, for the browser's tab. */
export function icon(level: string): string {
  const { ok, warning, critical } = PALETTES.light;
  const colour = level === "critical" ? critical : level === "warning" ? warning : ok;
  return '<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 16 16">' +
    `<circle cx="8" cy="8" r="7" fill="${colour}"/></svg>\n`;
}
