import {
  type AgentEvent,
  type AgentStatus,
  defined,
  type Observer,
  type PluginStatus,
  PROVIDER_NAMES,
  type ProviderName,
  type ProviderOutcome,
  type ProviderStatus,
  type ReasonCode,
  setNewest,
} from "../model/mod.ts";
import { LOG_EVENTS, type LogEventName, type LogLevel, logLinesOf } from "./log_lines.ts";
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
  readonly outcome: ProviderOutcome["kind"];
  readonly reason: ReasonCode;
  readonly detail?: string;
  readonly atMs: number;
}

/** Numbers of renewals within a slot of {@linkcode SLOT_MS}. */
export interface RenewalSlot {
  /** Wall time (ms) of its start. */
  readonly atMs: number;
  readonly succeeded: number;
  readonly failed: number;
}

/** The recent history of an image, newest first, and the last result of each provider. */
export interface ImageRecord {
  readonly entries: readonly HistoryEntry[];
  readonly results: readonly ProviderResult[];
  /** The slots with renewals, oldest first. */
  readonly renewals: readonly RenewalSlot[];
}

export const SLOT_MS = 30 * 60_000;
/** The slots of a day; the oldest and the current one are incomplete. */
export const MAX_SLOTS = 49;

const MAX_IMAGES = 2_000;
const MAX_ENTRIES = 40;
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
  readonly renewals: RenewalSlot[];
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
      const { provider, outcome, reason, detail } = event;
      const safe = detail && safeText(detail, MAX_TEXT);
      record.results.set(provider, defined({ provider, outcome, reason, detail: safe, atMs }));
    }
    if (event.kind === "credential-renewed") addRenewal(record, "succeeded", atMs);
    if (event.kind === "renewal-failed") addRenewal(record, "failed", atMs);
    for (const { event: name, message, recovery } of logLinesOf(event)) {
      if (recovery?.event === name || EXCLUDED.includes(name)) continue;
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
      renewals: [...record.renewals],
    };
  }

  #record(image: string): StoredRecord {
    const record = this.#records.get(image) ?? { entries: [], results: new Map(), renewals: [] };
    setNewest(this.#records, image, record, MAX_IMAGES);
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

function addRenewal(
  { renewals }: StoredRecord,
  result: "succeeded" | "failed",
  nowMs: number,
): void {
  const atMs = Math.floor(nowMs / SLOT_MS) * SLOT_MS;
  const slot = renewals.at(-1)?.atMs === atMs ? renewals.pop() : undefined;
  const { succeeded = 0, failed = 0 } = slot ?? {};
  const counts = { succeeded, failed };
  renewals.push({ atMs, ...counts, [result]: counts[result] + 1 });
  if (renewals.length > MAX_SLOTS) renewals.shift();
}

/** Configuration files name the plugins, in any number. */
const MAX_PLUGINS = 200;

/** Counts requests to providers and executions of plugins and credential helpers. */
export class ProviderStats implements Observer {
  readonly #now: () => number;
  readonly #providers = new Map<ProviderName, ProviderStatus>(
    PROVIDER_NAMES.map((name) => [name, { name, requests: 0, failures: 0 }]),
  );
  readonly #plugins = new Map<string, PluginStatus>();

  /** @param now Returns the wall time in ms. */
  constructor(now: () => number) {
    this.#now = now;
  }

  notify(event: AgentEvent): void {
    if (event.kind === "provider-queried") this.#countRequest(event);
    if (event.kind === "plugin-executed") this.#countExecution(event);
  }

  /** Returns all providers in the order of the chain, and the executed plugins by name. */
  status(): Required<Pick<AgentStatus, "providers" | "plugins">> {
    const plugins = [...this.#plugins.values()].sort((a, b) => a.name < b.name ? -1 : 1);
    return { providers: [...this.#providers.values()], plugins };
  }

  #countRequest(event: Extract<AgentEvent, { kind: "provider-queried" }>): void {
    const { provider: name, outcome, reason, detail = "" } = event;
    const before = this.#providers.get(name);
    if (before === undefined) return;
    const atMs = this.#now();
    const failed = outcome === "failed";
    this.#providers.set(name, {
      ...before,
      requests: before.requests + 1,
      failures: before.failures + Number(failed),
      last: { outcome, reason, atMs },
      ...(failed && { lastFailure: { reason, detail: safeText(detail, MAX_TEXT), atMs } }),
    });
  }

  #countExecution(event: Extract<AgentEvent, { kind: "plugin-executed" }>): void {
    const { plugin: name, provider, result, durationMs, detail = "" } = event;
    const key = `${provider} ${name}`;
    if (!this.#plugins.has(key) && this.#plugins.size >= MAX_PLUGINS) return;
    const before = this.#plugins.get(key) ?? { executions: 0, failures: 0, longestDurationMs: 0 };
    const atMs = this.#now();
    const failed = result === "failure" || result === "timeout";
    this.#plugins.set(key, {
      ...before,
      name,
      provider,
      executions: before.executions + 1,
      failures: before.failures + Number(failed),
      lastAtMs: atMs,
      lastResult: result,
      lastDurationMs: durationMs,
      longestDurationMs: Math.max(before.longestDurationMs, durationMs),
      ...(failed && { lastFailure: { detail: `${result}: ${safeText(detail, MAX_TEXT)}`, atMs } }),
    });
  }
}
