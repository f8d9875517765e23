import {
  type CallOptions,
  formatDuration,
  type KubeHttp,
  type KubeHttpFailure,
  type KubeHttpRequest,
  type KubeHttpResponse,
  type KubeStreamEnd,
  type ReasonCode,
  Secret,
} from "../../model/mod.ts";
import { type Fields, isFields } from "../../formats/mod.ts";
import type { KubeAccess, KubeIdentity } from "./kube_access.ts";

/** One call of the core API, in the words of RBAC. */
export interface KubeCallSpec {
  readonly verb: "get" | "list" | "watch" | "create";
  readonly resource: "secrets" | "pods" | "serviceaccounts";
  readonly subresource?: "token";
  /** Undefined: all namespaces. */
  readonly namespace?: string;
  readonly name?: string;
  readonly query?: Readonly<Record<string, string>>;
  readonly body?: unknown;
}

/** Why a call brought nothing. */
export interface KubeFailure {
  readonly reason: ReasonCode;
  /** For people; quotes nothing that was sent or received. */
  readonly detail: string;
  /** Of an answer: its HTTP status. */
  readonly status?: number;
  readonly retryAfterMs?: number;
  /** The answer was larger than allowed. */
  readonly tooLarge?: true;
}

/** An object or list, or why there is none. */
export type KubeAnswer =
  | { readonly kind: "ok"; readonly value: Fields }
  | { readonly kind: "failed"; readonly failure: KubeFailure };

/** How a watch ended: after it had begun, or by a failure. */
export type KubeWatchEnd =
  | { readonly kind: "ended" | "cut" }
  | { readonly kind: "failed"; readonly failure: KubeFailure };

const TIMEOUT_MS = 30_000;
const MAX_ANSWER_BYTES = 32 * 1024 * 1024;
/** A Secret is at most 1 MiB, in base64 a third more, and its metadata is bounded too. */
const MAX_EVENT_BYTES = 4 * 1024 * 1024;
/** Servers send a bookmark about once a minute: silence for longer means a dead connection. */
const IDLE_MS = 150_000;

/** Calls to the API server that {@linkcode KubeAccess} finds. Rejects for nothing but `signal`. */
export class KubeClient {
  readonly #http: KubeHttp;
  readonly #access: KubeAccess;

  constructor(http: KubeHttp, access: KubeAccess) {
    this.#http = http;
    this.#access = access;
  }

  async call(spec: KubeCallSpec, options: CallOptions = {}): Promise<KubeAnswer> {
    const answer = await this.#authenticated(
      spec,
      (identity) => this.#http.request(requestOf(spec, identity), options),
    );
    if (answer.kind === "failed") return answer;
    if (answer.kind !== "answered" || answer.status > 299) return failed(spec, answer);
    const value = parse(answer.body);
    return value === undefined
      ? failure("source-unreachable", "the API server's answer is no object")
      : { kind: "ok", value };
  }

  /** Calls back when the watch begins, and for every event, until it ends. */
  async watch(
    spec: KubeCallSpec,
    hears: { begun(): void; event(event: Fields): void },
    { lane = 0, ...options }: CallOptions & { readonly lane?: number } = {},
  ): Promise<KubeWatchEnd> {
    const lines = {
      started: () => hears.begun(),
      line(text: string) {
        const value = parse(new Secret(text));
        if (value !== undefined) hears.event(value);
      },
    };
    const end = await this.#authenticated(spec, (identity) => {
      const request = { ...requestOf(spec, identity), maxBytes: MAX_EVENT_BYTES, idleMs: IDLE_MS };
      return this.#http.stream({ ...request, lane }, lines, options);
    });
    if (end.kind === "ended" || end.kind === "cut") return { kind: end.kind };
    return end.kind === "failed" ? end : failed(spec, end);
  }

  /** Once more when we are not known: a token or certificate may just have been replaced. */
  async #authenticated<T extends KubeStreamEnd>(
    spec: KubeCallSpec,
    send: (identity: KubeIdentity) => Promise<T>,
  ): Promise<T | (KubeAnswer & { readonly kind: "failed" })> {
    for (let attempt = 1;; attempt++) {
      const access = await this.#access.identity();
      if (access.kind === "failed") return failure(access.reason, access.detail);
      const answer = await send(access.identity);
      if (answer.kind !== "answered" || answer.status !== 401) return answer;
      this.#access.suspect();
      if (attempt > 1) return failed(spec, answer);
    }
  }
}

