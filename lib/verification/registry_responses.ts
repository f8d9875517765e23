import type { ProbeVerdict, RegistryHttpResult } from "../model/mod.ts";

/** An answer of a registry or its token service. */
export type Answer = Extract<RegistryHttpResult, { readonly kind: "answered" }>;

const MAX_WORDS = 200;
const THROTTLED_DEFAULT_MS = 60_000;
const THROTTLED_MAX_MS = 3_600_000;

/**
 * The message of an error body (`errors[0].message` of the distribution specification, `details` of
 * token services), on one line, cut, and without what looks like a token; empty without one.
 */
export function errorText(body: string): string {
  let value: unknown;
  try {
    value = JSON.parse(body);
  } catch {
    return "";
  }
  const list = field(value, "errors");
  const error = Array.isArray(list) ? list[0] : value;
  const words = ["message", "details", "detail", "error_description", "error"]
    .map((name) => field(error, name)).find((word) => typeof word === "string" && word !== "");
  return typeof words === "string" ? shown(words) : "";
}

function field(value: unknown, name: string): unknown {
  if (typeof value !== "object" || value === null || !Object.hasOwn(value, name)) return undefined;
  return (value as Record<string, unknown>)[name];
}

/** A registry's words as they may be printed: one line, cut, long runs without a blank hidden. */
function shown(words: string): string {
  const line = words.replaceAll(/[\p{Cc}\p{Cf}\s]+/gu, " ").trim();
  const safe = line.replaceAll(/[A-Za-z0-9+/=_-]{40,}/g, "[hidden]");
  return safe.length > MAX_WORDS ? `${safe.slice(0, MAX_WORDS)}…` : safe;
}

/** What no credential is to blame for: no answer, too many requests, a server in trouble. */
export function problemVerdict(
  who: string,
  result: RegistryHttpResult,
  nowMs: number,
): ProbeVerdict | undefined {
  switch (result.kind) {
    case "timed-out":
      return { kind: "unreachable", detail: `${who} did not answer in time` };
    case "unreachable":
      return { kind: "unreachable", detail: `${who}: ${result.detail}` };
    case "answered":
      if (result.status === 429) {
        const retryAtMs = retryAt(result.headers.get("retry-after"), nowMs);
        return {
          kind: "throttled",
          detail: `${who} says that there are too many requests`,
          retryAtMs,
        };
      }
      return result.status >= 500
        ? { kind: "unreachable", detail: `${who} answered ${result.status}` }
        : undefined;
    default:
      return result satisfies never;
  }
}

/** `Retry-After` as wall time, within an hour. */
function retryAt(text: string | undefined, nowMs: number): number {
  const ms = text === undefined
    ? NaN
    : /^\d{1,9}$/.test(text)
    ? Number(text) * 1_000
    : Date.parse(text) - nowMs;
  return nowMs + (ms >= 0 ? Math.min(ms, THROTTLED_MAX_MS) : THROTTLED_DEFAULT_MS);
}
