import {
  type CallOptions,
  type Clock,
  type Credential,
  type ProbeTarget,
  type ProbeVerdict,
  type RegistryHttp,
  type RegistryHttpRequest,
  type RegistryHttpResult,
  Secret,
} from "../model/mod.ts";
import { readRefusal } from "../model/mod.ts";
import { type Answer, errorText, problemVerdict } from "./registry_responses.ts";
import { type Challenge, parseChallenges } from "./challenge.ts";
import { basicHeader, readTokenAnswer, tokenRequest, trustedRealm } from "./token_service.ts";

/** How registries are asked. */
export interface RegistryProbeOptions {
  readonly http: RegistryHttp;
  readonly clock: Clock;
  /** For all requests of one probe together. Default 5 s. */
  readonly timeoutMs?: number;
}

/** A credential, ready to be sent to the registry itself. */
type Header = readonly (readonly [name: string, value: Secret])[];
type Authorized =
  | { readonly kind: "headers"; readonly headers: Header; readonly byToken: boolean }
  | { readonly kind: "verdict"; readonly verdict: ProbeVerdict };

const TIMEOUT_MS = 5_000;
const MAX_BODY_BYTES = 128 * 1024;
const ACCEPT = [
  "application/vnd.oci.image.index.v1+json",
  "application/vnd.oci.image.manifest.v1+json",
  "application/vnd.docker.distribution.manifest.list.v2+json",
  "application/vnd.docker.distribution.manifest.v2+json",
].join(", ");

/**
 * Asks a registry itself what it thinks of a credential, in the steps of the distribution
 * specification: `GET /v2/`, the challenge, and a HEAD of what a mount reads. No redirect is
 * followed: on a blob it means that the registry has said yes.
 */
export class RegistryProbe {
  readonly #options: RegistryProbeOptions;

  constructor(options: RegistryProbeOptions) {
    this.#options = options;
  }

  /** Without a credential: whether the image is public. Rejects for nothing but `signal`. */
  async probe(
    target: ProbeTarget,
    credential: Credential | undefined,
    { signal }: CallOptions = {},
  ): Promise<ProbeVerdict> {
    const { clock, timeoutMs = TIMEOUT_MS } = this.#options;
    const endMs = clock.monotonicMs() + timeoutMs;
    const verdict = await this.#run(target, endMs, signal).verdict(credential);
    const { fallback } = target;
    const isDeadEnd = verdict.kind === "unreachable" || verdict.kind === "unknown";
    if (!isDeadEnd || fallback === undefined) return verdict;
    return await this.#run(fallback, endMs, signal).verdict(credential);
  }

  #run(target: ProbeTarget, endMs: number, signal: AbortSignal | undefined): ProbeRun {
    const { http, clock } = this.#options;
    return new ProbeRun(target, clock, (request) => {
      const restMs = endMs - clock.monotonicMs();
      if (restMs <= 0) return Promise.resolve({ kind: "timed-out" });
      const { skipVerify, caFiles, proxyUrl } = target;
      const how = { skipVerify, caFiles, ...(proxyUrl && { proxyUrl }) };
      const bounds = { timeoutMs: restMs, maxBytes: MAX_BODY_BYTES };
      return http.request({ ...request, ...how, ...bounds }, signal ? { signal } : {});
    });
  }
}

type Sent = Pick<RegistryHttpRequest, "method" | "url" | "headers" | "body">;

/** One probe of one credential. */
class ProbeRun {
  readonly #target: ProbeTarget;
  readonly #clock: Clock;
  readonly #send: (request: Sent) => Promise<RegistryHttpResult>;

  constructor(
    target: ProbeTarget,
    clock: Clock,
    send: (request: Sent) => Promise<RegistryHttpResult>,
  ) {
    this.#target = target;
    this.#clock = clock;
    this.#send = send;
  }

  async verdict(credential: Credential | undefined): Promise<ProbeVerdict> {
    const root = await this.#ask("GET", `${this.#base}/v2/`, []);
    if (root.kind === "verdict") return root.verdict;
    let challenges = challengesOf(root.answer);
    if (challenges.length === 0) {
      // Open at the root: what is asked for decides, and may bring its own challenge.
      const open = await this.#ask(this.#method, this.#resource, []);
      if (open.kind === "verdict") return open.verdict;
      challenges = challengesOf(open.answer);
      if (challenges.length === 0 && credential?.kind !== "registry-token") {
        return await this.#judgeOpen(open.answer);
      }
    }
    const authorized = await this.#authorize(challenges, credential);
    if (authorized.kind === "verdict") return authorized.verdict;
    const { headers, byToken } = authorized;
    const asked = await this.#ask(this.#method, this.#resource, headers);
    if (asked.kind === "verdict") return asked.verdict;
    const kind = credential === undefined ? "anonymous" : "accepted";
    return await this.#judge(asked.answer, headers, kind, byToken);
  }

