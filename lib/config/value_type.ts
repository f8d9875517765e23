import { isAbsolute } from "@std/path";
import { defined, parseDurationMs, parseImageReference, parseImageTarget } from "../model/mod.ts";

/** A value in a TOML file. */
export type RawValue = string | number | boolean | readonly string[];

/** A parsed value, or the problem with it and a valid value. */
export type ReadResult<Value = unknown> =
  | { readonly kind: "value"; readonly value: Value }
  | { readonly kind: "problem"; readonly problem: string; readonly instead?: RawValue };

/** The type of a setting. */
export interface ValueType<Value = unknown> {
  /** Placeholder in help texts: the choices, or a word such as `path`. */
  readonly name: string;
  /** Describes the valid values, for messages and the reference. */
  readonly expected: string;
  /** Validates a TOML value and converts it. Never throws. */
  read(raw: unknown): ReadResult<Value>;
  /**
   * Converts the text of a flag or variable to a TOML value, if it has the form of one; otherwise
   * returns the text, which `read` then rejects.
   */
  fromText(text: string): RawValue;
}

interface Definition<Value> extends Pick<ValueType<Value>, "name" | "expected"> {
  /** Returns undefined for an invalid value. */
  parse(raw: unknown): Value | undefined;
  /** Returns a valid value that is close to an invalid one. */
  suggest?(raw: unknown): RawValue | undefined;
  found?(raw: unknown): string;
  fromText?(text: string): RawValue;
}

function define<Value>(
  { name, expected, parse, suggest, found = describeFound, fromText = (text) => text }: Definition<
    Value
  >,
): ValueType<Value> {
  return {
    name,
    expected,
    fromText,
    read(raw) {
      const value = parse(raw);
      if (value !== undefined) return { kind: "value", value };
      const problem = `found ${found(raw)}, expected ${expected}`;
      return { kind: "problem", problem, ...defined({ instead: suggest?.(raw) }) };
    },
  };
}

/** Describes a value in a problem; texts are quoted and cut. */
export function describeFound(raw: unknown): string {
  if (typeof raw === "string") {
    return `the text ${JSON.stringify(raw.length > 80 ? `${raw.slice(0, 80)}…` : raw)}`;
  }
  if (typeof raw === "number") return `the number ${raw}`;
  if (typeof raw === "boolean") return String(raw);
  if (Array.isArray(raw)) return "an array";
  return raw instanceof Date ? "a date or time" : "a table";
}

export const BOOLEAN: ValueType<boolean> = define({
  name: "boolean",
  expected: "true or false",
  parse: (raw) => typeof raw === "boolean" ? raw : undefined,
  fromText: (text) => text === "true" || text === "false" ? text === "true" : text,
});

/** An integer; the bounds are inclusive. */
export function integer(min: number, max: number): ValueType<number> {
  return define({
    name: "integer",
    expected: min === max ? `the number ${min}` : `an integer from ${min} to ${max}`,
    parse: (raw) =>
      typeof raw === "number" && Number.isInteger(raw) && raw >= min && raw <= max
        ? raw
        : undefined,
    fromText: (text) => /^[+-]?\d+$/.test(text) ? Number(text) : text,
  });
}

/** A Go duration in milliseconds, within inclusive bounds, or one of the additional values. */
export function duration<Also extends "0s" | "auto" = never>(
  minMs: number,
  maxMs: number,
  ...also: readonly Also[]
): ValueType<number | Extract<Also, "auto">> {
  const isAlso = (text: "0s" | "auto") => also.some((value) => value === text);
  const inBounds = (ms: number) => (ms === 0 && isAlso("0s")) || (ms >= minMs && ms <= maxMs);
  return define<number | Extract<Also, "auto">>({
    name: "duration",
    expected: [
      `a duration from ${describeMs(minMs)} to ${describeMs(maxMs)}`,
      ...also.map((value) => `"${value}"`),
    ].join(" or "),
    parse(raw) {
      if (raw === "auto" && isAlso("auto")) return raw as Extract<Also, "auto">;
      const ms = durationMs(raw);
      return ms !== undefined && inBounds(ms) ? ms : undefined;
    },
    suggest(raw) {
      if (typeof raw === "number") {
        return Number.isInteger(raw) && raw > 0 && inBounds(raw * 1_000) ? `${raw}s` : undefined;
      }
      const ms = durationMs(raw);
      return ms === undefined ? undefined : describeMs(ms < minMs ? minMs : maxMs);
    },
  });
}

/** A duration in the snapshotter's file: text, or nanoseconds. */
export const ANY_DURATION: ValueType<number> = define({
  name: "duration",
  expected: `a duration such as "10m"`,
  parse: (raw) => Number.isInteger(raw) ? Number(raw) / 1_000_000 : durationMs(raw),
});

function durationMs(raw: unknown): number | undefined {
  if (typeof raw !== "string") return undefined;
  try {
    return parseDurationMs(raw);
  } catch {
    return undefined;
  }
}

const MS_UNITS = [["h", 3_600_000], ["m", 60_000], ["s", 1_000]] as const;

/** Formats milliseconds as a Go duration in its largest whole unit. */
function describeMs(ms: number): string {
  const unit = MS_UNITS.find(([, size]) => ms >= size && ms % size === 0);
  return unit === undefined ? `${ms}ms` : `${ms / unit[1]}${unit[0]}`;
}

