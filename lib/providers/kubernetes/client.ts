import { type Fields, parseFields } from "../../formats/mod.ts";
import {
  type CallOptions,
  defined,
  formatDuration,
  type KubeHttp,
  type KubeHttpFailure,
  type KubeHttpRequest,
  type KubeHttpResponse,
  type KubeStreamEnd,
  Secret,
} from "../../model/mod.ts";
import type { AuthenticatedConnection, ConnectionResolver, KubeFailure } from "./connection.ts";

/** One call to the core API, in terms of RBAC. */
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

/** An object or list, or a failure. */
export type KubeResult =
  | { readonly kind: "ok"; readonly value: Fields }
  | { readonly kind: "failed"; readonly failure: KubeFailure };

const TIMEOUT_MS = 30_000;
const MAX_RESPONSE_BYTES = 32 * 1024 * 1024;
/** A Secret has at most 1 MiB, a third more in base64, and its metadata is limited too. */
const MAX_EVENT_BYTES = 4 * 1024 * 1024;
/** Servers send a bookmark about once a minute, so the connection is lost after this time. */
const IDLE_MS = 150_000;

/** A client for the API server. Its calls reject only when `signal` aborts. */
export class KubeClient {
  readonly #http: KubeHttp;
  readonly #connections: ConnectionResolver;

  constructor(http: KubeHttp, connections: ConnectionResolver) {
    this.#http = http;
    this.#connections = connections;
  }

  async call(spec: KubeCallSpec, options: CallOptions = {}): Promise<KubeResult> {
    const response = await this.#authenticated(
      spec,
      (connection) => this.#http.request(requestOf(spec, connection), options),
    );
    if (response.kind === "failed") return response;
    if (response.kind !== "answered" || response.status > 299) {
      return { kind: "failed", failure: failureOf(spec, response) };
    }
    const value = parseFields(response.body.reveal());
    if (value !== undefined) return { kind: "ok", value };
    const detail = "the response of the API server is not an object";
    return { kind: "failed", failure: { reason: "source-unreachable", detail } };
  }

  /** Watches until the watch ends. Returns the failure when it did not start. */
  async watch(
    spec: KubeCallSpec,
    handler: { started(): void; event(event: Fields): void },
    options: CallOptions = {},
  ): Promise<KubeFailure | undefined> {
    const lines = {
      started: () => handler.started(),
      line(text: string) {
        // A truncated event is no object.
        const value = parseFields(text);
        if (value !== undefined) handler.event(value);
      },
    };
    const end = await this.#authenticated(spec, (connection) => {
      const request = requestOf(spec, connection);
      const limits = { maxBytes: MAX_EVENT_BYTES, idleMs: IDLE_MS };
      return this.#http.stream({ ...request, ...limits }, lines, options);
    });
    if (end.kind === "ended" || end.kind === "cut") return undefined;
    return end.kind === "failed" ? end.failure : failureOf(spec, end);
  }

  /** Retries once after 401, because the token or certificate may have been rotated. */
  async #authenticated<T extends KubeStreamEnd>(
    spec: KubeCallSpec,
    send: (connection: AuthenticatedConnection) => Promise<T>,
  ): Promise<T | Failed> {
    for (let attempt = 1;; attempt++) {
      const resolved = await this.#connections.resolve();
      if (resolved.kind === "failed") return resolved;
      const response = await send(resolved.connection);
      if (response.kind !== "answered" || response.status !== 401) return response;
      this.#connections.invalidate();
      if (attempt > 1) return { kind: "failed", failure: failureOf(spec, response) };
    }
  }
}

type Failed = KubeResult & { readonly kind: "failed" };

function requestOf(
  spec: KubeCallSpec,
  { connection, token }: AuthenticatedConnection,
): KubeHttpRequest {
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
    headers: Object.entries(defined({
      "Authorization": token && new Secret(`Bearer ${token.reveal()}`),
      "Accept": json,
      "User-Agent": new Secret("nydus-auth-agent"),
      "Content-Type": body === undefined ? undefined : json,
    })),
    ...(body !== undefined && { body: JSON.stringify(body) }),
    timeoutMs: TIMEOUT_MS,
    maxBytes: MAX_RESPONSE_BYTES,
  };
}

function failureOf(spec: KubeCallSpec, response: KubeHttpResponse | KubeHttpFailure): KubeFailure {
  const reason = "source-unreachable";
  switch (response.kind) {
    case "answered":
      return rejected(spec, response);
    case "timed-out": {
      const limit = formatDuration(TIMEOUT_MS);
      return { reason, detail: `the API server did not respond within ${limit}` };
    }
    case "too-large":
      return { reason, detail: "the response of the API server is too large" };
    case "unreachable":
      return { reason, detail: `cannot reach the API server: ${response.detail}` };
    default:
      return response satisfies never;
  }
}

function rejected(spec: KubeCallSpec, { status, retryAfterMs }: KubeHttpResponse): KubeFailure {
  const more = defined({ status, retryAfterMs });
  if (status === 401) {
    const detail = "the API server rejected the agent's credential (401)";
    return { reason: "source-refused", detail, ...more };
  }
  if (status !== 403) {
    const detail = `the API server responded with status ${status}`;
    return { reason: "source-unreachable", detail, ...more };
  }
  // A node's credential is also checked for each audience, with a verb that this call does not show.
  const audience = spec.subresource === "token"
    ? "; the credential of a node also needs request-serviceaccounts-token-audience"
    : "";
  const detail = `RBAC does not allow the agent to ${describeRule(spec)}${audience}`;
  return { reason: "forbidden-by-rbac", detail, ...more };
}

/** Describes the RBAC rule that a call needs: verb, resource, namespace. */
function describeRule({ verb, resource, subresource, namespace, name }: KubeCallSpec): string {
  const full = subresource === undefined ? resource : `${resource}/${subresource}`;
  const where = namespace === undefined
    ? "in all namespaces (ClusterRole)"
    : `in namespace ${namespace}`;
  return `${verb} ${full}${name === undefined ? "" : ` (${name})`} ${where}`;
}