  get #base(): string {
    return `${this.#target.scheme}://${this.#target.host}`;
  }

  get #resource(): string {
    const { repository, reference, blob } = this.#target;
    const path = `${this.#base}/v2/${repository}`;
    if (blob !== undefined) return `${path}/blobs/${blob}`;
    return reference === undefined ? `${path}/tags/list?n=1` : `${path}/manifests/${reference}`;
  }

  /** Registries answer a HEAD of the list of tags with 405. */
  get #method(): "GET" | "HEAD" {
    const { reference, blob } = this.#target;
    return reference === undefined && blob === undefined ? "GET" : "HEAD";
  }

  async #ask(
    method: "GET" | "HEAD",
    url: string,
    headers: Header,
  ): Promise<
    | { readonly kind: "answer"; readonly answer: Answer }
    | { readonly kind: "verdict"; readonly verdict: ProbeVerdict }
  > {
    const accept = [["accept", new Secret(ACCEPT)]] as const;
    const result = await this.#send({ method, url, headers: [...accept, ...headers] });
    const problem = problemVerdict("the registry", result, this.#clock.wallMs());
    if (problem !== undefined) return { kind: "verdict", verdict: problem };
    if (result.kind === "answered") return { kind: "answer", answer: result };
    const detail = "the registry gave no answer";
    return { kind: "verdict", verdict: { kind: "unreachable", detail } };
  }

  /** What to send for a credential, by the challenge; Bearer goes before Basic as in containerd. */
  async #authorize(
    challenges: readonly Challenge[],
    credential: Credential | undefined,
  ): Promise<Authorized> {
    if (credential?.kind === "registry-token") {
      const value = new Secret(`Bearer ${credential.token.reveal()}`);
      return { kind: "headers", headers: [["authorization", value]], byToken: false };
    }
    const bearer = challenges.find(({ scheme }) => scheme === "bearer");
    if (bearer !== undefined) return await this.#token(bearer, credential);
    const names = challenges.map(({ scheme }) => scheme).join(", ");
    if (!challenges.some(({ scheme }) => scheme === "basic")) {
      return verdict("unknown", `the registry wants a form of login that is not known: ${names}`);
    }
    if (credential === undefined) {
      return verdict("refused", "the registry wants a user name and a password");
    }
    if (credential.kind === "identity-token") {
      return verdict("refused", "the registry has no token service, which identity tokens need");
    }
    return { kind: "headers", headers: [basicHeader(credential)], byToken: false };
  }

  async #token(challenge: Challenge, credential: Credential | undefined): Promise<Authorized> {
    const realm = trustedRealm(this.#target, challenge);
    if (realm.kind === "no") return verdict("unknown", `${realm.why}: it gets no credential`);
    const request = tokenRequest(realm.url, challenge, this.#target.repository, credential);
    const result = await this.#send(request);
    const problem = problemVerdict("the token service", result, this.#clock.wallMs());
    if (problem !== undefined) return { kind: "verdict", verdict: problem };
    if (result.kind !== "answered") return verdict("unknown", "the token service gave no answer");
    const read = readTokenAnswer(result);
    if (read.kind === "verdict") return read;
    const value = new Secret(`Bearer ${read.token.reveal()}`);
    return { kind: "headers", headers: [["authorization", value]], byToken: true };
  }

  /** An answer to nobody: a refusal says nothing of a credential that was never asked for. */
  async #judgeOpen(answer: Answer): Promise<ProbeVerdict> {
    const found = await this.#judge(answer, [], "anonymous", false);
    if (found.kind === "anonymous" || found.kind === "not-found") return found;
    return { kind: "unknown", detail: `${found.detail}, and does not say how to log in` };
  }

  /** What the answer to a HEAD means. It has no words: where they count, a GET asks for them. */
  async #judge(
    head: Answer,
    headers: Header,
    success: "accepted" | "anonymous",
    byToken: boolean,
  ): Promise<ProbeVerdict> {
    const { status } = head;
    if (status >= 200 && status < 300) return { kind: success, detail: "it is served" };
    if (status >= 300 && status < 400) {
      // Blobs are kept elsewhere; for anything else it may be a page to log in to.
      return this.#target.blob === undefined
        ? { kind: "unknown", detail: "the registry sends on, and a credential follows no redirect" }
        : { kind: success, detail: "the registry sends on to where it is kept" };
    }
    if (status === 404) return { kind: "not-found", detail: "the registry has no such image" };
    if (status !== 401 && status !== 403) {
      const words = await this.#words(headers);
      const kind = readRefusal(words) ?? "unknown";
      return { kind, detail: said(status, words) };
    }
    const words = await this.#words(headers);
    const kind = readRefusal(words) ?? (status === 403 ? "forbidden" : undefined) ??
      this.#unauthorized(head, byToken);
    return { kind, detail: said(status, words) };
  }

  /**
   * 401 for a token that the registry's own service has just given: it knows us, and the token
   * lacks the right (RFC 6750, `insufficient_scope`; Docker Hub, Harbor and GitLab answer so).
   */
  #unauthorized(head: Answer, byToken: boolean): "refused" | "forbidden" {
    const error = challengesOf(head).find(({ scheme }) => scheme === "bearer")?.params.get("error");
    if (error === "insufficient_scope") return "forbidden";
    return byToken && error !== "invalid_token" ? "forbidden" : "refused";
  }

  async #words(headers: Header): Promise<string> {
    const range = [["range", new Secret("bytes=0-0")]] as const;
    const more = this.#target.blob === undefined ? [] : range;
    const asked = await this.#ask("GET", this.#resource, [...headers, ...more]);
    return asked.kind === "answer" ? errorText(asked.answer.body.reveal()) : "";
  }
}

function challengesOf({ status, headers }: Answer): readonly Challenge[] {
  return status === 401 ? parseChallenges(headers.get("www-authenticate") ?? "") : [];
}

function verdict(kind: "refused" | "unknown", detail: string): Authorized {
  return { kind: "verdict", verdict: { kind, detail } };
}

function said(status: number, words: string): string {
  return `the registry answered ${status}${words === "" ? "" : `: ${words}`}`;
}
