import {
  compareLogLevel,
  getJsonLinesFormatter,
  getTextFormatter,
  type LogRecord,
  type TextFormatter,
} from "@logtape/logtape";
import type { AgentEvent, Observer } from "../model/mod.ts";
import { LOG_EVENTS, type LogEventName, type LogThreshold } from "./log_events.ts";
import type { LogLine } from "./log_line.ts";
import { linesOf, providerSubject } from "./log_lines.ts";
import { printable } from "./printable.ts";
import { redact } from "./redact.ts";
import { Repetition } from "./repetition.ts";

/** What {@linkcode createLog} is given. */
export interface LogOptions {
  /** Takes one line without its line end. */
  readonly write: (line: string) => void;
  readonly level: LogThreshold;
  readonly format: "text" | "json";
  /** Wall time in ms. */
  readonly now: () => number;
  /** Whether a line starts with its priority, `<4>`, as the journal reads it (`sd-daemon(3)`). */
  readonly priorities?: boolean;
}

/** The log: hears of everything, writes what passes its level. */
export interface Log extends Observer {
  /** What is less important than this is not written from now on. */
  setLevel(level: LogThreshold): void;
  /** The least severe level that is written. */
  level(): LogThreshold;
}

const CATEGORY: readonly string[] = ["nydus-auth-agent"];
const PRIORITY: Readonly<Record<LogThreshold, number>> = {
  debug: 7,
  info: 6,
  warning: 4,
  error: 3,
};

/**
 * A log of its own. LogTape's records and formatters are used, and not its loggers: those share one
 * configuration in the whole process, so that two logs (two tests) would disturb each other.
 */
export function createLog(options: LogOptions): Log {
  const { write, level, format, now, priorities = false } = options;
  const repetition = new Repetition();
  const formatRecord = format === "json" ? jsonFormatter() : textFormatter();
  let threshold = level;
  let written = writtenFrom(level);

  /** A look-up tells of every provider: no words are made of what nobody would read. */
  function isUnheard(event: AgentEvent): boolean {
    if (event.kind !== "provider-queried" || event.outcome === "failed") return false;
    if (written[event.outcome === "found" ? "provider-found" : "provider-none"]) return false;
    return !repetition.lastsAny || !repetition.lasts(providerSubject(event));
  }

  function emit(event: LogEventName, message: string, fields: Readonly<Record<string, unknown>>) {
    if (!written[event]) return;
    const { level } = LOG_EVENTS[event];
    const { message: safe, ...properties } = clean({ message, event, ...fields });
    const text = String(safe);
    const record: LogRecord = {
      category: CATEGORY,
      level,
      message: [text],
      rawMessage: text,
      timestamp: now(),
      properties,
    };
    const line = formatRecord(record).trimEnd();
    write(priorities ? `<${PRIORITY[level]}>${line}` : line);
  }

  function tell(line: LogLine): void {
    const { event, message, fields, problem, recovery, ends = [], unavailable } = line;
    for (const subject of ends) repetition.forget(subject);
    if (problem !== undefined) {
      // What is not written is not counted either: a lower level later begins with a first time.
      if (!written[event]) return;
      const count = repetition.met(problem.subject, problem.signature, problem.continues);
      if (count === undefined) return;
      if (count === 1) return emit(event, message, fields);
      return emit(event, `${message} (${count} times in a row)`, { ...fields, count });
    }
    if (recovery !== undefined) {
      const count = repetition.over(recovery.subject);
      if (count !== undefined) {
        emit(recovery.event, `${message} (after ${times(count)})`, { ...fields, count });
      }
    }
    if (!unavailable) emit(event, message, fields);
  }

  return {
    notify(event: AgentEvent): void {
      if (isUnheard(event)) return;
      for (const line of linesOf(event)) tell(line);
    },
    setLevel(next: LogThreshold): void {
      threshold = next;
      written = writtenFrom(next);
    },
    level: () => threshold,
  };
}

/** Whether each event is written from this level on. */
function writtenFrom(threshold: LogThreshold): Readonly<Record<LogEventName, boolean>> {
  const written = Object.entries(LOG_EVENTS).map(([event, { level }]) =>
    [event, compareLogLevel(level, threshold) >= 0] as const
  );
  return Object.fromEntries(written) as Record<LogEventName, boolean>;
}

function times(count: number): string {
  return count === 1 ? "one failure" : `${count} failures`;
}

/** Redacted, and every text made harmless for terminals and for line-based readers. */
function clean(fields: Readonly<Record<string, unknown>>): Record<string, unknown> {
  const safe = (value: unknown): unknown => {
    if (typeof value === "string") return printable(value);
    if (Array.isArray(value)) return value.map(safe);
    if (typeof value !== "object" || value === null) return value;
    return Object.fromEntries(
      Object.entries(value).map(([name, item]) => [printable(name), safe(item)]),
    );
  };
  return safe(redact(fields)) as Record<string, unknown>;
}

function jsonFormatter(): TextFormatter {
  return getJsonLinesFormatter({ properties: "flatten", message: "rendered" });
}

/** `2026-01-01T00:00:00.000Z warning renewal-failed: message image=… reason=…`. */
function textFormatter(): TextFormatter {
  return getTextFormatter({
    timestamp: "rfc3339",
    level: "full",
    value: "bare",
    format({ timestamp, level, message, record }) {
      const { event, ...fields } = record.properties;
      const pairs = Object.entries(fields).map(([name, value]) => ` ${name}=${plain(value)}`);
      return `${timestamp} ${level} ${event}: ${message}${pairs.join("")}`;
    },
  });
}

/** A value as logfmt writes it: quoted where it must be. */
function plain(value: unknown): string {
  const text = typeof value === "string" ? value : JSON.stringify(value) ?? "";
  return /^[^\s="\\]+$/.test(text) ? text : JSON.stringify(text);
}
