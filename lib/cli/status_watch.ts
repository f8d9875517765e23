import { messageOf } from "../model/mod.ts";
import type { Context } from "../platform/mod.ts";
import { EXIT } from "../model/mod.ts";
import { type AgentReply, answerOf, wholeText } from "./agent_client.ts";
import { printable } from "./table.ts";

const EVERY_MS = 2_000;
/** Another screen without a cursor, and back: what was there before is there again. */
const ENTER = "\x1b[?1049h\x1b[?25l";
const LEAVE = "\x1b[?25h\x1b[?1049l";
const HOME = "\x1b[H\x1b[J";

/**
 * Shows the answer again and again until a signal ends it, or nobody reads any more: in a terminal
 * as a table that stays in its place; in a pipe as a line whenever the sentence is another one but
 * for its numbers; as JSON one line each time.
 */
export async function watchStatus(
  context: Context,
  ask: () => Promise<AgentReply>,
  output: string,
): Promise<number> {
  const { host, clock } = context;
  const stop = new AbortController();
  const listening = host.onSignal(["SIGTERM", "SIGINT"], () => stop.abort());
  const live = output !== "json" && host.stdoutIsTerminal;
  const show = live ? onScreen(context) : output === "json" ? asLines(context) : asWords(context);
  if (live) host.out(ENTER);
  try {
    while (!stop.signal.aborted) {
      const isRead = show(await ask().catch((error) => printable(messageOf(error))));
      if (!isRead) break;
      await clock.sleep(EVERY_MS, { signal: stop.signal });
    }
  } catch (error) {
    if (!stop.signal.aborted) throw error;
  } finally {
    if (live) host.out(LEAVE);
    listening[Symbol.dispose]();
  }
  return EXIT.ok;
}

/** Takes an answer, or why there is none; false when nobody reads any more. */
type Show = (told: AgentReply | string) => boolean;

function onScreen(context: Context): Show {
  const { host, clock } = context;
  let lastAtMs: number | undefined;
  return (told) => {
    const time = new Date(clock.wallMs()).toISOString().slice(11, 19);
    if (typeof told === "string") {
      const old = lastAtMs === undefined ? "" : `; it did until ${isoTime(lastAtMs)}`;
      return host.out(`${HOME}${time}  ${told}${old}\n`);
    }
    lastAtMs = clock.wallMs();
    const { columns, rows } = host.terminalSize();
    const [summary = "", ...rest] = wholeText(context, told).trimEnd().split("\n");
    const lines = [...wrapped(`${time}  ${summary}`, columns), ...rest];
    const room = Math.max(1, rows - 1);
    const cut = lines.length > room ? lines.slice(0, room - 1) : lines;
    const more = lines.length > room ? [`… ${lines.length - cut.length} more lines`] : [];
    return host.out(HOME + [...cut, ...more].map((line) => clipped(line, columns)).join("\n"));
  };
}

/** Lines that the one sentence may take, so that what to do is not cut off. */
const SENTENCE_LINES = 8;
const INDENT = " ".repeat("00:00:00  ".length);

/** A sentence on as many lines as it needs, between words; what paints takes no room. */
export function wrapped(text: string, columns: number): readonly string[] {
  const room = Math.max(10, columns - INDENT.length);
  const lines: string[] = [];
  let line = "";
  for (const word of text.split(" ").flatMap((word) => pieces(word, room))) {
    const longer = line === "" ? word : `${line} ${word}`;
    if (line.trim() === "" || widthOf(longer) <= columns) line = longer;
    else {
      lines.push(line);
      line = INDENT + word;
    }
  }
  lines.push(line);
  return lines.length <= SENTENCE_LINES
    ? lines
    : [...lines.slice(0, SENTENCE_LINES - 1), `${INDENT}…`];
}

/** A word that no line has room for, such as a long reference, in pieces that fit. */
function pieces(word: string, room: number): readonly string[] {
  if (widthOf(word) <= room) return [word];
  const chars = [...word];
  const count = Math.ceil(chars.length / room);
  return Array.from({ length: count }, (_, i) => chars.slice(i * room, (i + 1) * room).join(""));
}

function widthOf(text: string): number {
  // deno-lint-ignore no-control-regex
  return [...text.replace(/\x1b\[\d*m/g, "")].length;
}

/** As many characters as fit; what paints takes no room, and is never cut in the middle. */
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

function asWords({ host, clock }: Context): Show {
  let before = "";
  return (told) => {
    const text = typeof told === "string"
      ? `no answer: ${told}`
      : `${told.health.level}: ${printable(told.health.summary)}`;
    const shape = text.replace(/\d+(?:\.\d+)?(?:ms|[dhms])?/g, "0").replace(/(?:0)+/g, "0");
    const isNews = shape !== before;
    before = shape;
    // An empty write would not notice that nobody reads.
    return !isNews || host.out(`${new Date(clock.wallMs()).toISOString()} ${text}\n`);
  };
}

function asLines({ host }: Context): Show {
  return (told) => {
    const answer = typeof told === "string" ? { error: told } : answerOf(told);
    return host.out(`${JSON.stringify(answer)}\n`);
  };
}

function isoTime(ms: number): string {
  return new Date(ms).toISOString().slice(11, 19);
}
