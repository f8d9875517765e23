import { createHash } from "node:crypto";
import { html, raw } from "hono/html";
import type { HealthLevel, HealthView } from "../health.ts";
import { printable } from "../../model/mod.ts";
import type { Markup } from "./components.ts";

/** The colors of the pages by purpose, in light and in dark mode. */
export const PALETTES = {
  light: {
    background: "#ffffff",
    surface: "#f4f6f8",
    text: "#1b1f24",
    muted: "#57606a",
    border: "#d0d7de",
    track: "#dde3e9",
    ok: "#1a7f37",
    warning: "#8a5a00",
    critical: "#b3261e",
    link: "#0b57d0",
  },
  dark: {
    background: "#14171a",
    surface: "#1d2126",
    text: "#e6e9ec",
    muted: "#9aa4ae",
    border: "#3a4148",
    track: "#333a41",
    ok: "#5bd07f",
    warning: "#f0b849",
    critical: "#ff8a80",
    link: "#8ab4f8",
  },
} as const;

function variables(palette: Readonly<Record<string, string>>): string {
  return Object.entries(palette).map(([name, value]) => `--${name}:${value};`).join("");
}

/** The only style sheet of the pages. */
const STYLE = `
:root { color-scheme: light dark; ${variables(PALETTES.light)} }
@media (prefers-color-scheme: dark) { :root { ${variables(PALETTES.dark)} } }
* { box-sizing: border-box; }
body { margin: 0 auto; max-width: 90rem; padding: 1rem; background: var(--background);
  color: var(--text); font: 1rem/1.45 system-ui, sans-serif; overflow-wrap: anywhere; }
h1 { font-size: 1.3rem; margin: 0; }
h2 { font-size: 1.05rem; margin: 1.6rem 0 .5rem; }
p { margin: .5rem 0; }
header label { white-space: nowrap; }
nav ul { display: flex; flex-wrap: wrap; gap: .25rem 1.2rem; margin: .6rem 0; padding: 0;
  list-style: none; }
summary { cursor: pointer; width: fit-content; }
.visually-hidden { position: absolute; width: 1px; height: 1px; margin: 0; overflow: hidden;
  clip-path: inset(50%); }
a { color: var(--link); }
:is(a, input, select, button, summary):focus-visible {
  outline: .15rem solid var(--link); outline-offset: .15rem; }
code { font-family: ui-monospace, monospace; font-size: .9em; }
header { display: flex; flex-wrap: wrap; gap: .25rem 1.5rem; align-items: baseline;
  justify-content: space-between; }
.muted, .small { color: var(--muted); }
.small { font-size: .85rem; }
.summary { margin: .8rem 0; padding: .7rem .9rem; border-left: .4rem solid var(--border);
  background: var(--surface); font-size: 1.1rem; }
.summary:has(+ .since) { margin-bottom: 0; }
.since { margin: 0 0 .8rem; padding: 0 .9rem .7rem; border-left: .4rem solid; background: var(--surface); }
.summary.ok { border-color: var(--ok); }
.summary.warning, .since.warning { border-color: var(--warning); }
.summary.critical, .since.critical { border-color: var(--critical); }
.remedy { display: block; }
li .remedy { color: var(--muted); }
ul.plain li { margin: .4rem 0; }
.word { font-weight: 600; white-space: nowrap; }
.word.ok { color: var(--ok); }
.word.warning { color: var(--warning); }
.word.critical { color: var(--critical); }
.tiles { display: grid; grid-template-columns: repeat(auto-fit, minmax(9.5rem, 1fr)); gap: .6rem;
  margin: .8rem 0; padding: 0; list-style: none; }
.tiles li { background: var(--surface); padding: .5rem .8rem; }
.tiles b { display: block; font-size: 1.25rem; }
table { border-collapse: collapse; width: 100%; }
th, td { text-align: left; vertical-align: top; padding: .35rem .9rem .35rem 0;
  border-bottom: 1px solid var(--border); }
thead th { color: var(--muted); font-size: .85rem; font-weight: 600; white-space: nowrap; }
table[aria-label=Images] thead th:first-child { width: 50%; }
table[aria-label=Images] td { overflow-wrap: break-word; }
td time, table[aria-label=Images] td:nth-child(4) { white-space: nowrap; }
form { display: flex; flex-wrap: wrap; gap: .4rem 1rem; align-items: end; margin: .5rem 0; }
form label { display: grid; color: var(--muted); font-size: .85rem; }
input, select, button { font: inherit; color: var(--text); background: var(--surface);
  border: 1px solid var(--muted); padding: .2rem .5rem; max-width: 100%; }
tbody th { font-weight: inherit; }
svg.lifetime { width: 5rem; height: .7rem; margin-right: .5rem; }
.track { fill: var(--track); }
.track.gone { fill: var(--critical); }
.left.ok { fill: var(--ok); }
.left.warning { fill: var(--warning); }
.left.critical { fill: var(--critical); }
.due { fill: var(--text); }
dl { display: grid; grid-template-columns: max-content minmax(0, 1fr); gap: .25rem 1.2rem;
  margin: .5rem 0; }
dt { color: var(--muted); }
dd { margin: 0; min-width: 0; }
ul.plain { margin: .5rem 0; padding-left: 1.2rem; }
[hidden] { display: none; }
@media (max-width: 50rem) {
  thead { position: absolute; width: 1px; height: 1px; overflow: hidden; clip-path: inset(50%); }
  table, tbody, tr, td, tbody th { display: block; }
  tr { padding: .5rem 0; border-bottom: 1px solid var(--border); }
  td { border: 0; padding: .1rem 0; display: grid; grid-template-columns: 7.5rem minmax(0, 1fr);
    gap: .6rem; }
  td:empty { display: none; }
  td::before { content: attr(data-label); color: var(--muted); font-size: .85rem; }
  tbody th { border: 0; padding: .1rem 0; font-weight: 600; }
  td .word, td time, table[aria-label=Images] td:nth-child(4) { white-space: normal; }
  dl { grid-template-columns: minmax(0, 1fr); gap: 0; }
  dd { margin-bottom: .4rem; }
}
@media print { #live, label { display: none; } }
`;

