import { isAbsolute } from "@std/path";
import {
  defined,
  messageOf,
  parseDurationMs,
  parseImageReference,
  parseImageTarget,
} from "../model/mod.ts";
import { describeMs, describeType, type KeyType, type RawValue } from "./key.ts";

/** A parsed value, or the problem with it and a valid value. */
export type ReadResult =
  | { readonly kind: "value"; readonly value: unknown }
  | { readonly kind: "problem"; readonly problem: string; readonly instead?: RawValue };

const NUMBER = /^[+-]?\d+$/;

/**
 * Converts the text of a flag or environment variable to a TOML value, if it has the form of one;
 * otherwise returns the text, which {@linkcode readValue} then rejects.
 */
export function rawFromText(type: KeyType, text: string): RawValue {
  if (type.kind === "boolean" && (text === "true" || text === "false")) return text === "true";
  if (type.kind === "integer" && NUMBER.test(text)) return Number(text);
  if (type.kind === "host-patterns") {
    return text.split(",").map((name) => name.trim());
  }
  return text;
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

/**
 * Validates a value and converts it as defined by `ValueOf` (durations to milliseconds, addresses to
 * host and port). Never throws.
 */
export function readValue(type: KeyType, raw: unknown): ReadResult {
  switch (type.kind) {
    case "boolean":
      return typeof raw === "boolean" ? { kind: "value", value: raw } : invalid(type, raw);
    case "integer":
      return Number.isInteger(raw) && (raw as number) >= type.min && (raw as number) <= type.max
        ? { kind: "value", value: raw }
        : invalid(type, raw);
    case "duration":
      return readDuration(type, raw);
    case "choice":
      return typeof raw === "string" && type.choices.includes(raw)
        ? { kind: "value", value: raw }
        : invalid(type, raw);
    case "path":
      return readPath(type, raw);
    case "address":
      return readAddress(type, raw);
    case "reference":
      return readReference(type, raw);
    case "daemon-id":
      return typeof raw === "string" && DAEMON_ID.test(raw)
        ? { kind: "value", value: raw }
        : invalid(type, raw);
    case "group":
      return typeof raw === "string" && GROUP.test(raw)
        ? { kind: "value", value: raw }
        : invalid(type, raw, typeof raw === "number" ? String(raw) : undefined);
    case "kube-name":
      return isKubeName(raw) ? { kind: "value", value: raw } : invalid(type, raw);
    case "host-patterns":
      return readHostPatterns(type, raw);
    default:
      return type satisfies never;
  }
}

/** A valid daemon id. It is part of keys and labels, so it contains no slash. */
export const DAEMON_ID = /^[A-Za-z0-9][A-Za-z0-9._-]{0,127}$/;

/** A name that `useradd(8)` accepts, or a number. */
const GROUP = /^(?:[A-Za-z_][A-Za-z0-9_.-]{0,31}|[0-9]{1,10})$/;

function invalid(type: KeyType, raw: unknown, instead?: RawValue): ReadResult {
  const problem = `found ${describeFound(raw)}, expected ${describeType(type)}`;
  return defined({ kind: "problem" as const, problem, instead });
}

function readDuration(type: KeyType & { kind: "duration" }, raw: unknown): ReadResult {
  if (type.auto && raw === "auto") return { kind: "value", value: "auto" };
  let ms: number;
  if (typeof raw === "string") {
    try {
      ms = parseDurationMs(raw);
    } catch {
      return invalid(type, raw);
    }
  } else if (type.nanoseconds && Number.isInteger(raw)) {
    ms = Number(raw) / 1_000_000;
  } else {
    const seconds = typeof raw === "number" && Number.isInteger(raw) && raw > 0;
    return invalid(type, raw, seconds && inBounds(type, raw * 1_000) ? `${raw}s` : undefined);
  }
  return inBounds(type, ms) ? { kind: "value", value: ms } : invalid(
    type,
    raw,
    describeMs(ms < type.minMs ? type.minMs : type.maxMs),
  );
}

function inBounds(type: KeyType & { kind: "duration" }, ms: number): boolean {
  return (type.zero === true && ms === 0) || (ms >= type.minMs && ms <= type.maxMs);
}

function readPath(type: KeyType & { kind: "path" }, raw: unknown): ReadResult {
  if (typeof raw !== "string") return invalid(type, raw);
  if (type.off && (raw === "" || raw === "off")) return { kind: "value", value: "off" };
  if (raw.includes("\0")) return invalid(type, raw);
  if (isAbsolute(raw)) return { kind: "value", value: raw };
  if (raw === "") return invalid(type, raw);
  return {
    kind: "problem",
    problem: `found the relative path ${JSON.stringify(raw)}, expected ${describeType(type)}`,
  };
}

const ADDRESS = /^(?:\[(?<v6>[0-9A-Fa-f:.]+)\]|(?<host>[A-Za-z0-9._-]*)):(?<port>\d{1,5})$/;

function readAddress(type: KeyType, raw: unknown): ReadResult {
  if (raw === "" || raw === "off") return { kind: "value", value: "off" };
  const parts = typeof raw === "string" ? ADDRESS.exec(raw)?.groups : undefined;
  const port = Number(parts?.port);
  if (parts === undefined || port > 65_535) {
    return invalid(type, raw, typeof raw === "number" ? `127.0.0.1:${raw}` : undefined);
  }
  const hostname = parts.v6 ?? (parts.host === "" ? "0.0.0.0" : parts.host);
  if (parts.v6 !== undefined && !URL.canParse(`http://[${parts.v6}]/`)) return invalid(type, raw);
  return { kind: "value", value: { hostname, port } };
}

const KUBE_NAME = /^[a-z0-9](?:[a-z0-9-]*[a-z0-9])?(?:\.[a-z0-9](?:[a-z0-9-]*[a-z0-9])?)*$/;

function isKubeName(raw: unknown): boolean {
  return typeof raw === "string" && raw.length <= 253 && KUBE_NAME.test(raw);
}

/** A host as in an image pattern (`*.example.com`, `mirror:5000`), without a path. */
function isHostPattern(raw: unknown): boolean {
  if (typeof raw !== "string" || !/^[^/@?#%\s]+$/.test(raw)) return false;
  try {
    const { labels, path } = parseImageTarget(raw);
    return path === "" && labels.every((label) => label !== "");
  } catch {
    return false;
  }
}

function readHostPatterns(type: KeyType & { kind: "host-patterns" }, raw: unknown): ReadResult {
  if (!Array.isArray(raw)) return invalid(type, raw, typeof raw === "string" ? [raw] : undefined);
  const wrong: unknown = raw.find((item, i) => !isHostPattern(item) || raw.indexOf(item) !== i);
  if (wrong !== undefined) {
    const problem = `found ${describeFound(wrong)} in it, expected ${
      describeType(type)
    } without duplicates`;
    return { kind: "problem", problem };
  }
  return raw.length >= 1 && raw.length <= type.max
    ? { kind: "value", value: raw }
    : invalid(type, raw);
}

function readReference(type: KeyType, raw: unknown): ReadResult {
  if (typeof raw !== "string") return invalid(type, raw);
  try {
    parseImageReference(raw);
    return { kind: "value", value: raw };
  } catch (error) {
    return { kind: "problem", problem: messageOf(error) };
  }
}
