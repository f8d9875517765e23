import { AgentError, type Clock, messageOf } from "../model/mod.ts";
import { systemReason, tryClose } from "./files.ts";
import { systemClock } from "./host.ts";
import { bodyFraming, HttpMessageError, MessageReader, writeHead } from "./http1.ts";
import { acceptAll, bindUnix } from "./listeners.ts";

/** Limits of a request. */
const MAX_REQUEST_HEAD_BYTES = 16_384;
const MAX_HEADERS = 100;
const MAX_TARGET_LENGTH = 8_192;
const MAX_BODY_BYTES = 65_536;

/** A request that was read completely. */
export interface ReceivedRequest {
  readonly request: Request;
  /** Whether the client may send another request over this connection. */
  readonly keepAlive: boolean;
}

/** Thrown for a request that gets an error status, after which the connection is closed. */
export class RequestError extends Error {
  override readonly name = "RequestError";
  readonly status: 400 | 413 | 414 | 431 | 501 | 505;

  constructor(status: RequestError["status"]) {
    super(`HTTP ${status}`);
    this.status = status;
  }
}

const HOST = /^[A-Za-z0-9.\-_:[\]]*$/;
/** First line of an HTTP/2 connection, which is closed without a response. */
const PREFACE = "PRI * HTTP/2.0";

/**
 * Reads an HTTP/1.0 or HTTP/1.1 request. Rejects everything that two readers could interpret
 * differently (RFC 9112, section 11.2). Resolves to undefined if the stream ends first, and for
 * HTTP/2.
 *
 * @param reader A strict reader.
 * @throws {RequestError} if the request is malformed or exceeds a limit.
 */
export async function readRequest(
  reader: MessageReader,
  onHead: () => void = () => {},
): Promise<ReceivedRequest | undefined> {
  let hasHead = false;
  try {
    const limits = { maxBytes: MAX_REQUEST_HEAD_BYTES, maxFields: MAX_HEADERS };
    const message = await reader.head(limits);
    if (message === undefined || message.startLine === PREFACE) return undefined;
    const headers = new Headers([...message.headers]);
    const { method, url, keepAlive, framing } = parseHead(message.startLine, headers);
    hasHead = true;
    onHead();
    const body = await reader.wholeBody(framing, MAX_BODY_BYTES);
    const hasBody = method !== "GET" && method !== "HEAD" && body.length > 0;
    return { request: new Request(url, { method, headers, ...(hasBody && { body }) }), keepAlive };
  } catch (error) {
    if (error instanceof TypeError) throw new RequestError(400); // from `Request`
    if (!(error instanceof HttpMessageError)) throw error;
    if (error.reason === "incomplete") return undefined;
    if (error.reason === "too-large") throw new RequestError(413);
    throw new RequestError(error.reason === "too-long" && !hasHead ? 431 : 400);
  }
}

