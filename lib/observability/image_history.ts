import type { AgentEvent, Observer, ProviderName, ProviderNote, ReasonCode } from "../model/mod.ts";
import { LOG_EVENTS, type LogEventName, type LogThreshold } from "./log_events.ts";
import { linesOf } from "./log_lines.ts";
import { printable } from "./printable.ts";
import { redactText } from "./redact.ts";

/** Something that happened to an image, perhaps several times. */
export interface HistoryEntry {
  /** Wall time (ms) of the first and of the last time. */
  readonly firstAtMs: number;
  readonly atMs: number;
  readonly count: number;
  readonly event: LogEventName;
  readonly level: LogThreshold;
  readonly text: string;
}

/** What a provider said of an image when it was asked last. */
export interface ProviderAnswer {
  readonly provider: ProviderName;
  readonly outcome: "found" | "none" | "failed";
  readonly reason: ReasonCode;
  readonly detail?: string;
  readonly notes: readonly ProviderNote[];
  readonly atMs: number;
}

/** An image's past, the newest first, and the last answers, in the order of the chain. */
export interface ImagePast {
  readonly entries: readonly HistoryEntry[];
  readonly answers: readonly ProviderAnswer[];
}

const MAX_IMAGES = 2_000;
const MAX_ENTRIES = 40;
const MAX_NOTES = 50;
const MAX_TEXT = 500;
/** Two lines of one trouble take turns: the same one is looked for this far back. */
const HISTORY_SPAN = 4;
/** Answers that change nothing are no history; that a source was asked in vain is. */
const LEFT_OUT: readonly LogEventName[] = [
  "provider-found",
  "provider-none",
  "plugin-executed",
  "delivery-unchanged",
];

interface Past {
  readonly entries: (HistoryEntry & { readonly signature: string })[];
  readonly answers: Map<ProviderName, ProviderAnswer>;
}

/**
 * Remembers of each image what happened to it lately: a ring of bounded length for a bounded number
 * of images, so that the page can tell what the log has said. What repeats is counted.
 */
export class ImageHistory implements Observer {
  readonly #now: () => number;
  /** In the order of their last event: the first is forgotten first. */
  readonly #pasts = new Map<string, Past>();

  /** `now` tells the wall time in ms. */
  constructor(now: () => number) {
    this.#now = now;
  }

  notify(event: AgentEvent): void {
    if (!("image" in event)) return;
    const past = this.#past(event.image);
    const atMs = this.#now();
    if (event.kind === "provider-queried") {
      const { provider, outcome, reason, detail, notes = [] } = event;
      past.answers.set(provider, {
        provider,
        outcome,
        reason,
        ...(detail !== undefined && { detail: safe(detail) }),
        notes: notes.slice(0, MAX_NOTES).map(safeNote),
        atMs,
      });
    }
    for (const { event: name, message, unavailable } of linesOf(event)) {
      if (unavailable || LEFT_OUT.includes(name)) continue;
      add(past, name, safe(message), atMs);
    }
  }

  /** Undefined when nothing is known of the image. */
  of(image: string): ImagePast | undefined {
    const past = this.#pasts.get(image);
    if (past === undefined) return undefined;
    return {
      entries: past.entries.toReversed().map(({ signature: _, ...entry }) => entry),
      answers: [...past.answers.values()],
    };
  }

  #past(image: string): Past {
    const known = this.#pasts.get(image) ?? { entries: [], answers: new Map() };
    this.#pasts.delete(image);
    this.#pasts.set(image, known);
    if (this.#pasts.size > MAX_IMAGES) {
      const oldest = this.#pasts.keys().next();
      if (!oldest.done) this.#pasts.delete(oldest.value);
    }
    return known;
  }
}

function add({ entries }: Past, event: LogEventName, text: string, atMs: number): void {
  const signature = `${event} ${text.replace(/\d+/g, "0")}`;
  const from = Math.max(0, entries.length - HISTORY_SPAN);
  const same = entries.findIndex((entry, i) => i >= from && entry.signature === signature);
  const [before] = same < 0 ? [] : entries.splice(same, 1);
  entries.push({
    firstAtMs: before?.firstAtMs ?? atMs,
    atMs,
    count: (before?.count ?? 0) + 1,
    event,
    level: LOG_EVENTS[event].level,
    text,
    signature,
  });
  if (entries.length > MAX_ENTRIES) entries.shift();
}

function safeNote({ subject, reason, detail }: ProviderNote): ProviderNote {
  return { subject: safe(subject), reason, ...(detail !== undefined && { detail: safe(detail) }) };
}

function safe(text: string): string {
  const shown = printable(redactText(text));
  return shown.length > MAX_TEXT ? `${shown.slice(0, MAX_TEXT)}…` : shown;
}
