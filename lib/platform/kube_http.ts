import {
  type CallOptions,
  Deadline,
  type KubeConnection,
  type KubeHttp,
  type KubeHttpAnswer,
  type KubeHttpFailure,
  type KubeHttpRequest,
  type KubeStreamEnd,
  type KubeStreamHears,
  Secret,
} from "../model/mod.ts";
import { type OpenedResponse, openResponse } from "./http1_client.ts";
import { connectionProblem } from "./kube_trouble.ts";
import { createProxiedClient } from "./proxied_client.ts";
import { connectTcp } from "./tcp_connect.ts";
import { connectTls } from "./tls_connect.ts";

/** Kept side by side, each with its certificates; one is the rule, two while they are replaced. */
const MAX_CONNECTIONS = 4;
const MAX_RETRY_AFTER_MS = 3_600_000;
/** An answer that is no stream: a refusal, of which the first words count. */
const MAX_REFUSAL_BYTES = 64 * 1024;

/**
 * HTTP to Kubernetes API servers: by the runtime's own client, or by a TLS connection of our own
 * where the certificate is to be judged in another way than the runtime's.
 */
export function createKubeHttp(): KubeHttp {
  return new PooledKubeHttp();
}

class PooledKubeHttp implements KubeHttp {
  readonly #lanes = new Map<KubeConnection, Map<number, Deno.HttpClient>>();

  async request(
    request: KubeHttpRequest,
    { signal }: CallOptions = {},
  ): Promise<KubeHttpAnswer | KubeHttpFailure> {
    signal?.throwIfAborted();
    using deadline = new Deadline(request.timeoutMs, signal);
    try {
      const answer = await this.#open(request, deadline.signal);
      const body = await readText(answer.body, request.maxBytes);
      return body === undefined ? { kind: "too-large" } : answered(answer, body);
    } catch (error) {
      signal?.throwIfAborted();
      return this.#failed(request, error, deadline);
    }
  }

  async stream(
    request: KubeHttpRequest & { readonly idleMs: number },
    hears: KubeStreamHears,
    { signal }: CallOptions = {},
  ): Promise<KubeStreamEnd> {
    signal?.throwIfAborted();
    using deadline = new Deadline(request.timeoutMs, signal);
    let answer: OpenedResponse;
    try {
      answer = await this.#open(request, deadline.signal);
      if (answer.status !== 200) {
        return answered(answer, await readText(answer.body, MAX_REFUSAL_BYTES) ?? "");
      }
    } catch (error) {
      signal?.throwIfAborted();
      return this.#failed(request, error, deadline);
    }
    const lines = new Lines(request.maxBytes);
    const chunks = answer.body[Symbol.asyncIterator]();
    try {
      hears.begun();
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
        const whole = lines.add(next.value);
        if (whole === undefined) return { kind: "too-large" };
        for (const line of whole) hears.line(line);
      }
    } finally {
      deadline.abort();
    }
  }

  [Symbol.dispose](): void {
    for (const connection of [...this.#lanes.keys()]) this.#dropAll(connection);
  }

  async #open(request: KubeHttpRequest, signal: AbortSignal): Promise<OpenedResponse> {
    const { connection, method, path, headers, body } = request;
    if (connection.skipVerify || connection.serverName !== undefined) {
      return await openByOwnTls(request, signal);
    }
    const response = await fetch(`${connection.server}${path}`, {
      client: this.#client(request),
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

  /** A connection that failed may stay half-open for ever: the next request gets a new one. */
  #failed(request: KubeHttpRequest, error: unknown, deadline: Deadline): KubeHttpFailure {
    this.#drop(request);
    if (deadline.passed) return { kind: "timed-out" };
    return { kind: "unreachable", detail: connectionProblem(error) };
  }

  #client({ connection, lane = 0 }: KubeHttpRequest): Deno.HttpClient {
    const known = this.#lanes.get(connection)?.get(lane);
    if (known !== undefined) return known;
    const [oldest] = this.#lanes.keys();
    if (!this.#lanes.has(connection) && this.#lanes.size >= MAX_CONNECTIONS && oldest) {
      this.#dropAll(oldest);
    }
    const { caPem, certPem, keyPem } = connection;
    const options = {
      ...(caPem !== undefined && { caCerts: [caPem] }),
      ...(certPem !== undefined && keyPem && { cert: certPem, key: keyPem.reveal() }),
    };
    const { proxy } = proxyOf(connection);
    const client = proxy === undefined
      ? Deno.createHttpClient(options)
      : createProxiedClient({ ...options, proxy });
    const lanes = this.#lanes.get(connection) ?? new Map<number, Deno.HttpClient>();
    this.#lanes.set(connection, lanes.set(lane, client));
    return client;
  }

  #drop({ connection, lane = 0 }: Pick<KubeHttpRequest, "connection" | "lane">): void {
    const lanes = this.#lanes.get(connection);
    const client = lanes?.get(lane);
    lanes?.delete(lane);
    if (lanes?.size === 0) this.#lanes.delete(connection);
    try {
      client?.close();
    } catch {
      // Closed already.
    }
  }

  #dropAll(connection: KubeConnection): void {
    for (const lane of [...this.#lanes.get(connection)?.keys() ?? []]) {
      this.#drop({ connection, lane });
    }
  }
}