/**
 * The only script of the pages. It replaces the main part every ten seconds while the page is
 * visible, and shows when the agent does not respond. It keeps the focus and open details, pauses
 * while text is selected or the filter has the focus, and announces the summary to screen readers only if more than its numbers
 * has changed.
 */
const REFRESH = `
(() => {
  const live = document.getElementById("live");
  const stale = document.getElementById("stale");
  const announcement = document.getElementById("announcement");
  live.parentElement.hidden = false;
  const summaryOf = (root) => root.querySelector(".summary").textContent;
  const signature = (root) => summaryOf(root).replace(/[0-9.]+(?:ms|[dhms]|(?![a-z]))/g, "0");
  const keyOf = (element) =>
    element?.getAttribute("href") ??
    (element?.tagName === "SUMMARY" ? element.parentElement.id : null);
  const refresh = async () => {
    if (!live.checked || document.hidden || String(getSelection()) !== "") return;
    if (document.activeElement?.form) return;
    try {
      const signal = AbortSignal.timeout(8000);
      const response = await fetch(location.href, { signal, headers: { accept: "text/html" } });
      const next = new DOMParser().parseFromString(await response.text(), "text/html");
      const main = next.querySelector("main");
      if (main === null) throw new Error("no page");
      const old = document.querySelector("main");
      const focused = keyOf(document.activeElement);
      const open = [...old.querySelectorAll("details[open]")].map(({ id }) => id);
      const isChanged = signature(old) !== signature(main);
      for (const details of main.querySelectorAll("details")) {
        details.open = open.includes(details.id);
      }
      old.replaceWith(main);
      if (isChanged) announcement.textContent = summaryOf(main);
      document.title = next.title;
      const icon = next.querySelector("link[rel=icon]").getAttribute("href");
      const current = document.querySelector("link[rel=icon]");
      if (current.getAttribute("href") !== icon) current.setAttribute("href", icon);
      if (focused) {
        const all = [...main.querySelectorAll("a, summary")];
        all.find((element) => keyOf(element) === focused)?.focus({ preventScroll: true });
      }
      stale.hidden = true;
    } catch {
      stale.hidden = false;
    }
  };
  setInterval(refresh, 10000);
  document.addEventListener("visibilitychange", refresh);
})();
`;

/** The Content-Security-Policy: only this style and script, and requests to the same origin. */
export const PAGE_POLICY = `default-src 'none'; style-src '${hashOf(STYLE)}'; ` +
  `script-src '${hashOf(REFRESH)}'; connect-src 'self'; img-src 'self'; ` +
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
        <style>${raw(STYLE)}</style>
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
        <script>${raw(REFRESH)}</script>
      </body>
    </html>
  `;
}

/** Renders the status summary: what, the remedy on a line of its own, and since when. */
export function summaryBlock(
  { level, summary, remedy }: Pick<HealthView, "level" | "summary" | "remedy">,
  since?: Markup,
): Markup {
  const name = html`<strong class="word ${level}">${level}</strong>`;
  const text = printable(summary);
  const end = remedy === undefined ? "" : printable(remedy);
  if (end === "" || !text.endsWith(`: ${end}`)) {
    return html`<p class="summary ${level}">${name}: ${text}</p>`;
  }
  const problem = text.slice(0, -end.length);
  const time = since === undefined ? "" : html`
    since ${since};
  `;
  return html`
    <p class="summary ${level}">${name}: ${problem}<span class="remedy">${end}</span></p>
    <p
      class="since small ${level}">${time}<a href="/docs/troubleshooting.md">troubleshooting guide</a></p>
  `;
}

/** Returns the icon of a page, a dot in the color of a level, as SVG. */
export function icon(level: string): string {
  const { ok, warning, critical } = PALETTES.light;
  const color = level === "critical" ? critical : level === "warning" ? warning : ok;
  return '<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 16 16">' +
    `<circle cx="8" cy="8" r="7" fill="${color}"/></svg>\n`;
}

/** Returns the hash of an inline text as a source expression of a Content-Security-Policy. */
function hashOf(text: string): string {
  return `sha256-${createHash("sha256").update(text).digest("base64")}`;
}
