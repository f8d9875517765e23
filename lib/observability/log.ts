import { compareLogLevel, getTextFormatter, type LogRecord } from "@logtape/logtape";
import { type AgentEvent, type Observer, setNewest } from "../model/mod.ts";
import {
  LOG_EVENTS,
  type LogEventName,
  type LogLevel,
  type LogLine,
  logLinesOf,
} from "./log_lines.ts";
import { redact } from "./redact.ts";

/** Options of {@linkcode createLog}. */
export interface LogOptions {
  /** Writes one line, which has no line end. */
  readonly write: (line: string) => void;
  readonly level: LogLevel;
  readonly format: "text" | "json";
  /** Returns the wall time in ms. */
  readonly now: () => number;
  /** Whether lines start with a priority such as `<4>` for the journal (`sd-daemon(3)`). */
  readonly priorities?: boolean;
}

/** Logs events from a level on. */
export interface Log extends Observer {
  /** Changes the lowest level that is written. */
  setLevel(level: LogLevel): void;
  /** Returns the lowest level that is written. */
  level(): LogLevel;
}

/** Priorities of `syslog(3)`. */
const PRIORITY: Readonly<Record<LogLevel, number>> = { debug: 7, info: 6, warning: 4, error: 3 };

const CATEGORY: readonly string[] = ["nydus-auth-agent"];

/**
 * Creates a log. It uses the records and the text formatter of LogTape but not its loggers, whose
 * configuration is global: two logs in one process (as in tests) would affect each other.
 */
export function createLog(options: LogOptions): Log {
  const { write, format, now, priorities = false } = options;
  const repeats = new RepeatFilter();
  const formatRecord = format === "json" ? formatJson : textFormatter();
  let { level: threshold } = options;

  const isWritten = (event: LogEventName) =>
    compareLogLevel(LOG_EVENTS[event].level, threshold) >= 0;

  function writeLine(
    event: LogEventName,
    message: string,
    fields: Readonly<Record<string, unknown>>,
  ): void {
    if (!isWritten(event)) return;
    const { level } = LOG_EVENTS[event];
    const { message: safe, ...properties } = redact({ message, event, ...fields });
    const rawMessage = String(safe);
    const line = formatRecord({
      category: CATEGORY,
      level,
      message: [rawMessage],
      rawMessage,
      timestamp: now(),
      properties,
    }).trimEnd();
    write(priorities ? `<${PRIORITY[level]}>${line}` : line);
  }

  function log(line: LogLine): void {
    const { event, message, fields, problem, recovery, ends = [] } = line;
    for (const subject of ends) repeats.forget(subject);
    if (problem !== undefined) {
      // Not counted below the threshold: after the level is lowered, the next one is written.
      if (!isWritten(event)) return;
      const count = repeats.count(problem.subject, problem.signature, problem.continues);
      if (count === undefined) return;
      if (count === 1) return writeLine(event, message, fields);
      return writeLine(event, `${message} (${count} times in a row)`, { ...fields, count });
    }
    if (recovery !== undefined) {
      const count = repeats.end(recovery.subject);
      if (count !== undefined) {
        const failures = count === 1 ? "1 failure" : `${count} failures`;
        writeLine(recovery.event, `${message} (after ${failures})`, { ...fields, count });
      }
    }
    if (recovery?.event !== event) writeLine(event, message, fields);
  }

  return {
    notify(event: AgentEvent): void {
      for (const line of logLinesOf(event)) log(line);
    },
    setLevel(level: LogLevel): void {
      threshold = level;
    },
    level: () => threshold,
  };
}

/** Returns an observer that notifies several, each regardless of exceptions of the others. */
export function fanOut(observers: readonly Observer[]): Observer {
  return {
    notify(event: AgentEvent): void {
      for (const observer of observers) {
        try {
          observer.notify(event);
        } catch {
          // Cannot be reported: the log is an observer itself.
        }
      }
    },
  };
}

const MAX_REPEATS = 20_000;

/**
 * Counts the consecutive occurrences of each problem and selects those that are logged: the first
 * one, each with another signature, and the 10th, 100th, 1000th … with the same one.
 */
class RepeatFilter {
  readonly #repeats = new Map<string, { readonly signature: string; count: number }>();

  /**
   * Counts an occurrence. Returns the count if it is to be logged.
   *
   * @param continues Whether it counts as the previous problem regardless of its signature.
   */
  count(subject: string, detail: string, continues = false): number | undefined {
    // A different number in the text (exit code, port, duration) is the same problem.
    const signature = detail.replace(/\d+/g, "0");
    const known = this.#repeats.get(subject);
    if (known !== undefined && (continues || known.signature === signature)) {
      known.count++;
      return /^10*$/.test(String(known.count)) ? known.count : undefined;
    }
    setNewest(this.#repeats, subject, { signature, count: 1 }, MAX_REPEATS);
    return 1;
  }

  /** Ends a problem. Returns its count, or undefined if there was none. */
  end(subject: string): number | undefined {
    const count = this.#repeats.get(subject)?.count;
    this.#repeats.delete(subject);
    return count;
  }

  /** Forgets a subject, or every subject with a prefix that ends in a slash. */
  forget(ended: string): void {
    if (!ended.endsWith("/")) {
      this.#repeats.delete(ended);
      return;
    }
    for (const subject of this.#repeats.keys()) {
      if (subject.startsWith(ended)) this.#repeats.delete(subject);
    }
  }
}

/** Formats as a JSON line. LogTape's formatter writes other level names than its text formatter. */
function formatJson({ timestamp, level, rawMessage, properties }: LogRecord): string {
  const time = new Date(timestamp).toISOString();
  return JSON.stringify({ "@timestamp": time, level, message: rawMessage, ...properties });
}

/** Formats as `2026-01-01T00:00:00.000Z warning renewal-failed: message image=… reason=…`. */
function textFormatter(): (record: LogRecord) => string {
  return getTextFormatter({
    timestamp: "rfc3339",
    level: "full",
    value: "bare",
    format({ timestamp, level, message, record }) {
      const { event, ...fields } = record.properties;
      // Its level is in the line already.
      const name = event === "warning" ? fields["code"] : event;
      const pairs = Object.entries(fields).map(([name, value]) => ` ${name}=${logfmt(value)}`);
      return `${timestamp} ${level} ${name}: ${message}${pairs.join("")}`;
    },
  });
}

/** Formats a value as logfmt does, with quotes only where they are needed. */
function logfmt(value: unknown): string {
  const isList = Array.isArray(value) && value.every((item) => typeof item === "string");
  const text = typeof value === "string"
    ? value
    : isList
    ? value.join(",")
    : JSON.stringify(value) ?? "";
  return /^[^\s="\\]+$/.test(text) ? text : JSON.stringify(text);
}
