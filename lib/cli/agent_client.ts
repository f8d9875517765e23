import type { AgentConfig } from "../config/mod.ts";
import {
  AgentError,
  Deadline,
  messageOf,
  printable,
  Secret,
  type UnixHttpResult,
} from "../model/mod.ts";
import type { NodeStatus } from "../observability/mod.ts";
import { type Context, createUnixHttp } from "../platform/mod.ts";

// Programs that serve docker and the kubelet use this file, and start without the agent's modules.

/** A request to the local API of the running agent. */
export interface ApiRequest {
  readonly method: "GET" | "PUT" | "POST" | "DELETE";
  readonly path: `/v1/${string}`;
  readonly body?: object;
  /** @default 35 s, slightly more than the agent's own limit. */
  readonly timeoutMs?: number;
}

/** Result of a request to the local API. */
export type ApiResult<Body> =
  | { readonly kind: "answered"; readonly body: Body }
  | {
    /** No agent runs with this configuration, or this user has no access to it. */
    readonly kind: "no-agent";
    readonly detail: string;
    /** Whether something listens on the socket. */
    readonly isPresent: boolean;
  }
  | {
    readonly kind: "refused";
    readonly code: string;
    readonly message: string;
    readonly details: readonly string[];
  };

const API_TIMEOUT_MS = 35_000;
const STATUS_TIMEOUT_MS = 5_000;
const MAX_BYTES = 64 * 1_024 * 1_024;

/** Calls the local API of the agent that runs with a configuration. Never rejects. */
export async function queryApi<Body>(
  { api: { socket } }: AgentConfig,
  { method, path, body, timeoutMs = API_TIMEOUT_MS }: ApiRequest,
): Promise<ApiResult<Body>> {
  if (socket === undefined) {
    const detail = "its socket: api.socket is off; set it, and reload the agent";
    return { kind: "no-agent", detail, isPresent: false };
  }
  using http = createUnixHttp();
  try {
    const result = await http.request({
      socketPath: socket,
      method,
      path,
      timeoutMs,
      maxBytes: MAX_BYTES,
      ...(body && { body: new Secret(JSON.stringify(body)) }),
    });
    if (result.kind !== "answered") {
      const isPresent = result.kind !== "no-socket" && result.kind !== "no-listener";
      return { kind: "no-agent", detail: `${socket}: ${reasonOf(result)}`, isPresent };
    }
    const response = JSON.parse(result.body.reveal());
    if (result.status < 300) return { kind: "answered", body: response };
    const { code = "unknown", message = `status ${result.status}`, details = [] } =
      response?.error ?? {};
    return { kind: "refused", code, message, details };
  } catch {
    const detail = `${socket}: the response is not valid; is another program serving there?`;
    return { kind: "no-agent", detail, isPresent: true };
  }
}

/** Returns why no agent answered, and what to do. */
function reasonOf(result: Exclude<UnixHttpResult, { readonly kind: "answered" }>): string {
  switch (result.kind) {
    case "no-socket":
      return "there is no such socket; is it running?";
    case "no-listener":
      return "connection refused; is it running?";
    case "timed-out":
      return "timed out; see its log";
    case "broken":
      return /permission ?denied/i.test(result.detail)
        ? "permission denied; run as root, or as a member of api.group"
        : result.detail;
  }
}

/**
 * Calls the local API for a command that needs a running agent.
 *
 * @throws {AgentError} `unreachable` when no agent answers; `refused` when it returns an error.
 */
export async function requireApi<Body>(config: AgentConfig, request: ApiRequest): Promise<Body> {
  const result = await queryApi<Body>(config, request);
  switch (result.kind) {
    case "answered":
      return result.body;
    case "no-agent":
      throw new AgentError("unreachable", `failed to connect to the agent at ${result.detail}`);
    case "refused":
      throw new AgentError("refused", `the agent returned an error: ${result.message}`);
  }
}

/** Warns that the output does not come from the agent although something listens on its socket. */
export function warnWithoutAgent({ host }: Context, result: ApiResult<unknown>): void {
  if (result.kind !== "no-agent" || !result.isPresent) return;
  const text = `warning: no answer from the agent (${result.detail}); querying providers directly`;
  host.err(`${printable(text)}\n`);
}

/**
 * Returns the status of the agent that runs with a configuration: over its local API, else from its
 * HTTP server, which users without access to the socket can also use.
 *
 * @throws {AgentError} `unreachable` when no agent answers.
 */
export async function queryAgent(
  config: AgentConfig,
  { atAddress = false }: { readonly atAddress?: boolean } = {},
): Promise<NodeStatus> {
  const { withTimesInMs } = await import("../observability/mod.ts");
  const result = atAddress ? undefined : await queryApi<object>(config, {
    method: "GET",
    path: "/v1/status",
    timeoutMs: STATUS_TIMEOUT_MS,
  });
  if (result?.kind === "answered") return withTimesInMs(result.body);
  const document = await getFromServer(config).catch((error) => {
    if (result?.kind !== "no-agent" || !result.isPresent) throw error;
    throw new AgentError("unreachable", `failed to connect to the agent at ${result.detail}`);
  });
  return withTimesInMs(document);
}

async function getFromServer(config: AgentConfig): Promise<object> {
  if (config.server === undefined) {
    throw new AgentError(
      "unreachable",
      "failed to connect to the agent: server.address is off; set it, or use api.socket",
    );
  }
  const { addressOf } = await import("../agent/mod.ts");
  const url = `http://${addressOf(config.server)}/v1/status`;
  using deadline = new Deadline(STATUS_TIMEOUT_MS);
  try {
    const response = await fetch(url, { redirect: "error", signal: deadline.signal });
    if (!response.ok) throw new Error(`status ${response.status}`);
    return await response.json();
  } catch (error) {
    const reason = deadline.passed
      ? "timed out"
      : /connection refused/i.exec(messageOf(error))?.[0].toLowerCase() ?? messageOf(error);
    const text = `failed to connect to the agent at ${url}: ${reason}; is it running?`;
    throw new AgentError("unreachable", text, { cause: error });
  }
}