export function choice<const Choice extends string>(
  ...choices: readonly Choice[]
): ValueType<Choice> {
  return define({
    name: choices.join("|"),
    expected: `one of ${choices.map((text) => `"${text}"`).join(", ")}`,
    parse: (raw) => choices.find((text) => text === raw),
  });
}

/** An absolute path. */
export const PATH: ValueType<string> = pathType("an absolute path");

/** An absolute path; an empty text or `off` disables the feature. */
export const PATH_OR_OFF: ValueType<string> = pathType(`an absolute path or "off"`, "off");

function pathType(expected: string, off?: "off"): ValueType<string> {
  const isRelative = (raw: unknown) =>
    typeof raw === "string" && raw !== "" && !raw.includes("\0") && !isAbsolute(raw);
  return define({
    name: "path",
    expected,
    parse(raw) {
      if (off !== undefined && (raw === "" || raw === off)) return off;
      return typeof raw === "string" && isAbsolute(raw) && !raw.includes("\0") ? raw : undefined;
    },
    found: (raw) =>
      isRelative(raw) ? `the relative path ${JSON.stringify(raw)}` : describeFound(raw),
  });
}

/** An address to listen on. */
export interface ListenAddress {
  readonly hostname: string;
  readonly port: number;
}

const ADDRESS_FORM = /^(?:\[(?<v6>[0-9A-Fa-f:.]+)\]|(?<host>[A-Za-z0-9._-]*)):(?<port>\d{1,5})$/;

export const ADDRESS: ValueType<ListenAddress | "off"> = define<ListenAddress | "off">({
  name: "address",
  expected: `"host:port" or "off"`,
  parse(raw) {
    if (raw === "" || raw === "off") return "off";
    const { v6, host, port: digits } =
      (typeof raw === "string" && ADDRESS_FORM.exec(raw)?.groups) || {};
    const port = Number(digits);
    const isValid = port <= 65_535 && (v6 === undefined || URL.canParse(`http://[${v6}]/`));
    return isValid ? { hostname: v6 ?? (host || "0.0.0.0"), port } : undefined;
  },
  suggest: (raw) => typeof raw === "number" ? `127.0.0.1:${raw}` : undefined,
});

function textType(
  name: string,
  expected: string,
  isValid: (text: string) => boolean,
): ValueType<string> {
  return define({
    name,
    expected,
    parse: (raw) => typeof raw === "string" && isValid(raw) ? raw : undefined,
    suggest: (raw) => typeof raw === "number" && isValid(`${raw}`) ? `${raw}` : undefined,
  });
}

/** From one to `max` unique texts; separated by commas in a flag or variable. */
function listType(
  name: string,
  expected: string,
  max: number,
  isValid: (text: string) => boolean,
): ValueType<readonly string[]> {
  const wrongItem = (raw: readonly unknown[]) =>
    raw.find((item, i) => typeof item !== "string" || !isValid(item) || raw.indexOf(item) !== i);
  return define<readonly string[]>({
    name,
    expected: `a list of 1 to ${max} different ${expected}`,
    parse: (raw) =>
      Array.isArray(raw) && wrongItem(raw) === undefined && raw.length >= 1 && raw.length <= max
        ? raw
        : undefined,
    suggest: (raw) => typeof raw === "string" && isValid(raw) ? [raw] : undefined,
    found(raw) {
      const wrong = Array.isArray(raw) ? wrongItem(raw) : undefined;
      return wrong === undefined ? describeFound(raw) : `${describeFound(wrong)} in it`;
    },
    fromText: (text) => text.split(",").map((item) => item.trim()),
  });
}

/** Returns whether a parser accepts a text. */
function accepts(parse: (text: string) => unknown, text: string): boolean {
  try {
    return parse(text) !== false;
  } catch {
    return false;
  }
}

export const REFERENCE: ValueType<string> = textType(
  "reference",
  "an image reference",
  (text) => accepts(parseImageReference, text),
);

const DAEMON_ID_FORM = /^[A-Za-z0-9][A-Za-z0-9._-]{0,127}$/;

/** The name of a daemon. It is part of keys and labels, so it contains no slash. */
export const DAEMON_ID: ValueType<string> = textType(
  "name",
  "a name of letters, digits, dots, dashes and underscores",
  (text) => DAEMON_ID_FORM.test(text),
);

/** A user group: a name that `useradd(8)` accepts, or a number. */
export const GROUP: ValueType<string> = textType(
  "group",
  "the name or number of a group",
  (text) => /^(?:[A-Za-z_][A-Za-z0-9_.-]{0,31}|[0-9]{1,10})$/.test(text),
);

const KUBE_NAME_FORM = /^[a-z0-9](?:[a-z0-9-]*[a-z0-9])?(?:\.[a-z0-9](?:[a-z0-9-]*[a-z0-9])?)*$/;

function isKubeName(text: string): boolean {
  return text.length <= 253 && KUBE_NAME_FORM.test(text);
}

/** The name of a Kubernetes object: a DNS name in lower case. */
export const KUBE_NAME: ValueType<string> = textType(
  "name",
  "a Kubernetes object name",
  isKubeName,
);

/** Hosts as in image patterns (`*.example.com`, `mirror:5000`), without paths. */
export const HOST_PATTERNS: ValueType<readonly string[]> = listType(
  "patterns",
  `host patterns such as "*.example.com:5000"`,
  256,
  (text) => /^[^/@?#%\s]+$/.test(text) && accepts(isHostTarget, text),
);

function isHostTarget(text: string): boolean {
  const { labels, path } = parseImageTarget(text);
  return path === "" && labels.every((label) => label !== "");
}
