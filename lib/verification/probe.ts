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
  type RegistryHttpResult,
  Secret,
} from "../model/mod.ts";
import {
  type Challenge,
  checkAvailable,
  errorText,
  parseChallenges,
  type ProbeRequest,
  type RegistryResponse,
  type ResponseResult,
} from "./registry_responses.ts";
import {
  basicHeader,
  isLoopback,
  readTokenResponse,
  tokenRequest,
  trustedRealm,
} from "./token_service.ts";

/** Options and dependencies of {@linkcode RegistryProbe}. */
export interface RegistryProbeOptions {
  readonly http: RegistryHttp;
  readonly clock: Clock;
  /**
   * Limit on all requests of a probe together (ms).
   * @default 5000
   */
  readonly timeoutMs?: number;
}

const HUB = "docker.io";
const HUB_HOST = "registry-1.docker.io";
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
    const { clock, timeoutMs = TIMEOUT_MS } = this.#options;
    const deadlineMs = clock.monotonicMs() + timeoutMs;
    const verdict = await this.#run(target, deadlineMs, options).verdict(credential);
    const { fallback } = target;
    const isConclusive = verdict.kind !== "unreachable" && verdict.kind !== "unknown";
    if (isConclusive || fallback === undefined) return verdict;
    return await this.#run(fallback, deadlineMs, options).verdict(credential);
  }

  #run(target: ProbeTarget, deadlineMs: number, options: CallOptions): ProbeRun {
    const { http, clock } = this.#options;
    return new ProbeRun(target, clock, (request) => {
      const timeoutMs = deadlineMs - clock.monotonicMs();
      if (timeoutMs <= 0) return Promise.resolve({ kind: "timed-out" });
      const { skipVerify, caFiles, proxyUrl } = target;
      const transport = { skipVerify, caFiles, ...defined({ proxyUrl }) };
      const limits = { timeoutMs, maxBytes: MAX_BODY_BYTES };
      return http.request({ ...request, ...transport, ...limits }, options);
    });
  }
}

type Headers = readonly (readonly [name: string, value: Secret])[];
type Send = (request: ProbeRequest) => Promise<RegistryHttpResult>;
type VerdictResult = { readonly kind: "verdict"; readonly verdict: ProbeVerdict };
/** The headers that authenticate requests to the registry, or the verdict. */
type Authorization =
  | { readonly kind: "headers"; readonly headers: Headers; readonly isFromTokenService: boolean }
  | VerdictResult;

/** A probe of one credential at one target. */
class ProbeRun {
  readonly #target: ProbeTarget;
  readonly #clock: Clock;
  readonly #send: Send;

  constructor(target: ProbeTarget, clock: Clock, send: Send) {
    this.#target = target;
    this.#clock = clock;
    this.#send = send;
  }

  async verdict(credential: Credential | undefined): Promise<ProbeVerdict> {
    const root = await this.#request("GET", `${this.#base}/v2/`, []);
    if (root.kind === "verdict") return root.verdict;
    let challenges = challengesOf(root.response);
    if (challenges.length === 0) {
      // The root is public: the resource decides, and may have its own challenge.
      const open = await this.#request(this.#method, this.#resource, []);
      if (open.kind === "verdict") return open.verdict;
      challenges = challengesOf(open.response);
      if (challenges.length === 0 && credential?.kind !== "registry-token") {
        return await this.#judgeWithoutChallenge(open.response);
      }
    }
    const authorization = await this.#authorize(challenges, credential);
    if (authorization.kind === "verdict") return authorization.verdict;
    const { headers, isFromTokenService } = authorization;
    const result = await this.#request(this.#method, this.#resource, headers);
    if (result.kind === "verdict") return result.verdict;
    const success = credential === undefined ? "anonymous" : "accepted";
    return await this.#judge(result.response, headers, success, isFromTokenService);
  }

  get #base(): string {
    return `${this.#target.scheme}://${this.#target.host}`;
  }

  get #resource(): string {
    const { repository, reference } = this.#target;
    const path = `${this.#base}/v2/${repository}`;
    return reference === undefined ? `${path}/tags/list?n=1` : `${path}/manifests/${reference}`;
  }

  /** Registries respond with 405 to a HEAD of the tag list. */
  get #method(): "GET" | "HEAD" {
    return this.#target.reference === undefined ? "GET" : "HEAD";
  }

  async #request(method: "GET" | "HEAD", url: string, headers: Headers): Promise<ResponseResult> {
    const accept = ["accept", new Secret(ACCEPT)] as const;
    const result = await this.#send({ method, url, headers: [accept, ...headers] });
    return checkAvailable("the registry", result, this.#clock.wallMs());
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
      return verdict("unknown", `the registry requires unsupported authentication: ${schemes}`);
    }
    if (credential === undefined) {
      return verdict("refused", "the registry requires a user name and a password");
    }
    if (credential.kind === "identity-token") {
      return verdict("refused", "identity tokens need a token service, and the registry has none");
    }
    return { kind: "headers", headers: [basicHeader(credential)], isFromTokenService: false };
  }

  async #requestToken(
    challenge: Challenge,
    credential: Credential | undefined,
  ): Promise<Authorization> {
    const realm = trustedRealm(this.#target, challenge);
    if (realm.kind === "untrusted") return verdict("unknown", realm.detail);
    const request = tokenRequest(realm.url, challenge, this.#target.repository, credential);
    const sent = await this.#send(request);
    const result = checkAvailable("the token service", sent, this.#clock.wallMs());
    if (result.kind === "verdict") return result;
    const token = readTokenResponse(result.response);
    return token.kind === "verdict" ? token : bearer(token.token, true);
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
    const result = await this.#request("GET", this.#resource, headers);
    return result.kind === "response" ? errorText(result.response.body.reveal()) : "";
  }
}

function challengesOf({ status, headers }: RegistryResponse): readonly Challenge[] {
  return status === 401 ? parseChallenges(headers.get("www-authenticate") ?? "") : [];
}

function bearer(token: Secret, isFromTokenService: boolean): Authorization {
  const value = new Secret(`Bearer ${token.reveal()}`);
  return { kind: "headers", headers: [["authorization", value]], isFromTokenService };
}

function verdict(kind: "refused" | "unknown", detail: string): VerdictResult {
  return { kind: "verdict", verdict: { kind, detail } };
}
