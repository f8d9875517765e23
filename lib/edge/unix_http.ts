import { type CallOptions, Secret, type UnixHttp } from "../model/mod.ts";
import type { UnixHttpRequest, UnixHttpResult } from "../model/mod.ts";
import { createProxiedClient } from "./proxied_client.ts";

/**
 * Stands in the URL for "a unix socket of ours": nothing connects there. An address, because newer
 * versions of the runtime look a name up although the socket is given.
 */
const STAND_IN_HOST = "127.0.0.1";
const MAX_BYTES = 16 * 1024 * 1024;
/** Connections kept; the one unused for longest makes room. */
const MAX_CLIENTS = 512;

/** HTTP over unix sockets by the runtime's own client, one kept-alive connection pool a socket. */
export function createUnixHttp(): UnixHttp {
  return new PooledUnixHttp();
}

class PooledUnixHttp implements UnixHttp {
  readonly #clients = new Map<string, Deno.HttpClient>();

  async request(request: UnixHttpRequest, { signal }: CallOptions = {}): Promise<UnixHttpResult> {
    signal?.throwIfAborted();
    const reused = this.#clients.has(request.socketPath);
    const startedMs = performance.now();
    const result = await this.#once(request, request.timeoutMs, signal);
    // A connection that was kept may belong to a process that is gone: once more on a new one.
    // Every request of ours means the same when it is sent twice.
    if (result.kind !== "broken" || !reused) return result;
    const restMs = request.timeoutMs - (performance.now() - startedMs);
    return restMs > 0 ? await this.#once(request, restMs, signal) : result;
  }

  [Symbol.dispose](): void {
    for (const path of [...this.#clients.keys()]) this.#drop(path);
  }

  async #once(
    request: UnixHttpRequest,
    timeoutMs: number,
    signal: AbortSignal | undefined,
  ): Promise<UnixHttpResult> {
    const deadline = new AbortController();
    const timer = setTimeout(() => deadline.abort(), timeoutMs);
    const both = signal ? AbortSignal.any([signal, deadline.signal]) : deadline.signal;
    try {
      const result = await this.#fetch(request, both);
      if (result.kind !== "answered" || result.status >= 300) this.#drop(request.socketPath);
      return result;
    } catch {
      this.#drop(request.socketPath);
      signal?.throwIfAborted();
      return deadline.signal.aborted ? { kind: "timed-out" } : await whyNot(request.socketPath);
    } finally {
      clearTimeout(timer);
    }
  }

  async #fetch(request: UnixHttpRequest, signal: AbortSignal): Promise<UnixHttpResult> {
    const { socketPath, method, path, body, maxBytes = MAX_BYTES } = request;
    const response = await fetch(`http://${STAND_IN_HOST}${path}`, {
      client: this.#client(socketPath),
      method,
      redirect: "manual",
      signal,
      ...(body && { body: body.reveal(), headers: { "content-type": "application/json" } }),
    });
    const text = await readBounded(response, maxBytes);
    if (text === undefined) {
      return { kind: "broken", detail: `the answer is over ${maxBytes} bytes` };
    }
    return { kind: "answered", status: response.status, body: new Secret(text) };
  }

  #client(path: string): Deno.HttpClient {
    const known = this.#clients.get(path);
    if (known !== undefined) {
      this.#clients.delete(path); // and behind the others again: a Map keeps the order of insertion
      this.#clients.set(path, known);
      return known;
    }
    const [oldest] = this.#clients.keys();
    if (this.#clients.size >= MAX_CLIENTS && oldest !== undefined) this.#drop(oldest);
    const client = createProxiedClient({ proxy: { transport: "unix", path } });
    this.#clients.set(path, client);
    return client;
  }

  #drop(path: string): void {
    const client = this.#clients.get(path);
    this.#clients.delete(path);
    try {
      client?.close();
    } catch {
      // Closed already.
    }
  }
}

/** The body as text, or undefined when it is longer than allowed; the rest is not read then. */
async function readBounded(response: Response, maxBytes: number): Promise<string | undefined> {
  if (response.body === null) return "";
  const decoder = new TextDecoder();
  let text = "";
  let size = 0;
  for await (const chunk of response.body) {
    size += chunk.length;
    if (size > maxBytes) return undefined;
    text += decoder.decode(chunk, { stream: true });
  }
  return text + decoder.decode();
}

/** Finds out why a request failed, since fetch's own words vary and may quote what was sent. */
async function whyNot(path: string): Promise<UnixHttpResult> {
  try {
    const connection = await Deno.connect({ transport: "unix", path });
    connection.close();
    return { kind: "broken", detail: "the connection was cut, or the answer was not HTTP" };
  } catch (error) {
    if (error instanceof Deno.errors.NotFound) return { kind: "no-socket" };
    if (error instanceof Deno.errors.ConnectionRefused) return { kind: "no-listener" };
    // A listener that accepts nobody any more, its queue full: it hangs, as one that keeps silent.
    if (error instanceof Deno.errors.WouldBlock) return { kind: "timed-out" };
    const name = error instanceof Error ? error.name : "unknown error";
    return { kind: "broken", detail: `the socket cannot be used: ${name}` };
  }
}
