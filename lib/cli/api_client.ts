import type { AgentConfig } from "../config/mod.ts";
import { createUnixHttp } from "../edge/mod.ts";
import { AgentError, Secret } from "../model/mod.ts";

/** A question to the running agent. */
export interface ApiRequest {
  readonly method: "GET" | "PUT" | "POST" | "DELETE";
  readonly path: `/v1/${string}`;
  readonly body?: object;
  /** Default 35 s, a little more than the agent allows itself. */
  readonly timeoutMs?: number;
}

/** What became of it. */
export type ApiAnswer<Body> =
  | { readonly kind: "answered"; readonly body: Body }
  /** No agent runs with this configuration, or it may not be asked by this user. */
  | { readonly kind: "no-agent"; readonly detail: string }
  | {
    readonly kind: "refused";
    readonly status: number;
    readonly code: string;
    readonly message: string;
    readonly details: readonly string[];
  };

const TIMEOUT_MS = 35_000;
const WHY_NOT = {
  "no-socket": "there is no such socket",
  "no-listener": "nobody listens there",
  "timed-out": "no answer in time",
} as const;
const MAX_BYTES = 64 * 1_024 * 1_024;

/** Asks the agent that runs with this configuration, over its local API. Never rejects. */
export async function askApi<Body>(
  { api: { socket } }: AgentConfig,
  { method, path, body, timeoutMs = TIMEOUT_MS }: ApiRequest,
): Promise<ApiAnswer<Body>> {
  if (socket === undefined) return { kind: "no-agent", detail: "api.socket is off" };
  const http = createUnixHttp();
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
      const detail = "detail" in result ? result.detail : WHY_NOT[result.kind];
      return { kind: "no-agent", detail: `${socket}: ${detail}` };
    }
    const answer = JSON.parse(result.body.reveal());
    if (result.status < 300) return { kind: "answered", body: answer };
    const { status } = result;
    const { code = "unknown", message = `it answered ${status}`, details = [] } = answer?.error ??
      {};
    return { kind: "refused", status, code, message, details };
  } catch {
    return { kind: "no-agent", detail: `${socket}: its answer cannot be read` };
  } finally {
    http[Symbol.dispose]();
  }
}

/**
 * The same, for what nobody but a running agent can do.
 *
 * @throws {AgentError} `unreachable` when none answers; `refused` when it refuses.
 */
export async function demandApi<Body>(config: AgentConfig, request: ApiRequest): Promise<Body> {
  const answer = await askApi<Body>(config, request);
  switch (answer.kind) {
    case "answered":
      return answer.body;
    case "no-agent": {
      const text = `ask the agent at ${answer.detail}; is it running, and are you its user`;
      throw new AgentError("unreachable", text);
    }
    case "refused":
      throw new AgentError("refused", `the agent refuses: ${answer.message}`);
  }
}
