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
  type RegistryHttp,
  type RegistryHttpRequest,
  type RegistryHttpResult,
  Secret,
} from "../model/mod.ts";
import {
  ConnectError,
  connectionProblem,
  connectTcp,
  createProxiedClient,
  environmentProxy,
  ForbiddenAddressError,
  isMetadataAddress,
  literalAddress,
  openTunnel,
  portOf,
} from "./connect.ts";
import { tryClose } from "./files.ts";
import { ClientConnection, readText } from "./http1.ts";
import { checkKeyPair, connectTls, type TlsOptions } from "./tls_connect.ts";

const MAX_CA_BYTES = 4 * 1024 * 1024;
/** Cluster connections with cached clients: usually one, two while certificates are rotated. */
const MAX_CONNECTIONS = 4;
const MAX_RETRY_AFTER_MS = 3_600_000;
/** Limit of an error response to a stream request. */
const MAX_ERROR_BYTES = 64 * 1024;

/** A request to a registry, a token service or an API server. */
interface OutgoingRequest {
  readonly method: string;
  readonly url: URL;
  /** Names and values; a value may be a credential. */
  readonly headers: readonly (readonly [name: string, value: Secret])[];
  readonly body?: Secret | undefined;
}

/** A response whose body is read as it arrives. */
interface OpenedResponse {
  readonly status: number;
  readonly headers: Iterable<readonly [name: string, value: string]> & {
    get(name: string): string | null | undefined;
  };
  readonly body: AsyncIterable<Uint8Array>;
}

/** Sends a request with a client of the runtime. */
async function openWithClient(
  client: Deno.HttpClient,
  { method, url, headers, body }: OutgoingRequest,
  signal: AbortSignal,
): Promise<OpenedResponse> {
  const response = await fetch(url, {
    client,
    method,
    headers: headers.map(([name, value]) => [name, value.reveal()]),
    redirect: "manual",
    signal,
    ...(body !== undefined && { body: body.reveal() }),
  });
  return { status: response.status, headers: response.headers, body: chunksOf(response, signal) };
}

/** Sends a request over a connection, optionally with TLS. It is closed when `signal` aborts. */
async function openOver(
  peer: Deno.TcpConn,
  { method, url, headers, body }: OutgoingRequest,
  tls: TlsOptions | undefined,
  signal: AbortSignal,
): Promise<OpenedResponse> {
  const connection = new ClientConnection(tls ? await connectTls(peer, tls, signal) : peer);
  signal.addEventListener("abort", () => connection.close());
  if (signal.aborted) connection.close();
  const { status, headers: received, framing } = await connection.send({
    method,
    target: `${url.pathname}${url.search}`,
    headers: [
      ["Host", url.host],
      ...headers.map(([name, value]) => [name, value.reveal()] as const),
      ["Connection", "close"],
      ["User-Agent", "nydus-auth-agent"],
    ],
    body,
  });
  const chunks = async function* () {
    yield* connection.reader.body(framing);
    signal.throwIfAborted(); // an aborted read is indistinguishable from the end of the stream
  };
  return { status, headers: received, body: chunks() };
}

/**
 * Yields a body as it arrives. `signal` aborts at the end of the request, and is connected to the
 * reader explicitly: the runtime drops its own connection when the response is garbage collected.
 */
async function* chunksOf(response: Response, signal: AbortSignal): AsyncGenerator<Uint8Array> {
  if (response.body === null) return;
  const reader = response.body.getReader();
  signal.addEventListener("abort", () => void reader.cancel().catch(() => {}));
  while (true) {
    const { done, value } = await reader.read();
    if (done) break;
    yield value;
  }
  signal.throwIfAborted();
}

/**
 * Creates an HTTP client for registries and token services. Connections are not reused: requests are
 * few and go to many hosts. Deno's own client is used only with a proxy, because it cannot connect
 * to an address that was checked before.
 */
export function createRegistryHttp(): RegistryHttp {
  return {
    async request(request, { signal } = {}) {
      signal?.throwIfAborted();
      using deadline = new Deadline(request.timeoutMs, signal);
      try {
        return await send(request, deadline.signal);
      } catch (error) {
        signal?.throwIfAborted();
        return failureOf(error, deadline);
      } finally {
        deadline.abort(); // closes the connection
      }
    },
  };
}

function failureOf(error: unknown, { passed }: Deadline) {
  return passed
    ? { kind: "timed-out" as const }
    : { kind: "unreachable" as const, detail: connectionProblem(error) };
}

