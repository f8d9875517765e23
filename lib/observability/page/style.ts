import { createHash } from "node:crypto";

/** The colours of the page by what they are for, in light and in dark. */
export const PALETTES = {
  light: {
    ground: "#ffffff",
    raised: "#f4f6f8",
    text: "#1b1f24",
    muted: "#57606a",
    line: "#d0d7de",
    track: "#dde3e9",
    ok: "#1a7f37",
    warning: "#8a5a00",
    critical: "#b3261e",
    link: "#0b57d0",
  },
  dark: {
    ground: "#14171a",
    raised: "#1d2126",
    text: "#e6e9ec",
    muted: "#9aa4ae",
    line: "#3a4148",
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

/** The page's only style sheet. */
export const STYLE = `
:root { color-scheme: light dark; ${variables(PALETTES.light)} }
@media (prefers-color-scheme: dark) { :root { ${variables(PALETTES.dark)} } }
* { box-sizing: border-box; }
body { margin: 0 auto; max-width: 90rem; padding: 1rem; background: var(--ground);
  color: var(--text); font: 1rem/1.45 system-ui, sans-serif; overflow-wrap: anywhere; }
h1 { font-size: 1.3rem; margin: 0; }
h2 { font-size: 1.05rem; margin: 1.6rem 0 .5rem; }
p { margin: .5rem 0; }
header label { white-space: nowrap; }
nav ul { display: flex; flex-wrap: wrap; gap: .25rem 1.2rem; margin: .6rem 0; padding: 0;
  list-style: none; }
summary { cursor: pointer; width: fit-content; }
.unseen { position: absolute; width: 1px; height: 1px; margin: 0; overflow: hidden;
  clip-path: inset(50%); }
a { color: var(--link); }
a:focus-visible, input:focus-visible, summary:focus-visible {
  outline: .15rem solid var(--link); outline-offset: .15rem; }
code { font-family: ui-monospace, monospace; font-size: .9em; }
header { display: flex; flex-wrap: wrap; gap: .25rem 1.5rem; align-items: baseline;
  justify-content: space-between; }
.muted, .small { color: var(--muted); }
.small { font-size: .85rem; }
.sentence { margin: .8rem 0; padding: .7rem .9rem; border-left: .4rem solid var(--line);
  background: var(--raised); font-size: 1.1rem; }
.sentence.ok { border-color: var(--ok); }
.sentence.warning { border-color: var(--warning); }
.sentence.critical { border-color: var(--critical); }
.mend { display: block; }
li .mend { color: var(--muted); }
ul.plain li { margin: .4rem 0; }
.word { font-weight: 600; white-space: nowrap; }
.word.ok { color: var(--ok); }
.word.warning { color: var(--warning); }
.word.critical { color: var(--critical); }
.tiles { display: grid; grid-template-columns: repeat(auto-fit, minmax(9.5rem, 1fr)); gap: .6rem;
  margin: .8rem 0; padding: 0; list-style: none; }
.tiles li { background: var(--raised); padding: .5rem .8rem; }
.tiles b { display: block; font-size: 1.25rem; }
table { border-collapse: collapse; width: 100%; }
th, td { text-align: left; vertical-align: top; padding: .35rem .9rem .35rem 0;
  border-bottom: 1px solid var(--line); }
thead th { color: var(--muted); font-size: .85rem; font-weight: 600; white-space: nowrap; }
#images + table thead th:first-child { width: 28%; min-width: 12rem; }
tbody th .small, tbody td .small { display: block; }
td time { white-space: nowrap; }
tbody th { font-weight: inherit; }
svg.life { display: block; width: 8rem; max-width: 100%; height: .9rem; margin: .2rem 0; }
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
  tr { padding: .5rem 0; border-bottom: 1px solid var(--line); }
  td { border: 0; padding: .1rem 0; display: grid; grid-template-columns: 7.5rem minmax(0, 1fr);
    gap: .6rem; }
  td:empty { display: none; }
  td::before { content: attr(data-label); color: var(--muted); font-size: .85rem; }
  tbody th { border: 0; padding: .1rem 0; font-weight: 600; }
  td .word, td time { white-space: normal; }
  dl { grid-template-columns: minmax(0, 1fr); gap: 0; }
  dd { margin-bottom: .4rem; }
}
@media print { #live, label { display: none; } }
`;

/** The only style that the page's Content-Security-Policy lets pass. */
export const STYLE_HASH = hashOf(STYLE);

/** A source expression of a Content-Security-Policy for an inline text. */
export function hashOf(text: string): string {
  return `sha256-${createHash("sha256").update(text).digest("base64")}`;
}