function parseHead(startLine: string, headers: Headers) {
  const parts = /^([A-Z]{1,16}) ([\x21-\x7e]+) HTTP\/1\.([01])$/.exec(startLine) ?? [];
  const [, method, target, minor] = parts;
  if (method === undefined || target === undefined) {
    throw new RequestError(/ HTTP\/[02-9]\.\d$/.test(startLine) ? 505 : 400);
  }
  if (target.length > MAX_TARGET_LENGTH) throw new RequestError(414);
  const isHttp11 = minor === "1";
  const host = headers.get("host");
  if (host === null ? isHttp11 : !HOST.test(host)) throw new RequestError(400);
  const options = (headers.get("connection") ?? "").toLowerCase().split(",");
  const keepAlive = isHttp11 && !options.some((option) => option.trim() === "close");
  // Deno's own client sends the absolute form to unix sockets. Two different hosts are rejected.
  const [, authority, path = target] = /^http:\/\/([^/?#]*)(.*)$/i.exec(target) ?? [];
  if (authority !== undefined && authority !== host) throw new RequestError(400);
  if (!path.startsWith("/") || path.includes("#")) throw new RequestError(400);
  const coding = headers.get("transfer-encoding");
  if (coding !== null && (headers.has("content-length") || !isHttp11)) throw new RequestError(400);
  if (coding !== null && coding.toLowerCase() !== "chunked") throw new RequestError(501);
  const framing = bodyFraming(new Map(headers), { unmarked: "none" });
  return { method, url: `http://${host || "localhost"}${path}`, keepAlive, framing };
}

/** Returns the head of a response; the body has to match `content-length`. */
function headOf(status: number, headers: Headers, keepAlive: boolean): Uint8Array {
  const own = [...headers].filter(([name]) =>
    name !== "connection" && name !== "transfer-encoding"
  );
  return new TextEncoder().encode(writeHead(`HTTP/1.1 ${status} `, [
    ["date", new Date().toUTCString()],
    ...own,
    ["connection", keepAlive ? "keep-alive" : "close"],
  ]));
}

/** Returns the response that is sent when a limit is reached. */
function busyResponse(): Uint8Array {
  return headOf(503, new Headers({ "retry-after": "1", "content-length": "0" }), false);
}

/** Deadline of each phase of a connection, in milliseconds. */
const DEADLINES = {
  /** Until the first byte of the next request. */
  idle: 15_000,
  /** From the first byte of a request to the end of its head. */
  head: 5_000,
  body: 10_000,
  handler: 60_000,
  /** Until a slot for a large response is free. */
  queued: 2_000,
  /** Without any progress of a response. */
  stalled: 5_000,
  /** For a complete response. */
  response: 20_000,
  /** For the client to read an error before the connection is closed. */
  linger: 1_000,
} as const;

const MAX_CONNECTIONS = 64;
/** Connections that may write a response of more than `SMALL_BYTES` at the same time. */
const MAX_LARGE_RESPONSES = 8;
/** Fits into the kernel's send buffer, so writing it never stalls. */
const SMALL_BYTES = 4_096;
/** Upper bound for the head of the agent's responses. */
const MAX_RESPONSE_HEAD_BYTES = 1_024;
/** A large response without progress for this time can be evicted for another. */
const EVICTABLE_AFTER_MS = 500;
const MAX_LINGER_BYTES = 262_144;
const CHECK_EVERY_MS = 500;
/** Time for requests in progress when the server stops. */
const DRAIN_MS = 1_500;

type Connection = Deno.TcpConn | Deno.UnixConn;

/** State of one client connection. */
interface Client {
  readonly connection: Connection;
  /** Undefined for unix sockets and for loopback. */
  readonly address: string | undefined;
  phase: "idle" | "head" | "body" | "handler" | "queued" | "response" | "linger";
  /** Monotonic times. */
  progressAtMs: number;
  deadlineMs: number;
  writtenBytes: number;
  /** Closed by the server. A pending write may keep the descriptor open for longer. */
  closed: boolean;
}

/** Whether the server waits for the client, so that closing the connection loses no response. */
function isWaiting({ phase }: Client): boolean {
  return phase !== "handler" && phase !== "response";
}

/** Whether the client has stopped reading its response. */
function isStalled({ phase, progressAtMs }: Client, nowMs: number): boolean {
  return phase === "response" && nowMs - progressAtMs >= EVICTABLE_AFTER_MS;
}

/** Responds to one request. */
export type Handler = (request: Request) => Response | Promise<Response>;

/** Limits of an {@linkcode HttpServer}. */
export interface HttpServerOptions {
  /** @default 64 */
  readonly maxConnections?: number;
  /** @default {systemClock} */
  readonly clock?: Clock;
  /** Called at the first of consecutive failures to accept connections. */
  readonly warn?: (text: string) => void;
}

type Listener = Deno.TcpListener | Deno.UnixListener;

/**
 * Serves HTTP/1.0 and HTTP/1.1 and bounds what each client can use: every phase of a connection has
 * a deadline, and the number of connections is limited, per remote address to half of the total. A
 * connection beyond a limit evicts the one that has been waiting for its client for longest; if all
 * of them are being served, it gets 503.
 *
 * Invariants:
 * - A client is in `#clients` until its loop has ended and its descriptor is closed.
 * - A client's phase is `response` while one of its writes is pending.
 * - At most `MAX_LARGE_RESPONSES` writes can be stalled; all other responses fit into the kernel's
 *   buffer. Deno 2.6 does not cancel a pending write when its connection is closed, so these
 *   descriptors may stay open until the client reads or leaves. They do not count as connections.
 */
export class HttpServer implements AsyncDisposable {
  readonly #listener: Listener;
  readonly #handler: Handler;
  readonly #maxConnections: number;
  readonly #clock: Clock;
  readonly #clients = new Map<Client, Promise<void>>();
  readonly #large = new Set<Client>();
  readonly #stopping = new AbortController();
  readonly #waitingForLarge = new Set<AbortController>();
  #checking = false;
  readonly #accepting: Promise<void>;

  constructor(
    listener: Listener,
    handler: Handler,
    { maxConnections = MAX_CONNECTIONS, clock = systemClock, warn = () => {} }: HttpServerOptions =
      {},
  ) {
    this.#listener = listener;
    this.#handler = handler;
    this.#maxConnections = maxConnections;
    this.#clock = clock;
    this.#accepting = acceptAll<Connection>(listener, (connection) => this.#admit(connection), {
      signal: this.#stopping.signal,
      clock,
      failed: (error, failures) => {
        const reason = systemReason(error);
        if (failures === 0) warn(`failed to accept connections: ${reason}; retrying`);
        this.#evict([...this.#clients.keys()]); // closing an idle client frees a descriptor
      },
    });
  }

  /** Stops accepting, gives requests in progress a short time to finish, and closes everything. */
  async [Symbol.asyncDispose](): Promise<void> {
    this.#stopping.abort();
    tryClose(this.#listener);
    await this.#accepting;
    for (const client of this.#clients.keys()) if (isWaiting(client)) this.#close(client);
    const drained = new AbortController();
    await Promise.race([
      Promise.all(this.#clients.values()),
      this.#clock.sleep(DRAIN_MS, drained),
    ]);
    drained.abort();
    // Handlers and, with Deno 2.6, writes may still run; they are not awaited.
    const ending = [...this.#clients].filter(([client]) => isWaiting(client));
    for (const client of this.#clients.keys()) this.#close(client);
    await Promise.all(ending.map(([, loop]) => loop));
  }

  #admit(connection: Connection): void {
    const { remoteAddr } = connection;
    // All local users have the same address, so a limit per address would not separate them.
    const isRemote = remoteAddr.transport === "tcp" && !/^(?:127\.|::1$)/.test(remoteAddr.hostname);
    const address = isRemote ? remoteAddr.hostname : undefined;
    const open = [...this.#clients.keys()].filter(({ closed }) => !closed);
    const own = open.filter((client) => client.address === address);
    const isFull = open.length >= this.#maxConnections;
    const hasShare = address !== undefined && own.length >= Math.ceil(this.#maxConnections / 2);
    if ((hasShare && !this.#evict(own)) || (!hasShare && isFull && !this.#evict(open))) {
      const close = () => tryClose(connection);
      connection.write(busyResponse()).then(close, close);
      return;
    }
    if ("setNoDelay" in connection) connection.setNoDelay(true);
    const nowMs = this.#clock.monotonicMs();
    const client: Client = {
      connection,
      address,
      phase: "idle",
      progressAtMs: nowMs,
      deadlineMs: nowMs + DEADLINES.idle,
      writtenBytes: 0,
      closed: false,
    };
    const serving = this.#serve(client).catch(() => {}).finally(() => {
      this.#close(client);
      this.#clients.delete(client);
    });
    this.#clients.set(client, serving);
    void this.#checkDeadlines();
  }

  /** Closes the client without progress for the longest time. Returns false if there is none. */
  #evict(clients: readonly Client[]): boolean {
    const nowMs = this.#clock.monotonicMs();
    const candidates = clients.filter((client) =>
      !client.closed && (isWaiting(client) || isStalled(client, nowMs))
    );
    const [first] = candidates.sort((a, b) => a.progressAtMs - b.progressAtMs);
    if (first !== undefined) this.#close(first);
    return first !== undefined;
  }

  #close(client: Client): void {
    if (client.closed) return;
    client.closed = true;
    tryClose(client.connection);
  }

  #enter(client: Client, phase: Client["phase"]): void {
    client.phase = phase;
    client.progressAtMs = this.#clock.monotonicMs();
    client.deadlineMs = client.progressAtMs + DEADLINES[phase];
  }

  /** Runs while there are clients. */
  async #checkDeadlines(): Promise<void> {
    if (this.#checking) return;
    this.#checking = true;
    while (this.#clients.size > 0) {
      const { signal } = this.#stopping;
      await this.#clock.sleep(CHECK_EVERY_MS, { signal }).catch(() => {});
      if (signal.aborted) break;
      const nowMs = this.#clock.monotonicMs();
      for (const client of this.#clients.keys()) {
        const stalledMs = client.phase === "response" ? nowMs - client.progressAtMs : 0;
        if (client.phase === "queued") continue; // gets 503 instead
        if (nowMs >= client.deadlineMs || stalledMs >= DEADLINES.stalled) this.#close(client);
      }
    }
    this.#checking = false;
  }

  async #serve(client: Client): Promise<void> {
    const { connection } = client;
    const reader = new MessageReader(connection, { strict: true });
    try {
      for (let isReusable = true; isReusable && !client.closed;) {
        this.#enter(client, "idle");
        if (!await reader.begin()) return;
        this.#enter(client, "head");
        const received = await readRequest(reader, () => this.#enter(client, "body"));
        if (received === undefined) return;
        this.#enter(client, "handler");
        const { request } = received;
        const response = await this.#respond(request);
        const keepAlive = received.keepAlive && !this.#stopping.signal.aborted;
        isReusable = await this.#send(client, response, keepAlive, request.method === "HEAD");
      }
    } catch (error) {
      if (!(error instanceof RequestError) || client.closed) return;
      await this.#send(client, new Response(null, { status: error.status }), false, false);
    }
    if (!client.closed) await this.#linger(client);
  }

  async #respond(request: Request): Promise<Response> {
    try {
      return await this.#handler(request);
    } catch {
      // Handlers respond to their own errors; anything else is not shown to clients.
      return new Response(null, { status: 500 });
    }
  }

  /** Returns whether the connection can be used for another request. */
  async #send(
    client: Client,
    response: Response,
    keepAlive: boolean,
    isHead: boolean,
  ): Promise<boolean> {
    const { status, headers } = response;
    const hasNoBody = isHead || status === 204 || status === 304;
    let chunks: AsyncIterable<Uint8Array> | Uint8Array[] = [];
    if (hasNoBody) response.body?.cancel().catch(() => {});
    else if (headers.has("content-length")) chunks = response.body ?? [];
    else {
      const body = new Uint8Array(await response.arrayBuffer());
      headers.set("content-length", String(body.length));
      chunks = [body];
    }
    const bodyBytes = hasNoBody ? 0 : Number(headers.get("content-length"));
    const sentBytes = client.writtenBytes;
    client.writtenBytes += MAX_RESPONSE_HEAD_BYTES + bodyBytes;
    const isLarge = client.writtenBytes > SMALL_BYTES;
    if (isLarge && !await this.#takeLargeSlot(client)) {
      if (sentBytes === 0) await this.#write(client, busyResponse());
      return false;
    }
    // Bounds the unread bytes of a connection to what the kernel buffers.
    const isReusable = keepAlive && client.writtenBytes + MAX_RESPONSE_HEAD_BYTES <= SMALL_BYTES;
    const head = headOf(status, headers, isReusable);
    try {
      this.#enter(client, "response");
      await this.#write(client, head);
      for await (const chunk of chunks) await this.#write(client, chunk);
    } finally {
      const [first] = this.#waitingForLarge;
      if (this.#large.delete(client) && first !== undefined) {
        this.#waitingForLarge.delete(first);
        first.abort();
      }
    }
    return isReusable;
  }

  /** Waits for a slot for a large response. Returns false if none becomes free in time. */
  async #takeLargeSlot(client: Client): Promise<boolean> {
    this.#enter(client, "queued");
    while (this.#large.size >= MAX_LARGE_RESPONSES) {
      const nowMs = this.#clock.monotonicMs();
      if (client.closed || nowMs >= client.deadlineMs) return false;
      this.#evict([...this.#large].filter((other) => isStalled(other, nowMs)));
      const freed = new AbortController();
      this.#waitingForLarge.add(freed);
      await this.#clock.sleep(EVICTABLE_AFTER_MS, freed).catch(() => {});
      this.#waitingForLarge.delete(freed);
    }
    this.#large.add(client);
    return true;
  }

  async #write(client: Client, bytes: Uint8Array): Promise<void> {
    for (let done = 0; done < bytes.length && !client.closed;) {
      done += await client.connection.write(bytes.subarray(done));
      client.progressAtMs = this.#clock.monotonicMs();
    }
    if (client.closed) throw new Deno.errors.Interrupted("the connection was closed");
  }

  /** Reads the rest of a request: closing with unread bytes would discard the response. */
  async #linger(client: Client): Promise<void> {
    this.#enter(client, "linger");
    await client.connection.closeWrite();
    const buffer = new Uint8Array(SMALL_BYTES);
    for (let read = 0; read < MAX_LINGER_BYTES;) {
      const count = await client.connection.read(buffer);
      if (count === null) return;
      read += count;
    }
  }
}

