import type { ProbeVerdict, RegistryHttpRequest, RegistryHttpResult } from "../model/mod.ts";

/** A request to a registry or its token service, without transport settings and limits. */
export type ProbeRequest = Pick<RegistryHttpRequest, "method" | "url" | "headers" | "body">;

/** A response of a registry or its token service. */
export type RegistryResponse = Extract<RegistryHttpResult, { readonly kind: "answered" }>;

/** A response that depends on the credential, or a verdict that does not. */
export type ResponseResult =
  | { readonly kind: "response"; readonly response: RegistryResponse }
  | { readonly kind: "verdict"; readonly verdict: ProbeVerdict };

const MAX_MESSAGE_CHARS = 200;
const DEFAULT_RETRY_AFTER_MS = 60_000;
/** Limit on the time for which a throttled registry is not probed. */
export const MAX_RETRY_AFTER_MS = 3_600_000;

/**
 * Returns the message in an error body (`errors[0].message` of the distribution specification,
 * `details` of token services), safe to print; empty without a message.
 */
export function errorText(body: string): string {
  const fields = jsonFields(body);
  const list = fields["errors"];
  const error = Array.isArray(list) ? { ...list[0] } : fields;
  const message = ["message", "details", "detail", "error_description", "error"]
    .map((name) => error[name]).find((text) => typeof text === "string" && text !== "");
  return typeof message === "string" ? printable(message) : "";
}

/** Returns the fields of a JSON object; none for any other text. */
export function jsonFields(text: string): Readonly<Record<string, unknown>> {
  try {
    return { ...JSON.parse(text) };
  } catch {
    return {};
  }
}

/** Returns a message on one line, truncated, and without strings that may be tokens. */
function printable(message: string): string {
  const line = message.replaceAll(/[\p{Cc}\p{Cf}\s]+/gu, " ").trim();
  const safe = line.replaceAll(/[A-Za-z0-9+/=_-]{40,}/g, "[hidden]");
  return safe.length > MAX_MESSAGE_CHARS ? `${safe.slice(0, MAX_MESSAGE_CHARS)}…` : safe;
}

/** Returns the response, or a verdict if the failure does not depend on the credential. */
export function checkAvailable(
  server: string,
  result: RegistryHttpResult,
  nowMs: number,
): ResponseResult {
  switch (result.kind) {
    case "timed-out":
      return unreachable(`${server} did not respond in time`);
    case "unreachable":
      return unreachable(`${server}: ${result.detail}`);
    case "answered": {
      const detail = `${server} responded with status ${result.status}`;
      if (result.status === 429) {
        const retryAtMs = retryAt(result.headers.get("retry-after"), nowMs);
        return { kind: "verdict", verdict: { kind: "throttled", detail, retryAtMs } };
      }
      return result.status >= 500 ? unreachable(detail) : { kind: "response", response: result };
    }
    default:
      return result satisfies never;
  }
}

function unreachable(detail: string): ResponseResult {
  return { kind: "verdict", verdict: { kind: "unreachable", detail } };
}

/** Returns `Retry-After` as wall time, at most {@linkcode MAX_RETRY_AFTER_MS} from now. */
function retryAt(text: string | undefined, nowMs: number): number {
  const ms = text === undefined
    ? NaN
    : /^\d{1,9}$/.test(text)
    ? Number(text) * 1_000
    : Date.parse(text) - nowMs;
  return nowMs + (ms >= 0 ? Math.min(ms, MAX_RETRY_AFTER_MS) : DEFAULT_RETRY_AFTER_MS);
}

/** One challenge of a `WWW-Authenticate` header. */
export interface Challenge {
  /** Lower case. */
  readonly scheme: string;
  /** Parameters by name in lower case. Of several with one name, the first is used. */
  readonly params: ReadonlyMap<string, string>;
}

const MAX_HEADER = 16 * 1024;
const MAX_CHALLENGES = 16;

const SEPARATORS = /[ \t,]*/y;
const PARAM =
  /([!#$%&'*+.^_`|~0-9A-Za-z-]+)[ \t]*=[ \t]*(?:"((?:[^"\\]|\\.)*)"|([!#$%&'*+.^_`|~0-9A-Za-z-]+))/y;
/** A scheme, and what some schemes have instead of parameters. */
const SCHEME =
  /([!#$%&'*+.^_`|~0-9A-Za-z-]+)(?![^ \t,])(?![ \t]*=)(?: +[A-Za-z0-9._~+/-]+=*(?=[ \t]*(?:,|$)))?/y;

/**
 * Parses a `WWW-Authenticate` header, or several joined by commas (RFC 9110, 11.6.1: commas separate
 * challenges as well as parameters). Returns the challenges before the first syntax error.
 */
export function parseChallenges(header: string): readonly Challenge[] {
  const text = header.slice(0, MAX_HEADER);
  const challenges: { readonly scheme: string; readonly params: Map<string, string> }[] = [];
  let at = 0;
  const match = (pattern: RegExp) => {
    pattern.lastIndex = at;
    const found = pattern.exec(text);
    if (found !== null) at = pattern.lastIndex;
    return found;
  };
  while (true) {
    match(SEPARATORS);
    const [, name = "", quoted = "", plain] = match(PARAM) ?? [];
    const params = challenges.at(-1)?.params;
    if (name !== "" && params !== undefined) {
      if (!params.has(name.toLowerCase())) {
        params.set(name.toLowerCase(), plain ?? quoted.replaceAll(/\\(.)/g, "$1"));
      }
      continue;
    }
    const scheme = name === "" ? match(SCHEME)?.[1] : undefined;
    if (scheme === undefined || challenges.length >= MAX_CHALLENGES) return challenges;
    challenges.push({ scheme: scheme.toLowerCase(), params: new Map() });
  }
}
