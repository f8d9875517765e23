import {
  type CallOptions,
  type Clock,
  type Credential,
  defined,
  type ImageReference,
  type ProbeTarget,
  type ProbeVerdict,
  readRefusal,
  type RegistryHttp,
  type RegistryHttpRequest,
  type RegistryHttpResult,
  Secret,
} from "../model/mod.ts";

/** Options and dependencies of {@linkcode RegistryProbe}. */
export interface RegistryProbeOptions {
  readonly http: RegistryHttp;
  readonly clock: Clock;
}

const HUB = "docker.io";
const HUB_HOST = "registry-1.docker.io";
/** Limit on all requests of a probe together. */
const TIMEOUT_MS = 5_000;
const MAX_BODY_BYTES = 128 * 1024;
const ACCEPT = [
  "application/vnd.oci.image.index.v1+json",
  "application/vnd.oci.image.manifest.v1+json",
  "application/vnd.docker.distribution.manifest.list.v2+json",
  "application/vnd.docker.distribution.manifest.v2+json",
].join(", ");

/**
 * Returns the target for an image without further configuration: TLS except on loopback, like the
 * default hosts of containerd (`docker.MatchLocalhost`).
 */
export function defaultProbeTarget(image: ImageReference): ProbeTarget {
  const { registry, repository } = image;
  return {
    scheme: isLoopback(registry) ? "http" : "https",
    host: registry === HUB ? HUB_HOST : registry,
    repository,
    ...defined({ reference: image.digest ?? image.tag }),
    skipVerify: false,
    caFiles: [],
  };
}

/**
 * Verifies credentials against a registry by the distribution specification: `GET /v2/`, the
 * challenge, and a HEAD of the image's manifest. Redirects are not followed: they may lead to a login
 * page.
 */
export class RegistryProbe {
  readonly #options: RegistryProbeOptions;

  constructor(options: RegistryProbeOptions) {
    this.#options = options;
  }

  /** Without a credential: probes for anonymous access. Rejects only when `signal` aborts. */
  async probe(
    target: ProbeTarget,
    credential: Credential | undefined,
    options: CallOptions = {},
  ): Promise<ProbeVerdict> {
    const deadlineMs = this.#options.clock.monotonicMs() + TIMEOUT_MS;
    const verdict = await this.#run(target, deadlineMs, options).verdict(credential);
    const { fallback } = target;
    const isConclusive = verdict.kind !== "unreachable" && verdict.kind !== "unknown";
    if (isConclusive || fallback === undefined) return verdict;
    return await this.#run(fallback, deadlineMs, options).verdict(credential);
  }

  #run(target: ProbeTarget, deadlineMs: number, options: CallOptions): ProbeRun {
    const { http, clock } = this.#options;
    return new ProbeRun(target, async (server, request) => {
      const timeoutMs = Math.max(1, deadlineMs - clock.monotonicMs());
      const { skipVerify, caFiles, proxyUrl } = target;
      const transport = { skipVerify, caFiles, ...defined({ proxyUrl }) };
      const limits = { timeoutMs, maxBytes: MAX_BODY_BYTES };
      const result = await http.request({ ...request, ...transport, ...limits }, options);
      return checkAvailable(server, result, clock.wallMs());
    });
  }
}

type Headers = readonly (readonly [name: string, value: Secret])[];
type Send = (
  server: "the registry" | "the token service",
  request: ProbeRequest,
) => Promise<RegistryResponse | ProbeVerdict>;
/** The headers that authenticate requests to the registry, or the verdict. */
type Authorization =
  | { readonly kind: "headers"; readonly headers: Headers; readonly isFromTokenService: boolean }
  | ProbeVerdict;

/** A probe of one credential at one target. */
class ProbeRun {
  readonly #target: ProbeTarget;
  readonly #send: Send;

  constructor(target: ProbeTarget, send: Send) {
    this.#target = target;
    this.#send = send;
  }

  async verdict(credential: Credential | undefined): Promise<ProbeVerdict> {
    const root = await this.#request("GET", `${this.#base}/v2/`, []);
    if (root.kind !== "answered") return root;
    let challenges = challengesOf(root);
    if (challenges.length === 0) {
      // The root is public: the resource decides, and may have its own challenge.
      const open = await this.#requestResource([]);
      if (open.kind !== "answered") return open;
      challenges = challengesOf(open);
      if (challenges.length === 0 && credential?.kind !== "registry-token") {
        return await this.#judgeWithoutChallenge(open);
      }
    }
    const authorization = await this.#authorize(challenges, credential);
    if (authorization.kind !== "headers") return authorization;
    const { headers, isFromTokenService } = authorization;
    const response = await this.#requestResource(headers);
    if (response.kind !== "answered") return response;
    const success = credential === undefined ? "anonymous" : "accepted";
    return await this.#judge(response, headers, success, isFromTokenService);
  }

