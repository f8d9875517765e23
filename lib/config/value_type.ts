import { isAbsolute } from "@std/path";
import * as v from "valibot";
import { parseDurationMs, parseImageReference, parseImageTarget } from "../model/mod.ts";

/** A value in a TOML file. */
export type RawValue = string | number | boolean | readonly string[];

/** The type of a setting. */
export interface ValueType<Value = unknown> {
  /** Placeholder in help texts: the choices, or a word such as `path`. */
  readonly name: string;
  /** Describes the valid values, for messages and the reference. */
  readonly expected: string;
  /** Validates a TOML value and converts it. */
  readonly schema: v.GenericSchema<unknown, Value>;
}

/** A parsed value, or the problem with it. */
export type ReadResult<Value = unknown> =
  | { readonly kind: "value"; readonly value: Value }
  | { readonly kind: "problem"; readonly problem: string };

/** Reads a TOML value. */
export function readValue<Value>(
  { schema, expected }: ValueType<Value>,
  raw: unknown,
): ReadResult<Value> {
  const { success, output, issues } = v.safeParse(schema, raw);
  if (success) return { kind: "value", value: output };
  const problem = `found ${describeFound(issues[0].input)}, expected ${expected}`;
  return { kind: "problem", problem };
}

/** Reads the text of a flag or variable, which can stand for a boolean, a number or a list. */
export function readText<Value>(type: ValueType<Value>, text: string): ReadResult<Value> {
  const readings: unknown[] = [text, text.split(",").map((item) => item.trim())];
  if (text === "true" || text === "false") readings.push(text === "true");
  if (/^[+-]?\d+$/.test(text)) readings.push(Number(text));
  const results = readings.map((raw) => readValue(type, raw));
  return results.find(({ kind }) => kind === "value") ?? readValue(type, text);
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

/** A text that `parse` converts; it returns undefined or throws for an invalid one. */
function parsed<Value>(parse: (text: string) => Value | undefined) {
  return v.pipe(
    v.string(),
    v.rawTransform<string, Value>(({ dataset, addIssue, NEVER }) => {
      try {
        const value = parse(dataset.value);
        if (value !== undefined) return value;
      } catch {
        // Reported as an issue.
      }
      addIssue();
      return NEVER;
    }),
  );
}

/** A text for which `isValid` returns true; it may throw for an invalid one. */
function text(
  name: string,
  expected: string,
  isValid: (text: string) => boolean,
): ValueType<string> {
  return { name, expected, schema: parsed((text) => isValid(text) ? text : undefined) };
}

export const BOOLEAN: ValueType<boolean> = {
  name: "boolean",
  expected: "true or false",
  schema: v.boolean(),
};

/** An integer; the bounds are inclusive. */
export function integer(min: number, max: number): ValueType<number> {
  return {
    name: "integer",
    expected: min === max ? `the number ${min}` : `an integer from ${min} to ${max}`,
    schema: v.pipe(v.number(), v.integer(), v.minValue(min), v.maxValue(max)),
  };
}

/** A Go duration in milliseconds, within inclusive bounds, or one of the additional values. */
export function duration<Also extends "0s" | "auto" = never>(
  min: string,
  max: string,
  ...also: readonly Also[]
): ValueType<number | Extract<Also, "auto">> {
  const allows = (value: "0s" | "auto") => also.some((one) => one === value);
  const [minMs, maxMs] = [parseDurationMs(min), parseDurationMs(max)];
  return {
    name: "duration",
    expected: [`a duration from ${min} to ${max}`, ...also.map((value) => `"${value}"`)]
      .join(" or "),
    schema: parsed((text) => {
      if (text === "auto" && allows("auto")) return text as Extract<Also, "auto">;
      const ms = parseDurationMs(text);
      return (ms >= minMs && ms <= maxMs) || (ms === 0 && allows("0s")) ? ms : undefined;
    }),
  };
}

/** A duration in the snapshotter's file: text, or nanoseconds. */
export const ANY_DURATION: ValueType<number> = {
  name: "duration",
  expected: `a duration such as "10m"`,
  schema: v.union([
    parsed(parseDurationMs),
    v.pipe(v.number(), v.integer(), v.transform((nanoseconds) => nanoseconds / 1_000_000)),
  ]),
};

export function choice<const Choice extends string>(
  ...choices: readonly Choice[]
): ValueType<Choice> {
  return {
    name: choices.join("|"),
    expected: `one of ${choices.map((text) => `"${text}"`).join(", ")}`,
    schema: v.picklist(choices),
  };
}

function isPath(text: string): boolean {
  return isAbsolute(text) && !text.includes("\0");
}

/** An absolute path. */
export const PATH: ValueType<string> = text("path", "an absolute path", isPath);

/** An absolute path; an empty text or `off` disables the feature. */
export const PATH_OR_OFF: ValueType<string> = {
  name: "path",
  expected: `an absolute path or "off"`,
  schema: parsed((text) => text === "" || text === "off" ? "off" : isPath(text) ? text : undefined),
};

/** An address to listen on. */
export interface ListenAddress {
  readonly hostname: string;
  readonly port: number;
}

const ADDRESS_FORM = /^(?:\[(?<v6>[0-9A-Fa-f:.]+)\]|(?<host>[A-Za-z0-9._-]*)):(?<port>\d{1,5})$/;

export const ADDRESS: ValueType<ListenAddress | "off"> = {
  name: "address",
  expected: `"host:port", with a port of at most 65535, or "off"`,
  schema: parsed<ListenAddress | "off">((text) => {
    if (text === "" || text === "off") return "off";
    const { v6, host, port: digits } = ADDRESS_FORM.exec(text)?.groups ?? {};
    const port = Number(digits);
    const isValid = port <= 65_535 && (v6 === undefined || URL.canParse(`http://[${v6}]/`));
    return isValid ? { hostname: v6 ?? (host || "0.0.0.0"), port } : undefined;
  }),
};

export const REFERENCE: ValueType<string> = text(
  "reference",
  "an image reference",
  (text) => parseImageReference(text).text !== "",
);

/** The name of a daemon. It is part of keys and labels, so it contains no slash. */
export const DAEMON_ID: ValueType<string> = text(
  "name",
  "a name of letters, digits, dots, dashes and underscores",
  (text) => /^[A-Za-z0-9][A-Za-z0-9._-]{0,127}$/.test(text),
);

/** A user group: a name that `useradd(8)` accepts, or a number. */
export const GROUP: ValueType<string> = text(
  "group",
  "the name or number of a group",
  (text) => /^(?:[A-Za-z_][A-Za-z0-9_.-]{0,31}|[0-9]{1,10})$/.test(text),
);

const DNS_NAME = /^[a-z0-9](?:[a-z0-9-]*[a-z0-9])?(?:\.[a-z0-9](?:[a-z0-9-]*[a-z0-9])?)*$/;

/** The name of a Kubernetes object: a DNS name in lower case. */
export const KUBE_NAME: ValueType<string> = text(
  "name",
  "a Kubernetes object name",
  (text) => text.length <= 253 && DNS_NAME.test(text),
);

/** Hosts as in image patterns (`*.example.com`, `mirror:5000`), without paths. */
export const HOST_PATTERNS: ValueType<readonly string[]> = {
  name: "patterns",
  expected: `a list of 1 to 256 different host patterns such as "*.example.com:5000"`,
  schema: v.pipe(
    v.array(text("pattern", "a host pattern", isHostPattern).schema),
    v.minLength(1),
    v.maxLength(256),
    v.check((patterns) => new Set(patterns).size === patterns.length),
  ),
};

function isHostPattern(text: string): boolean {
  const { labels, path } = parseImageTarget(text);
  return /^[^/@?#%\s]+$/.test(text) && path === "" && labels.every((label) => label !== "");
}
