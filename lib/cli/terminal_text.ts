import type { HealthLevel } from "../observability/mod.ts";

/** Replaces control characters, so that no name can send escape sequences to a terminal. */
export function printable(text: string): string {
  // deno-lint-ignore no-control-regex
  return text.replace(/[\u0000-\u001f\u007f-\u009f]/g, "\u{fffd}");
}

/** Style of a text for the screen. */
export interface TextStyle {
  readonly color: boolean;
}

const COLORS: Readonly<Record<HealthLevel, number>> = { ok: 32, warning: 33, critical: 31 };

/** Colors a text by a health level, if colors are enabled. */
export function colored(level: HealthLevel, text: string, { color }: TextStyle): string {
  return color ? `\x1b[${COLORS[level]}m${text}\x1b[0m` : text;
}

/** Lines that a wrapped text may take. */
const MAX_LINES = 8;
/** Aligns continuation lines with the text after the time. */
const INDENT = " ".repeat("00:00:00  ".length);

/** Wraps a text between words, at a width in columns. Color codes have no width. */
export function wrapped(text: string, columns: number): readonly string[] {
  const available = Math.max(10, columns - INDENT.length);
  const lines: string[] = [];
  let line = "";
  for (const word of text.split(" ").flatMap((word) => pieces(word, available))) {
    const longer = line === "" ? word : `${line} ${word}`;
    if (line.trim() === "" || widthOf(longer) <= columns) line = longer;
    else {
      lines.push(line);
      line = INDENT + word;
    }
  }
  lines.push(line);
  return lines.length <= MAX_LINES ? lines : [...lines.slice(0, MAX_LINES - 1), `${INDENT}…`];
}

/** Splits a word that is longer than a line, such as an image reference. */
function pieces(word: string, available: number): readonly string[] {
  if (widthOf(word) <= available) return [word];
  const chars = [...word];
  const count = Math.ceil(chars.length / available);
  return Array.from(
    { length: count },
    (_, i) => chars.slice(i * available, (i + 1) * available).join(""),
  );
}

function widthOf(text: string): number {
  // deno-lint-ignore no-control-regex
  return [...text.replace(/\x1b\[\d*m/g, "")].length;
}

/** Cuts a line at a width in columns. Color codes have no width and are kept. */
export function clipped(line: string, columns: number): string {
  let width = 0;
  let shown = "";
  // deno-lint-ignore no-control-regex
  for (const [part] of line.matchAll(/\x1b\[\d*m|[^]/gu)) {
    if (part.startsWith("\x1b")) shown += part;
    else if (++width <= columns) shown += part;
  }
  return shown;
}
