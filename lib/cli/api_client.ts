import type { AgentConfig } from "../config/mod.ts";
import { createUnixHttp } from "../platform/mod.ts";
import { AgentError, Secret, type UnixHttpResult } from "../model/mod.ts";
import type { Context } from "../platform/mod.ts";
import { printable } from "./table.ts";

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
  | {
    readonly kind: "no-agent";
    readonly detail: string;
    /** Something is there, which does not answer us. */
    readonly isThere: boolean;
  }
  | {
    readonly kind: "refused";
    readonly status: number;
    readonly code: string;
    readonly message: string;
    readonly details: readonly string[];
  };

const TIMEOUT_MS = 35_000;
const MAX_BYTES = 64 * 1_024 * 1_024;

/** Asks the agent that runs with this configuration, over its local API. Never rejects. */
export async function queryApi<Body>(
  { api: { socket } }: AgentConfig,
  { method, path, body, timeoutMs = TIMEOUT_MS }: ApiRequest,
): Promise<ApiAnswer<Body>> {
  if (socket === undefined) {
    return { kind: "no-agent", detail: "api.socket is off", isThere: false };
  }
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
      const isThere = result.kind !== "no-socket" && result.kind !== "no-listener";
      return { kind: "no-agent", detail: `${socket}: ${reasonOf(result)}`, isThere };
    }
    const answer = JSON.parse(result.body.reveal());
    if (result.status < 300) return { kind: "answered", body: answer };
    const { status } = result;
    const { code = "unknown", message = `it answered ${status}`, details = [] } = answer?.error ??
      {};
    return { kind: "refused", status, code, message, details };
  } catch {
    const detail = `${socket}: its answer cannot be read`;
    return { kind: "no-agent", detail, isThere: true };
  } finally {
    http[Symbol.dispose]();
  }
}

function reasonOf(result: Exclude<UnixHttpResult, { readonly kind: "answered" }>): string {
  switch (result.kind) {
    case "no-socket":
      return "there is no such socket";
    case "no-listener":
      return "nobody listens there";
    case "timed-out":
      return "it does not answer in time";
    case "broken":
      return result.detail;
  }
}

/** Tells people that what they read is not the agent's answer, although one is there. */
export function warnAboutAgent({ host }: Context, asked: ApiAnswer<unknown>): void {
  if (asked.kind !== "no-agent" || !asked.isThere) return;
  const text = `warning: the agent was not asked (${asked.detail}); this is what its sources say`;
  host.err(`${printable(text)}\n`);
}

/**
 * The same, for what nobody but a running agent can do.
 *
 * @throws {AgentError} `unreachable` when none answers; `refused` when it refuses.
 */
export async function requireApi<Body>(config: AgentConfig, request: ApiRequest): Promise<Body> {
  const answer = await queryApi<Body>(config, request);
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
