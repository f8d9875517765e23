import {
  type CallOptions,
  Deadline,
  defined,
  type KubeConnection,
  type KubeHttp,
  type KubeHttpFailure,
  type KubeHttpRequest,
  type KubeHttpResponse,
  type KubeStreamEnd,
  type KubeStreamHandlers,
  Secret,
} from "../model/mod.ts";
import { tryClose } from "./files.ts";
import { type OpenedResponse, openResponse, readText } from "./http1.ts";
import {
  ConnectError,
  connectionProblem,
  connectTcp,
  createProxiedClient,
  proxyOf,
} from "./connect.ts";
import { checkKeyPair, connectTls } from "./tls_connect.ts";

/** Cluster connections with cached clients: usually one, two while certificates are rotated. */
const MAX_CONNECTIONS = 4;
const MAX_RETRY_AFTER_MS = 3_600_000;
/** Limit of an error response to a stream request. */
const MAX_ERROR_BYTES = 64 * 1024;

/**
 * Creates an HTTP client for Kubernetes API servers. It uses Deno's own client, or a separate TLS
 * connection for verification options that Deno does not support.
 */
export function createKubeHttp(): KubeHttp {
  return new PooledKubeHttp();
}

class PooledKubeHttp implements KubeHttp {
  readonly #clients = new Map<KubeConnection, Deno.HttpClient>();

  async request(
    request: KubeHttpRequest,
    { signal }: CallOptions = {},
  ): Promise<KubeHttpResponse | KubeHttpFailure> {
    signal?.throwIfAborted();
    using deadline = new Deadline(request.timeoutMs, signal);
    try {
      const response = await this.#open(request, deadline.signal);
      const { text, isCut } = await readText(response.body, request.maxBytes);
      return isCut ? { kind: "too-large" } : answered(response, text);
    } catch (error) {
      signal?.throwIfAborted();
      return this.#failed(request, error, deadline);
    }
  }

  async stream(
    request: KubeHttpRequest & { readonly idleMs: number },
    handlers: KubeStreamHandlers,
    { signal }: CallOptions = {},
  ): Promise<KubeStreamEnd> {
    signal?.throwIfAborted();
    using deadline = new Deadline(request.timeoutMs, signal);
    let response: OpenedResponse;
    try {
      response = await this.#open(request, deadline.signal);
      if (response.status !== 200) {
        return answered(response, (await readText(response.body, MAX_ERROR_BYTES)).text);
      }
    } catch (error) {
      signal?.throwIfAborted();
      return this.#failed(request, error, deadline);
    }
    const lines = new Lines(request.maxBytes);
    const chunks = response.body[Symbol.asyncIterator]();
    try {
      handlers.started();
      while (true) {
        deadline.restart(request.idleMs);
        let next: IteratorResult<Uint8Array>;
        try {
          next = await chunks.next();
        } catch {
          signal?.throwIfAborted();
          this.#drop(request);
          return { kind: "cut" };
        }
        if (next.done) return { kind: "ended" };
        const complete = lines.add(next.value);
        if (complete === undefined) return { kind: "too-large" };
        for (const line of complete) handlers.line(line);
      }
    } finally {
      deadline.abort();
    }
  }

  [Symbol.dispose](): void {
    for (const connection of [...this.#clients.keys()]) this.#drop({ connection });
  }

  async #open(request: KubeHttpRequest, signal: AbortSignal): Promise<OpenedResponse> {
    const { connection, method, path, headers, body } = request;
    if (connection.skipVerify || connection.serverName !== undefined) {
      return await openWithTlsOptions(request, signal);
    }
    const response = await fetch(`${connection.server}${path}`, {
      client: await this.#client(request),
      method,
      headers: headers.map(([name, value]) => [name, value.reveal()]),
      redirect: "manual",
      signal,
      ...(body !== undefined && { body }),
    });
    return {
      status: response.status,
      headers: response.headers,
      body: chunksOf(response, signal),
    };
  }

  /** Drops the client: a failed connection may stay half-open in its pool. */
  #failed(request: KubeHttpRequest, error: unknown, deadline: Deadline): KubeHttpFailure {
    this.#drop(request);
    if (deadline.passed) return { kind: "timed-out" };
    return { kind: "unreachable", detail: connectionProblem(error) };
  }

