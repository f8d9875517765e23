import {
  type Credential,
  type ProbeTarget,
  type ProbeVerdict,
  readRefusal,
  type RegistryHttpRequest,
  type RegistryHttpResult,
  Secret,
} from "../model/mod.ts";

/** A request to a registry or its token service, without transport settings and limits. */
export type ProbeRequest = Pick<RegistryHttpRequest, "method" | "url" | "headers" | "body">;

/** A response of a registry or its token service. */
export type RegistryResponse = Extract<RegistryHttpResult, { readonly kind: "answered" }>;

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
): RegistryResponse | ProbeVerdict {
  if (result.kind === "timed-out") {
    return { kind: "unreachable", detail: `${server} did not respond in time` };
  }
  if (result.kind === "unreachable") {
    return { kind: "unreachable", detail: `${server}: ${result.detail}` };
  }
  const detail = `${server} responded with status ${result.status}`;
  if (result.status === 429) {
    const retryAtMs = retryAt(result.headers.get("retry-after"), nowMs);
    return { kind: "throttled", detail, retryAtMs };
  }
  return result.status >= 500 ? { kind: "unreachable", detail } : result;
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

const MAX_TOKEN = 64 * 1024;
const CLIENT_ID = "nydus-auth-agent";

/**
 * Returns the URL of the registry's token service, if the credential may be sent there. An attacker
 * who can impersonate the registry controls the realm. Another host is therefore trusted only when
 * TLS verifies both the registry and the token service. Otherwise the realm must be on the
 * registry's own host, or both must be on loopback.
 */
export function trustedRealm(target: ProbeTarget, challenge: Challenge): URL | ProbeVerdict {
  const untrusted = (detail: string) => ({ kind: "unknown", detail } as const);
  const url = URL.parse(challenge.params.get("realm") ?? "");
  if (url === null) return untrusted("the registry specifies no valid token service");
  if (url.username !== "" || url.password !== "") {
    return untrusted("the URL of the token service contains a user name or password");
  }
  const registry = new URL(`${target.scheme}://${target.host}`);
  if (url.protocol !== "https:" && !(url.protocol === "http:" && target.scheme === "http")) {
    return untrusted(`the token service at ${url.host} does not use TLS`);
  }
  const isVerified = target.scheme === "https" && !target.skipVerify && url.protocol === "https:";
  const isSameHost = url.hostname === registry.hostname;
  const isLocal = isLoopback(url.host) && isLoopback(registry.host);
  if (isVerified || isSameHost || isLocal) return url;
  return untrusted(
    `the token service at ${url.host} is not trusted without a verified registry certificate`,
  );
}

/** Whether a host, with or without a port, is a loopback address. */
export function isLoopback(host: string): boolean {
  const name = host.replace(/:\d+$/, "").toLowerCase();
  return name === "localhost" || name === "[::1]" || /^127(?:\.\d{1,3}){3}$/.test(name);
}

/** Returns the request for a token to pull a repository; anonymous without a credential. */
export function tokenRequest(
  realm: URL,
  challenge: Challenge,
  repository: string,
  credential: Credential | undefined,
): ProbeRequest {
  const service = challenge.params.get("service");
  const scope = `repository:${repository}:pull`;
  if (credential?.kind === "identity-token") {
    const form = new URLSearchParams({
      grant_type: "refresh_token",
      client_id: CLIENT_ID,
      scope,
      refresh_token: credential.token.reveal(),
      ...(service !== undefined && { service }),
    });
    const type = new Secret("application/x-www-form-urlencoded");
    return {
      method: "POST",
      url: realm.href,
      headers: [["content-type", type]],
      body: new Secret(form.toString()),
    };
  }
  const url = new URL(realm);
  if (service !== undefined) url.searchParams.set("service", service);
  url.searchParams.set("scope", scope);
  const headers = credential?.kind === "basic" ? [basicHeader(credential)] : [];
  return { method: "GET", url: url.href, headers };
}

/** Returns the header `Authorization: Basic …`. */
export function basicHeader(
  { username, password }: Extract<Credential, { readonly kind: "basic" }>,
): readonly [string, Secret] {
  const bytes = new TextEncoder().encode(`${username}:${password.reveal()}`);
  return ["authorization", new Secret(`Basic ${bytes.toBase64()}`)];
}

/** Returns the token in a response, or the verdict on the credential. */
export function readTokenResponse({ status, body }: RegistryResponse): Secret | ProbeVerdict {
  if (status === 200) {
    const detail = "the response of the token service contains no token";
    return tokenIn(body.reveal()) ?? { kind: "unknown", detail };
  }
  const message = errorText(body.reveal());
  const detail = `the token service responded with status ${status}` +
    (message === "" ? "" : `: ${message}`);
  if (status === 401) return { kind: "refused", detail };
  if (status === 403) return { kind: readRefusal(message) ?? "forbidden", detail };
  if (status === 400 && /invalid_grant/.test(body.reveal())) return { kind: "refused", detail };
  const isRedirect = status >= 300 && status < 400;
  const note = isRedirect ? ", and redirects are not followed" : "";
  return { kind: "unknown", detail: `${detail}${note}` };
}

function tokenIn(text: string): Secret | undefined {
  const { token, access_token: access } = jsonFields(text);
  const found = [token, access].find((item) => typeof item === "string" && item !== "");
  if (typeof found !== "string" || found.length > MAX_TOKEN) return undefined;
  return /^[\x21-\x7e]+$/.test(found) ? new Secret(found) : undefined;
}
