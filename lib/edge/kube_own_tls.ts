import type { Buffer } from "node:buffer";
import type { Socket } from "node:net";
import { connect, type TLSSocket } from "node:tls";
import type { KubeConnection, Secret } from "../model/mod.ts";

/** One request, and how to reach whom it is for. */
export interface OwnTlsRequest {
  readonly connection: Omit<KubeConnection, "proxyUrl">;
  /** A connection that leads there already, through a proxy. */
  readonly through?: Socket;
  readonly method: "GET" | "HEAD" | "POST";
  readonly path: string;
  readonly headers: readonly (readonly [name: string, value: Secret])[];
  readonly body?: string;
}

/** The head of an answer, and its body as it comes. */
export interface OpenedAnswer {
  readonly status: number;
  readonly headers: Headers;
  readonly body: AsyncIterable<Uint8Array>;
}

const MAX_HEAD_BYTES = 64 * 1024;

/**
 * One HTTP/1.1 request over a TLS connection of our own. The runtime's client judges certificates
 * in one way only; here any may do, or one for another name than the host's.
 */
export async function openByOwnTls(
  request: OwnTlsRequest,
  signal: AbortSignal,
): Promise<OpenedAnswer> {
  signal.throwIfAborted();
  const url = new URL(request.connection.server);
  const socket = await handshake(request, url, signal);
  const abort = () => void socket.destroy();
  signal.addEventListener("abort", abort, { once: true });
  socket.once("close", () => signal.removeEventListener("abort", abort));
  try {
    socket.write(requestText(request, url));
    const bytes = new ByteReader(chunksOf(socket, signal));
    const [statusLine = "", ...lines] = (await bytes.until("\r\n\r\n", MAX_HEAD_BYTES))
      .split("\r\n");
    const status = Number(/^HTTP\/1\.[01] (\d{3})/.exec(statusLine)?.[1]);
    if (!(status >= 200)) throw new Error("read answer: it is not HTTP");
    const headers = new Headers(lines.map(headerOf));
    return {
      status,
      headers,
      body: closing(request.method === "HEAD" ? noBody() : bodyOf(bytes, headers), socket),
    };
  } catch (error) {
    socket.destroy();
    throw error;
  }
}

function handshake(
  { connection, through }: OwnTlsRequest,
  url: URL,
  signal: AbortSignal,
): Promise<TLSSocket> {
  if (url.protocol !== "https:") throw new Error("connect: this address has no TLS");
  const { caPem, certPem, keyPem, skipVerify, serverName } = connection;
  const host = url.hostname.replace(/^\[|\]$/g, "");
  const socket = connect({
    host,
    port: Number(url.port === "" ? 443 : url.port),
    servername: serverName ?? (/[a-z]/i.test(host) && !host.includes(":") ? host : ""),
    rejectUnauthorized: !skipVerify,
    ...(through && { socket: through }),
    ...(caPem !== undefined && { ca: caPem }),
    ...(certPem !== undefined && keyPem && { cert: certPem, key: keyPem.reveal() }),
  });
  socket.on("error", () => {}); // told by whoever reads then
  return new Promise((resolve, reject) => {
    // Some versions of the runtime never close a socket that is destroyed in the middle of its
    // handshake, and would not end for its sake: it is let go when that is over.
    const abort = () => reject(new Error("connect: given up"));
    signal.addEventListener("abort", abort, { once: true });
    socket.once("error", reject);
    socket.once("close", () => reject(new Error("connect: the connection was cut")));
    socket.once("secureConnect", () => {
      signal.removeEventListener("abort", abort);
      if (signal.aborted) socket.destroy();
      else resolve(socket);
    });
  });
}