  get #base(): string {
    return `${this.#target.scheme}://${this.#target.host}`;
  }

  get #resource(): string {
    const { repository, reference } = this.#target;
    const path = `${this.#base}/v2/${repository}`;
    return reference === undefined ? `${path}/tags/list?n=1` : `${path}/manifests/${reference}`;
  }

  async #requestResource(headers: Headers): Promise<RegistryResponse | ProbeVerdict> {
    // Registries respond with 405 to a HEAD of the tag list.
    const method = this.#target.reference === undefined ? "GET" : "HEAD";
    return await this.#request(method, this.#resource, headers);
  }

  async #request(
    method: "GET" | "HEAD",
    url: string,
    headers: Headers,
  ): Promise<RegistryResponse | ProbeVerdict> {
    const accept = ["accept", new Secret(ACCEPT)] as const;
    return await this.#send("the registry", { method, url, headers: [accept, ...headers] });
  }

  /** Prefers Bearer to Basic, like containerd. */
  async #authorize(
    challenges: readonly Challenge[],
    credential: Credential | undefined,
  ): Promise<Authorization> {
    if (credential?.kind === "registry-token") return bearer(credential.token, false);
    const challenge = challenges.find(({ scheme }) => scheme === "bearer");
    if (challenge !== undefined) return await this.#requestToken(challenge, credential);
    if (!challenges.some(({ scheme }) => scheme === "basic")) {
      const schemes = challenges.map(({ scheme }) => scheme).join(", ");
      const detail = `the registry requires unsupported authentication: ${schemes}`;
      return { kind: "unknown", detail };
    }
    if (credential === undefined) {
      return { kind: "refused", detail: "the registry requires a user name and a password" };
    }
    if (credential.kind === "identity-token") {
      const detail = "identity tokens need a token service, and the registry has none";
      return { kind: "refused", detail };
    }
    return { kind: "headers", headers: [basicHeader(credential)], isFromTokenService: false };
  }

  async #requestToken(
    challenge: Challenge,
    credential: Credential | undefined,
  ): Promise<Authorization> {
    const realm = trustedRealm(this.#target, challenge);
    if (!(realm instanceof URL)) return realm;
    const request = tokenRequest(realm, challenge, this.#target.repository, credential);
    const response = await this.#send("the token service", request);
    if (response.kind !== "answered") return response;
    const token = readTokenResponse(response);
    return token instanceof Secret ? bearer(token, true) : token;
  }

  /** A refusal without a challenge is no verdict on the credential, which was never sent. */
  async #judgeWithoutChallenge(response: RegistryResponse): Promise<ProbeVerdict> {
    const found = await this.#judge(response, [], "anonymous", false);
    if (found.kind === "anonymous" || found.kind === "not-found") return found;
    return { kind: "unknown", detail: `${found.detail}, without an authentication challenge` };
  }

  /** Judges a response. Responses to HEAD have no body, so the message is read with a GET. */
  async #judge(
    response: RegistryResponse,
    headers: Headers,
    success: "accepted" | "anonymous",
    isFromTokenService: boolean,
  ): Promise<ProbeVerdict> {
    const { status } = response;
    if (status >= 200 && status < 300) {
      return { kind: success, detail: "the registry serves the image" };
    }
    if (status >= 300 && status < 400) {
      return { kind: "unknown", detail: "the registry redirects, and redirects are not followed" };
    }
    if (status === 404) return { kind: "not-found", detail: "the registry has no such image" };
    const message = await this.#errorMessage(headers);
    const detail = `the registry responded with status ${status}` +
      (message === "" ? "" : `: ${message}`);
    const kind = readRefusal(message) ?? this.#kindOf(response, isFromTokenService);
    return { kind, detail };
  }

  /**
   * 401 for a token that the registry's token service issued means that the token lacks the
   * permission (RFC 6750, `insufficient_scope`). Docker Hub, Harbor and GitLab respond this way.
   */
  #kindOf(
    response: RegistryResponse,
    isFromTokenService: boolean,
  ): "refused" | "forbidden" | "unknown" {
    if (response.status === 403) return "forbidden";
    if (response.status !== 401) return "unknown";
    const challenge = challengesOf(response).find(({ scheme }) => scheme === "bearer");
    const error = challenge?.params.get("error");
    if (error === "insufficient_scope") return "forbidden";
    return isFromTokenService && error !== "invalid_token" ? "forbidden" : "refused";
  }

  async #errorMessage(headers: Headers): Promise<string> {
    const response = await this.#request("GET", this.#resource, headers);
    return response.kind === "answered" ? errorText(response.body.reveal()) : "";
  }
}

function challengesOf({ status, headers }: RegistryResponse): readonly Challenge[] {
  return status === 401 ? parseChallenges(headers.get("www-authenticate") ?? "") : [];
}

function bearer(token: Secret, isFromTokenService: boolean): Authorization {
  const value = new Secret(`Bearer ${token.reveal()}`);
  return { kind: "headers", headers: [["authorization", value]], isFromTokenService };
}

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
