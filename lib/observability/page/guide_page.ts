import { html, raw } from "hono/html";
import { layout, type Markup } from "./layout.ts";

interface Block {
  readonly kind: "h1" | "h2" | "p" | "li" | "pre";
  readonly text: string;
}

/**
 * Renders a page of the documentation from the Markdown that these pages use. A link to a page that
 * is not in `names` becomes text.
 */
export function guidePage(markdown: string, names: readonly string[]): Markup {
  const blocks = blocksOf(markdown);
  const heading = blocks.find(({ kind }) => kind === "h1")?.text ?? "";
  const body = blocks.map((block, i) => {
    const isItem = block.kind === "li";
    const start = isItem && blocks[i - 1]?.kind !== "li" ? raw('<ul class="plain">') : "";
    const end = isItem && blocks[i + 1]?.kind !== "li" ? raw("</ul>") : "";
    return html`${start}${blockMarkup(block, names)}${end}`;
  });
  return layout({ heading, title: heading, level: "ok", summary: "", body: html`${body}` });
}

/** Returns the id of a section, as GitHub derives it from the heading. */
export function sectionId(heading: string): string {
  return heading.toLowerCase().replace(/[^\w\s-]/g, "").replaceAll(" ", "-");
}

function blocksOf(markdown: string): readonly Block[] {
  const blocks: Block[] = [];
  // Fenced code may contain blank lines.
  for (const part of markdown.split(/^( *```\w*\n[^]*?\n *```)$/m)) {
    const [, code] = /^ *```\w*\n([^]*?)\n *```$/.exec(part) ?? [];
    if (code !== undefined) blocks.push({ kind: "pre", text: code });
    else blocks.push(...part.split(/\n{2,}|\n(?=- )/).map(blockOf));
  }
  return blocks.filter(({ text }) => text !== "");
}

function blockOf(lines: string): Block {
  const [, mark = "", rest = ""] = /^(#{1,2} |- )?([^]*)$/.exec(lines.trim()) ?? [];
  const kind = ({ "# ": "h1", "## ": "h2", "- ": "li" } as const)[mark] ?? "p";
  return { kind, text: rest.replace(/\s+/g, " ") };
}

function blockMarkup({ kind, text }: Block, names: readonly string[]): Markup | "" {
  switch (kind) {
    case "h1":
      return ""; // the heading of the page
    case "h2":
      return html`<h2 id="${sectionId(text)}">${inline(text, names)}</h2>`;
    case "p":
      return html`<p>${inline(text, names)}</p>`;
    case "li":
      return html`<li>${inline(text, names)}</li>`;
    case "pre":
      return html`<pre>${text}</pre>`;
    default:
      return kind satisfies never;
  }
}

/** Renders code, bold text and links. */
function inline(text: string, names: readonly string[]): (Markup | string)[] {
  return text.split(/(`[^`]+`|\*\*[^*]+\*\*|\[[^\]]+\]\([^)]+\))/).map((part) => {
    if (part.startsWith("`")) return html`<code>${part.slice(1, -1)}</code>`;
    if (part.startsWith("**")) return html`<strong>${inline(part.slice(2, -2), names)}</strong>`;
    const [, label, target = ""] = /^\[([^\]]+)\]\(([^)]+)\)$/.exec(part) ?? [];
    if (label === undefined) return part;
    const [page = ""] = target.split("#");
    const isServed = page === "" || names.includes(page);
    return isServed ? html`<a href="${target}">${inline(label, names)}</a>` : label;
  });
}