function requestOf(spec: KubeCallSpec, { connection, headers }: KubeIdentity): KubeHttpRequest {
  const { namespace, resource, name, subresource, query = {}, body } = spec;
  const parts = [
    "/api/v1",
    ...(namespace === undefined ? [] : ["namespaces", encodeURIComponent(namespace)]),
    resource,
    ...(name === undefined ? [] : [encodeURIComponent(name)]),
    ...(subresource === undefined ? [] : [subresource]),
  ];
  const search = new URLSearchParams(query).toString();
  const json = new Secret("application/json");
  return {
    connection,
    method: spec.verb === "create" ? "POST" : "GET",
    path: `${parts.join("/")}${search === "" ? "" : `?${search}`}`,
    headers: [
      ...headers,
      ["Accept", json],
      ["User-Agent", new Secret("nydus-auth-agent")],
      ...(body === undefined ? [] : [["Content-Type", json] as const]),
    ],
    ...(body !== undefined && { body: JSON.stringify(body) }),
    timeoutMs: TIMEOUT_MS,
    maxBytes: MAX_ANSWER_BYTES,
  };
}

/** Undefined for what is no object: an event that was cut, a gateway's page. */
function parse(text: Secret): Fields | undefined {
  try {
    const value: unknown = JSON.parse(text.reveal());
    return isFields(value) ? value : undefined;
  } catch {
    return undefined;
  }
}

function failure(
  reason: ReasonCode,
  detail: string,
  more: Omit<KubeFailure, "reason" | "detail"> = {},
): KubeAnswer & { readonly kind: "failed" } {
  return { kind: "failed", failure: { reason, detail, ...more } };
}

function failed(
  spec: KubeCallSpec,
  answer: KubeHttpResponse | KubeHttpFailure,
): KubeAnswer & { readonly kind: "failed" } {
  switch (answer.kind) {
    case "answered":
      return refused(spec, answer);
    case "timed-out":
      return failure(
        "source-unreachable",
        `the API server did not answer within ${formatDuration(TIMEOUT_MS)}`,
      );
    case "too-large":
      return failure("source-unreachable", "the API server's answer is too large", {
        tooLarge: true,
      });
    case "unreachable":
      return failure("source-unreachable", `the API server cannot be reached: ${answer.detail}`);
    default:
      return answer satisfies never;
  }
}

function refused(spec: KubeCallSpec, { status, retryAfterMs }: KubeHttpResponse) {
  const more = { status, ...(retryAfterMs !== undefined && { retryAfterMs }) };
  if (status === 401) {
    return failure("source-refused", "the API server does not accept our credential (401)", more);
  }
  if (status !== 403) {
    return failure("source-unreachable", `the API server answered with status ${status}`, more);
  }
  // Who asks as a node is allowed single audiences, by a verb that this call does not show.
  const audience = spec.subresource === "token"
    ? ` (who asks as a node needs request-serviceaccounts-token-audience for the audience too)`
    : "";
  return failure(
    "forbidden-by-rbac",
    `we may not ${describeRule(spec)}: RBAC has no rule for it${audience}`,
    more,
  );
}

/** The rule that a call needs: verb, resource, namespace. */
export function describeRule(
  { verb, resource, subresource, namespace, name }: KubeCallSpec,
): string {
  const full = subresource === undefined ? resource : `${resource}/${subresource}`;
  const where = namespace === undefined
    ? "in all namespaces (ClusterRole)"
    : `in namespace ${namespace}`;
  return `${verb} ${full}${name === undefined ? "" : ` (${name})`} ${where}`;
}