function proxyOf({ proxyUrl }: KubeConnection): { proxy?: Deno.Proxy } {
  if (proxyUrl === undefined) return {};
  const url = new URL(proxyUrl.reveal());
  const { username, password } = url;
  url.username = url.password = "";
  if (username === "") return { proxy: { url: url.href } };
  const basicAuth = {
    username: decodeURIComponent(username),
    password: decodeURIComponent(password),
  };
  return { proxy: { url: url.href, basicAuth } };
}

/** For a certificate of any kind, or for another name than the host's. */
async function openByOwnTls(
  { connection, method, path, headers, body }: KubeHttpRequest,
  signal: AbortSignal,
): Promise<OpenedResponse> {
  const { server, serverName, skipVerify, caPem, certPem, keyPem } = connection;
  const url = new URL(server);
  if (url.protocol !== "https:") throw new Error("connect: this address has no TLS");
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
 * The body as it comes. An abort is carried to it by hand: once nobody holds the response any more,
 * the runtime forgets that its signal was to end the body too, and would wait for a silent peer.
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

/** Cuts what comes into lines, of a bounded length. */
class Lines {
  readonly #maxBytes: number;
  readonly #decoder = new TextDecoder();
  #rest: string[] = [];
  #size = 0;

  constructor(maxBytes: number) {
    this.#maxBytes = maxBytes;
  }

  /** The lines that are whole now; undefined when one is too long. */
  add(chunk: Uint8Array): readonly string[] | undefined {
    this.#size += chunk.length;
    if (this.#size > this.#maxBytes) return undefined;
    const [first = "", ...others] = this.#decoder.decode(chunk, { stream: true }).split("\n");
    this.#rest.push(first);
    if (others.length === 0) return [];
    const whole = [this.#rest.join(""), ...others.slice(0, -1)].filter((line) => line !== "");
    this.#rest = others.slice(-1);
    this.#size = this.#rest[0]?.length ?? 0;
    return whole;
  }
}

async function readText(
  body: AsyncIterable<Uint8Array>,
  maxBytes: number,
): Promise<string | undefined> {
  const decoder = new TextDecoder();
  const parts: string[] = [];
  let size = 0;
  for await (const chunk of body) {
    size += chunk.length;
    if (size > maxBytes) return undefined;
    parts.push(decoder.decode(chunk, { stream: true }));
  }
  return parts.join("") + decoder.decode();
}

function answered({ status, headers }: OpenedResponse, body: string): KubeHttpAnswer {
  const retryAfterMs = parseRetryAfter(headers.get("retry-after"));
  const kind = "answered";
  return {
    kind,
    status,
    body: new Secret(body),
    ...(retryAfterMs !== undefined && { retryAfterMs }),
  };
}

function parseRetryAfter(text: string | null | undefined): number | undefined {
  if (text === null || text === undefined) return undefined;
  const ms = /^\d+$/.test(text) ? Number(text) * 1_000 : Date.parse(text) - Date.now();
  return ms >= 0 ? Math.min(ms, MAX_RETRY_AFTER_MS) : undefined;
}