async function send(
  request: RegistryHttpRequest,
  signal: AbortSignal,
): Promise<RegistryHttpResult> {
  const url = new URL(request.url);
  const { hostname } = url;
  const isTls = url.protocol === "https:";
  const caCerts = await Promise.all(request.caFiles.map(readCertificateAuthority));
  const skipVerify = request.skipVerify && isTls;
  const proxyUrl = request.proxyUrl ?? (skipVerify ? undefined : environmentProxy(url));
  const literal = literalAddress(hostname);
  // Only addresses: a proxy resolves names itself.
  if (proxyUrl !== undefined && literal !== undefined && isMetadataAddress(literal)) {
    throw new ForbiddenAddressError();
  }
  if (proxyUrl !== undefined && !skipVerify) {
    using client = createProxiedClient(proxyUrl, { caCerts, poolMaxIdlePerHost: 0 });
    return await readResult(await openWithClient(client, { ...request, url }, signal), request);
  }
  const port = portOf(url);
  const connection = proxyUrl === undefined
    ? await connectTcp(hostname, port, signal, { refuseMetadata: true })
    : await openTunnel(proxyUrl, `${hostname}:${port}`, signal);
  const tls = isTls ? { host: hostname, caCerts, skipVerify } : undefined;
  return await readResult(await openOver(connection, { ...request, url }, tls, signal), request);
}

async function readCertificateAuthority(path: string): Promise<string> {
  const text = await Deno.readTextFile(path).catch(() => undefined);
  if (text === undefined || text.length > MAX_CA_BYTES) {
    throw new ConnectError(`the certificate authority ${path} cannot be read`);
  }
  return text;
}

/** Reads a response, with at most `maxBytes` of its body. */
async function readResult(
  { status, headers, body }: OpenedResponse,
  { maxBytes }: RegistryHttpRequest,
): Promise<RegistryHttpResult> {
  return {
    kind: "answered",
    status,
    body: new Secret((await readText(body, maxBytes)).text),
    headers: new Map([...headers].map(([name, value]) => [name.toLowerCase(), value])),
  };
}

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
      this.#drop(request);
      return failureOf(error, deadline);
    } finally {
      deadline.abort(); // closes a connection that is not pooled
    }
  }

  async stream(
    request: KubeHttpRequest & { readonly idleMs: number },
    handlers: KubeStreamHandlers,
    { signal }: CallOptions = {},
  ): Promise<KubeStreamEnd> {
    signal?.throwIfAborted();
    using deadline = new Deadline(request.timeoutMs, signal);
    try {
      let response: OpenedResponse;
      try {
        response = await this.#open(request, deadline.signal);
        if (response.status !== 200) {
          return answered(response, (await readText(response.body, MAX_ERROR_BYTES)).text);
        }
      } catch (error) {
        signal?.throwIfAborted();
        this.#drop(request);
        return failureOf(error, deadline);
      }
      handlers.started();
      const lines = new Lines(request.maxBytes);
      const chunks = response.body[Symbol.asyncIterator]();
      while (true) {
        deadline.restart(request.idleMs);
        const next = await chunks.next().catch(() => undefined);
        signal?.throwIfAborted();
        if (next === undefined) {
          this.#drop(request);
          return { kind: "cut" };
        }
        if (next.done) return { kind: "ended" };
        const complete = lines.add(next.value);
        if (complete === undefined) return { kind: "too-large" };
        for (const line of complete) handlers.line(line);
      }
    } finally {
      deadline.abort(); // closes a connection that is not pooled
    }
  }

  [Symbol.dispose](): void {
    for (const connection of [...this.#clients.keys()]) this.#drop({ connection });
  }

  async #open(request: KubeHttpRequest, signal: AbortSignal): Promise<OpenedResponse> {
    const { connection, body } = request;
    const url = new URL(`${connection.server}${request.path}`);
    const outgoing = { ...request, url, body: body === undefined ? undefined : new Secret(body) };
    if (!connection.skipVerify && connection.serverName === undefined) {
      return await openWithClient(await this.#client(request), outgoing, signal);
    }
    if (url.protocol !== "https:") throw new ConnectError("the server's URL is not an https URL");
    const peer = await connectTcp(url.hostname, portOf(url), signal);
    const { serverName = url.hostname, caPem } = connection;
    const tls = { ...connection, host: serverName, caCerts: caPem === undefined ? [] : [caPem] };
    return await openOver(peer, outgoing, tls, signal);
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
      : createProxiedClient(proxyUrl, options);
    this.#clients.set(connection, client);
    return client;
  }

  /** Drops a client: a failed connection may stay half-open in its pool. */
  #drop({ connection }: Pick<KubeHttpRequest, "connection">): void {
    tryClose(this.#clients.get(connection));
    this.#clients.delete(connection);
  }
}

/** Splits a stream into lines of at most `maxBytes`. */
export class Lines {
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
    const lines = this.#decoder.decode(chunk, { stream: true }).split("\n");
    const last = lines.pop() ?? "";
    if (lines.length > 0) {
      lines[0] = [...this.#rest, lines[0]].join("");
      this.#rest = [];
      this.#size = last.length;
    }
    this.#rest.push(last);
    return lines.filter((line) => line !== "");
  }
}

function answered({ status, headers }: OpenedResponse, body: string): KubeHttpResponse {
  const retryAfterMs = parseRetryAfter(headers.get("retry-after") ?? "");
  return defined({ kind: "answered" as const, status, body: new Secret(body), retryAfterMs });
}

function parseRetryAfter(text: string): number | undefined {
  const ms = /^\d+$/.test(text) ? Number(text) * 1_000 : Date.parse(text) - Date.now();
  return ms >= 0 ? Math.min(ms, MAX_RETRY_AFTER_MS) : undefined;
}