/**
 * Serves HTTP on an address until it is disposed, within the limits of {@linkcode HttpServer}.
 * Returns the actual port, also if port 0 was requested.
 *
 * @throws {AgentError} `io` if it cannot listen on the address.
 */
export function listenTcp(
  { hostname, port }: { readonly hostname: string; readonly port: number },
  handler: Handler,
  options: HttpServerOptions = {},
): AsyncDisposable & { readonly port: number } {
  try {
    const listener = Deno.listen({ hostname, port });
    const server = new HttpServer(listener, handler, options);
    const stop = () => server[Symbol.asyncDispose]();
    return { port: listener.addr.port, [Symbol.asyncDispose]: stop };
  } catch (error) {
    const host = hostname.includes(":") ? `[${hostname}]` : hostname;
    throw addressError(`${host}:${port}`, error);
  }
}

function addressError(address: string, error: unknown): AgentError {
  const remedy = "choose another address in server.address";
  const reason = error instanceof Deno.errors.AddrInUse
    ? `the port is in use by another process; stop it, or ${remedy}`
    : error instanceof Deno.errors.AddrNotAvailable
    ? `this machine does not have this address; ${remedy}`
    : error instanceof Deno.errors.PermissionDenied
    ? `permission denied; ports below 1024 are privileged: grant the capability, or ${remedy}`
    : `${messageOf(error)}; ${remedy}`;
  return new AgentError("io", `failed to listen on ${address}: ${reason}`, { cause: error });
}

/**
 * Serves HTTP on a unix socket until it is disposed, within the limits of {@linkcode HttpServer}. A
 * socket that a previous process left is replaced. Members of the group `gid` may connect, too.
 *
 * @throws {AgentError} `io` if the socket cannot be created, or another process listens on it.
 */
export async function listenUnix(
  path: string,
  handler: Handler,
  { gid, ...options }: HttpServerOptions & { readonly gid?: number } = {},
): Promise<AsyncDisposable> {
  const bound = await bindUnix(path, gid);
  const server = new HttpServer(bound.listener, handler, options);
  return {
    async [Symbol.asyncDispose]() {
      await bound.remove();
      await server[Symbol.asyncDispose]();
    },
  };
}
