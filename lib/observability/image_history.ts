import {
  type AgentEvent,
  defined,
  type Observer,
  type ProviderName,
  type ProviderNote,
  type ReasonCode,
} from "../model/mod.ts";
import { LOG_EVENTS, type LogEventName, type LogLevel } from "./log_events.ts";
import { logLinesOf } from "./log_lines.ts";
import { safeText } from "./redact.ts";

/** An event of an image, which may have occurred several times. */
export interface HistoryEntry {
  /** Wall time (ms) of the first and of the last occurrence. */
  readonly firstAtMs: number;
  readonly atMs: number;
  readonly count: number;
  readonly event: LogEventName;
  readonly level: LogLevel;
  readonly text: string;
}

/** The last result of a provider for an image. */
export interface ProviderResult {
  readonly provider: ProviderName;
  readonly outcome: "found" | "none" | "failed";
  readonly reason: ReasonCode;
  readonly detail?: string;
  readonly notes: readonly ProviderNote[];
  readonly atMs: number;
}

/** The recent history of an image, newest first, and the last result of each provider. */
export interface ImageRecord {
  readonly entries: readonly HistoryEntry[];
  readonly results: readonly ProviderResult[];
}

const MAX_IMAGES = 2_000;
const MAX_ENTRIES = 40;
const MAX_NOTES = 50;
const MAX_TEXT = 500;
/** Problems can alternate: an equal entry is searched among this many of the last ones. */
const REPEAT_SPAN = 4;
/** Events without a change, which would fill the history. */
const EXCLUDED: readonly LogEventName[] = [
  "provider-found",
  "provider-none",
  "plugin-executed",
  "delivery-unchanged",
];

interface StoredRecord {
  readonly entries: (HistoryEntry & { readonly signature: string })[];
  readonly results: Map<ProviderName, ProviderResult>;
}

/** Records the recent events of each image, bounded in images and entries. */
export class ImageHistory implements Observer {
  readonly #now: () => number;
  /** Ordered by last event, so that the first one is evicted. */
  readonly #records = new Map<string, StoredRecord>();

  /** @param now Returns the wall time in ms. */
  constructor(now: () => number) {
    this.#now = now;
  }

  notify(event: AgentEvent): void {
    if (!("image" in event)) return;
    const record = this.#record(event.image);
    const atMs = this.#now();
    if (event.kind === "provider-queried") {
      const { provider, outcome, reason, detail, notes = [] } = event;
      record.results.set(provider, {
        provider,
        outcome,
        reason,
        ...defined({ detail: safeDetail(detail) }),
        notes: notes.slice(0, MAX_NOTES).map(safeNote),
        atMs,
      });
    }
    for (const { event: name, message, isRecoveryOnly } of logLinesOf(event)) {
      if (isRecoveryOnly || EXCLUDED.includes(name)) continue;
      addEntry(record, name, safeText(message, MAX_TEXT), atMs);
    }
  }

  /** Returns the history of an image, or undefined if there is none. */
  of(image: string): ImageRecord | undefined {
    const record = this.#records.get(image);
    if (record === undefined) return undefined;
    return {
      entries: record.entries.toReversed().map(({ signature: _, ...entry }) => entry),
      results: [...record.results.values()],
    };
  }

  #record(image: string): StoredRecord {
    const record = this.#records.get(image) ?? { entries: [], results: new Map() };
    this.#records.delete(image);
    this.#records.set(image, record);
    if (this.#records.size > MAX_IMAGES) {
      const [oldest = ""] = this.#records.keys();
      this.#records.delete(oldest);
    }
    return record;
  }
}

function addEntry(
  { entries }: StoredRecord,
  event: LogEventName,
  text: string,
  atMs: number,
): void {
  const signature = `${event} ${text.replace(/\d+/g, "0")}`;
  const from = Math.max(0, entries.length - REPEAT_SPAN);
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
  const safe = { subject: safeText(subject, MAX_TEXT), reason };
  return { ...safe, ...defined({ detail: safeDetail(detail) }) };
}

function safeDetail(detail: string | undefined): string | undefined {
  return detail === undefined ? undefined : safeText(detail, MAX_TEXT);
}