  async #client({ connection }: KubeHttpRequest): Promise<Deno.HttpClient> {
    if (!this.#clients.has(connection)) await checkKeyPair(connection);
    const known = this.#clients.get(connection);
    if (known !== undefined) return known;
    const [oldest] = this.#clients.keys();
    if (this.#clients.size >= MAX_CONNECTIONS && oldest) this.#drop({ connection: oldest });
    const { caPem, certPem, keyPem, proxyUrl } = connection;
    const options = {
      ...(caPem !== undefined && { caCerts: [caPem] }),
      ...(certPem !== undefined && keyPem && { cert: certPem, key: keyPem.reveal() }),
    };
    const client = proxyUrl === undefined
      ? Deno.createHttpClient(options)
      : createProxiedClient({ ...options, proxy: proxyOf(proxyUrl) });
    this.#clients.set(connection, client);
    return client;
  }

  #drop({ connection }: Pick<KubeHttpRequest, "connection">): void {
    tryClose(this.#clients.get(connection));
    this.#clients.delete(connection);
  }
}

/** Opens a response without certificate verification, or for another name than the host's. */
async function openWithTlsOptions(
  { connection, method, path, headers, body }: KubeHttpRequest,
  signal: AbortSignal,
): Promise<OpenedResponse> {
  const { server, serverName, skipVerify, caPem, certPem, keyPem } = connection;
  const url = new URL(server);
  if (url.protocol !== "https:") throw new ConnectError("the server's URL is not an https URL");
  const peer = await connectTcp(url.hostname, Number(url.port === "" ? 443 : url.port), signal);
  const stream = await connectTls(peer, {
    host: serverName ?? url.hostname,
    caCerts: caPem === undefined ? [] : [caPem],
    skipVerify,
    ...(certPem !== undefined && keyPem && { clientCertificate: { certPem, keyPem } }),
  }, signal);
  return await openResponse(stream, {
    method,
    target: `${url.pathname === "/" ? "" : url.pathname}${path}`,
    headers: [
      ["Host", url.host],
      ...headers.map(([name, value]) => [name, value.reveal()] as const),
    ],
    ...(body !== undefined && { body: new Secret(body) }),
  }, signal);
}

/**
 * Yields a body as it arrives. The signal is connected to the reader explicitly: the runtime drops
 * its own connection when the response is garbage collected.
 */
async function* chunksOf(response: Response, signal: AbortSignal): AsyncGenerator<Uint8Array> {
  if (response.body === null) return;
  const reader = response.body.getReader();
  const cancel = () => void reader.cancel().catch(() => {});
  signal.addEventListener("abort", cancel);
  try {
    while (true) {
      const { done, value } = await reader.read();
      if (done) break;
      yield value;
    }
    signal.throwIfAborted();
  } finally {
    signal.removeEventListener("abort", cancel);
    cancel();
  }
}

/** Splits a stream into lines of at most `maxBytes`. */
class Lines {
  readonly #maxBytes: number;
  readonly #decoder = new TextDecoder();
  #rest: string[] = [];
  #size = 0;

  constructor(maxBytes: number) {
    this.#maxBytes = maxBytes;
  }

  /** Returns the lines that a chunk completes, or undefined if a line is too long. */
  add(chunk: Uint8Array): readonly string[] | undefined {
    this.#size += chunk.length;
    if (this.#size > this.#maxBytes) return undefined;
    const [first = "", ...others] = this.#decoder.decode(chunk, { stream: true }).split("\n");
    this.#rest.push(first);
    if (others.length === 0) return [];
    const lines = [this.#rest.join(""), ...others.slice(0, -1)].filter((line) => line !== "");
    this.#rest = others.slice(-1);
    this.#size = this.#rest[0]?.length ?? 0;
    return lines;
  }
}

function answered({ status, headers }: OpenedResponse, body: string): KubeHttpResponse {
  const retryAfterMs = parseRetryAfter(headers.get("retry-after"));
  return defined({ kind: "answered" as const, status, body: new Secret(body), retryAfterMs });
}

function parseRetryAfter(text: string | null | undefined): number | undefined {
  if (text === null || text === undefined) return undefined;
  const ms = /^\d+$/.test(text) ? Number(text) * 1_000 : Date.parse(text) - Date.now();
  return ms >= 0 ? Math.min(ms, MAX_RETRY_AFTER_MS) : undefined;
}
