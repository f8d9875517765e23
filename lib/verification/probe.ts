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
  Secret,
} from "../model/mod.ts";
import {
  basicHeader,
  type Challenge,
  checkAvailable,
  errorText,
  isLoopback,
  parseChallenges,
  type ProbeRequest,
  readTokenResponse,
  type RegistryResponse,
  tokenRequest,
  trustedRealm,
} from "./registry_protocol.ts";

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
