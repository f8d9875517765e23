import {
  type CallOptions,
  type KubeConnection,
  type KubeHttp,
  type KubeHttpAnswer,
  type KubeHttpFailure,
  type KubeHttpRequest,
  type KubeStreamEnd,
  type KubeStreamHears,
  Secret,
} from "../model/mod.ts";
import type { OpenedAnswer } from "./kube_own_tls.ts";

/** Connections kept, each with its certificates; one is the rule, two while they are replaced. */
const MAX_CLIENTS = 4;
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
  readonly #clients = new Map<KubeConnection, Deno.HttpClient>();

  async request(
    request: KubeHttpRequest,
    { signal }: CallOptions = {},
  ): Promise<KubeHttpAnswer | KubeHttpFailure> {
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
    using deadline = new Deadline(request.timeoutMs, signal);
    let answer: OpenedAnswer;
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
          this.#drop(request.connection);
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
    for (const connection of [...this.#clients.keys()]) this.#drop(connection);
  }

  async #open(request: KubeHttpRequest, signal: AbortSignal): Promise<OpenedAnswer> {
    const { connection, method, path, headers, body } = request;
    if (connection.skipVerify || connection.serverName !== undefined) {
      const { openByOwnTls } = await import("./kube_own_tls.ts");
      return await openByOwnTls(request, signal);
    }
    const response = await fetch(`${connection.server}${path}`, {
      client: this.#client(connection),
      method,
      headers: headers.map(([name, value]) => [name, value.reveal()]),
      redirect: "manual",
      signal,
      ...(body !== undefined && { body }),
    });
    return {
      status: response.status,
      retryAfter: response.headers.get("retry-after"),
      body: response.body ?? new ReadableStream({ start: (controller) => controller.close() }),
    };
  }

  /** A connection that failed may stay half-open for ever: the next request gets a new one. */
  #failed({ connection }: KubeHttpRequest, error: unknown, deadline: Deadline): KubeHttpFailure {
    this.#drop(connection);
    if (deadline.passed) return { kind: "timed-out" };
    return { kind: "unreachable", detail: wordsOf(error) };
  }

  #client(connection: KubeConnection): Deno.HttpClient {
    const known = this.#clients.get(connection);
    if (known !== undefined) return known;
    const [oldest] = this.#clients.keys();
    if (this.#clients.size >= MAX_CLIENTS && oldest !== undefined) this.#drop(oldest);
    const { caPem, certPem, keyPem } = connection;
    const client = Deno.createHttpClient({
      ...(caPem !== undefined && { caCerts: [caPem] }),
      ...(certPem !== undefined && keyPem && { cert: certPem, key: keyPem.reveal() }),
      ...proxyOf(connection),
    });
    this.#clients.set(connection, client);
    return client;
  }

  #drop(connection: KubeConnection): void {
    const client = this.#clients.get(connection);
    this.#clients.delete(connection);
    try {
      client?.close();
    } catch {
      // Closed already.
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

/** Ends waiting after a time, or when the caller says so. */
class Deadline {
  readonly #own = new AbortController();
  readonly signal: AbortSignal;
  #timer: ReturnType<typeof setTimeout>;
  passed = false;

  constructor(ms: number, outer: AbortSignal | undefined) {
    this.signal = outer ? AbortSignal.any([outer, this.#own.signal]) : this.#own.signal;
    this.#timer = this.#start(ms);
  }

  restart(ms: number): void {
    clearTimeout(this.#timer);
    this.#timer = this.#start(ms);
  }

  /** Lets go of what is still open. */
  abort(): void {
    clearTimeout(this.#timer);
    this.#own.abort();
  }

  [Symbol.dispose](): void {
    clearTimeout(this.#timer);
  }

  #start(ms: number): ReturnType<typeof setTimeout> {
    return setTimeout(() => {
      this.passed = true;
      this.#own.abort();
    }, ms);
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

function answered({ status, retryAfter }: OpenedAnswer, body: string): KubeHttpAnswer {
  const retryAfterMs = parseRetryAfter(retryAfter);
  const kind = "answered";
  return {
    kind,
    status,
    body: new Secret(body),
    ...(retryAfterMs !== undefined && { retryAfterMs }),
  };
}

function parseRetryAfter(text: string | null): number | undefined {
  if (text === null) return undefined;
  const ms = /^\d+$/.test(text) ? Number(text) * 1_000 : Date.parse(text) - Date.now();
  return ms >= 0 ? Math.min(ms, MAX_RETRY_AFTER_MS) : undefined;
}

/** What a person can use of the runtime's words, which quote the request; most telling first. */
const REASONS: readonly (readonly [RegExp, string])[] = [
  [/UnknownIssuer/, "the server's certificate is signed by an authority that is not trusted"],
  [/NotValidForName|ERR_TLS_CERT_ALTNAME/, "the server's certificate is not for this name"],
  [/certificate expired|: Expired|CERT_HAS_EXPIRED/, "the server's certificate has expired"],
  [/CertificateExpired/, "the server says that our client certificate has expired"],
  [/CertificateRequired|BadCertificate|UnknownCA/, "the server refuses our client certificate"],
  [/invalid peer certificate|self-signed/, "the server's certificate cannot be verified"],
  [/no pem|PEM|private key|InvalidCertificate/i, "a certificate or key cannot be used"],
  [/InvalidContentType|corrupt message/, "the server does not speak TLS there"],
  [/Connection refused|ECONNREFUSED/, "the connection was refused"],
  [/dns error|failed to lookup|ENOTFOUND/i, "the host name cannot be resolved"],
  [/unreachable/i, "the network is unreachable"],
  [/NotCapable|Requires net access/, "this address is forbidden to the agent"],
  [/proxy|tunnel/i, "the proxy does not let us through"],
];

function wordsOf(error: unknown): string {
  const text = error instanceof Error
    ? `${error.name} ${error.message} ${error.cause instanceof Error ? error.cause.message : ""}`
    : "";
  const bare = text.replaceAll(/https?:\/\/\S*/g, "");
  return REASONS.find(([pattern]) => pattern.test(bare))?.[1] ?? "the connection was cut";
}
