import type { LogEventName } from "./log_events.ts";

/** What to say of one event. */
export interface LogLine {
  readonly event: LogEventName;
  readonly message: string;
  readonly fields: Readonly<Record<string, unknown>>;
  /** A problem that may come again: counted by subject, and said again only when it must be. */
  readonly problem?: {
    readonly subject: string;
    readonly signature: string;
    /** Not another problem where there is one: the one that there is lasts. */
    readonly continues?: boolean;
  };
  /** All is well with this subject: said as `event` where there was a problem. */
  readonly recovery?: { readonly subject: string; readonly event: LogEventName };
  /** Subjects whose troubles end unsaid: what comes again later is new. See `Repetition.forget`. */
  readonly ends?: readonly string[];
  /** Nothing to say but a recovery. */
  readonly unavailable?: true;
}

/** A line without anything to count. */
export function line(
  event: LogEventName,
  message: string,
  fields: Readonly<Record<string, unknown>>,
): LogLine {
  return { event, message, fields };
}

/** More words after a colon, where there are any. */
export function suffix(detail: string | undefined): string {
  return detail ? `: ${detail}` : "";
}

/** A time as people and programs read it; nothing for one that is not known. */
export function time(name: string, ms: number | undefined): Readonly<Record<string, string>> {
  if (ms === undefined || Number.isNaN(new Date(ms).getTime())) return {};
  return { [name]: new Date(ms).toISOString() };
}

/** A moment as words: `at 2026-01-01T12:00:00Z`; undefined for one that is not known. */
export function at(ms: number | undefined): string | undefined {
  if (ms === undefined || Number.isNaN(new Date(ms).getTime())) return undefined;
  return `at ${new Date(ms).toISOString().replace(/\.\d+Z$/, "Z")}`;
}

/** Fields as the log names them. */
export function snakeCase(fields: Readonly<Record<string, unknown>>): Record<string, unknown> {
  return Object.fromEntries(
    Object.entries(fields).map(([name, value]) => [
      name.replace(/[A-Z]/g, (letter) => `_${letter.toLowerCase()}`),
      value,
    ]),
  );
}