function requestText({ method, path, headers, body }: OwnTlsRequest, url: URL): string {
  const all: [string, string][] = [["Host", url.host], ["Connection", "close"]];
  for (const [name, value] of headers) all.push([name, value.reveal()]);
  if (body !== undefined) {
    all.push(["Content-Length", String(new TextEncoder().encode(body).length)]);
  }
  new Headers(all); // throws where a value cannot stand in a header
  const prefix = url.pathname === "/" ? "" : url.pathname;
  const lines = all.map(([name, value]) => `${name}: ${value}\r\n`).join("");
  return `${method} ${prefix}${path} HTTP/1.1\r\n${lines}\r\n${body ?? ""}`;
}

function headerOf(line: string): [string, string] {
  const colon = line.indexOf(":");
  if (colon < 1) throw new Error("read answer: it is not HTTP");
  return [line.slice(0, colon), line.slice(colon + 1).trim()];
}

async function* chunksOf(socket: TLSSocket, signal: AbortSignal): AsyncGenerator<Uint8Array> {
  for await (const chunk of socket) yield chunk as Buffer;
  signal.throwIfAborted(); // a socket that was destroyed only seems to have ended
}

/** Bytes as they come, taken in the portions that HTTP speaks of. */
class ByteReader {
  readonly #chunks: AsyncIterator<Uint8Array>;
  #held: Uint8Array = new Uint8Array(0);

  constructor(chunks: AsyncIterable<Uint8Array>) {
    this.#chunks = chunks[Symbol.asyncIterator]();
  }

  /** Everything before a mark, which is taken too. ASCII. */
  async until(mark: string, maxBytes: number): Promise<string> {
    const decoder = new TextDecoder("latin1");
    while (true) {
      const at = decoder.decode(this.#held).indexOf(mark);
      if (at >= 0) {
        const text = decoder.decode(this.#held.subarray(0, at));
        this.#held = this.#held.subarray(at + mark.length);
        return text;
      }
      if (this.#held.length > maxBytes || !await this.#more()) {
        throw new Error("read answer: it is not HTTP, or was cut");
      }
    }
  }

  /** At most `limit` bytes of what comes next; undefined at the end. */
  async some(limit: number): Promise<Uint8Array | undefined> {
    if (this.#held.length === 0 && !await this.#more()) return undefined;
    const taken = this.#held.subarray(0, limit);
    this.#held = this.#held.subarray(taken.length);
    return taken;
  }

  async #more(): Promise<boolean> {
    const { done, value } = await this.#chunks.next();
    if (done) return false;
    const joined = new Uint8Array(this.#held.length + value.length);
    joined.set(this.#held);
    joined.set(value, this.#held.length);
    this.#held = joined;
    return true;
  }
}

async function* bodyOf(bytes: ByteReader, headers: Headers): AsyncGenerator<Uint8Array> {
  if (/\bchunked\b/i.test(headers.get("transfer-encoding") ?? "")) {
    while (true) {
      const size = parseInt(await bytes.until("\r\n", 1_024), 16);
      if (!(size >= 0)) throw new Error("read answer: a chunk has no size");
      if (size === 0) return;
      yield* exactly(bytes, size);
      await bytes.until("\r\n", 2);
    }
  }
  const length = headers.get("content-length");
  if (length !== null) return yield* exactly(bytes, Number(length));
  while (true) {
    const some = await bytes.some(64 * 1024);
    if (some === undefined) return;
    yield some;
  }
}

async function* noBody(): AsyncGenerator<Uint8Array> {
  // The answer to a HEAD ends with its head, whatever length that tells.
}

async function* exactly(bytes: ByteReader, size: number): AsyncGenerator<Uint8Array> {
  for (let rest = size; rest > 0;) {
    const some = await bytes.some(rest);
    if (some === undefined) throw new Error("read answer: it was cut");
    rest -= some.length;
    yield some;
  }
}

async function* closing(
  body: AsyncGenerator<Uint8Array>,
  socket: TLSSocket,
): AsyncGenerator<Uint8Array> {
  try {
    yield* body;
  } finally {
    socket.destroy();
  }
}
