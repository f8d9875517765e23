import type { Clock } from "../model/mod.ts";
import { systemClock } from "./clock.ts";
import {
  ACCEPT_PAUSE_MS,
  CHECK_EVERY_MS,
  type Client,
  closeQuietly,
  type Connection,
  DEADLINES,
  DRAIN_MS,
  GIVES_WAY_MS,
  isStalled,
  isWaiting,
  MAX_CONNECTIONS,
  MAX_HEAD_BYTES,
  MAX_LARGE_RESPONSES,
  MAX_LINGER_BYTES,
  REOPEN_AFTER,
  SMALL_BYTES,
  WRITE_BYTES,
} from "./http_connection.ts";
import { busyResponse, headOf, requestOf } from "./http_messages.ts";
import { type HttpRequest, HttpRequestReader, RequestError } from "./http_request.ts";
import { systemReason } from "./system_reason.ts";

/** Responds to one request. */
export type Handler = (request: Request) => Response | Promise<Response>;

/** Limits of an {@linkcode HttpServer}. */
export interface HttpServerOptions {
  /** @default 64 */
  readonly maxConnections?: number;
  /** @default {systemClock} */
  readonly clock?: Clock;
  /** Reports once when connections cannot be accepted, until they can again. */
  readonly warn?: (text: string) => void;
}

type Listener = Deno.TcpListener | Deno.UnixListener;

/**
 * Serves HTTP/1.0 and HTTP/1.1 without any way for a client to hold more than its share: each phase
 * of a connection has a deadline, and connections are limited in total, and to half of that per
 * address of another machine. A new connection beyond a limit takes the place of the one that has been
 * waiting for its client the longest; where all of them are being served it gets 503.
 *
 * Invariants:
 * - A client is in `#clients` until its loop has ended, and so until its descriptor is closed.
 * - A client's phase is `response` while one of its writes is pending.
 * - At most `MAX_LARGE_RESPONSES` writes can be stalled: everything else fits into the buffer of
 *   the kernel. Deno 2.6 does not end a pending write when its connection is closed, so these
 *   descriptors may stay open until the client reads or leaves. They do not count as connections.
 */
export class HttpServer implements AsyncDisposable {
  readonly #open: () => Promise<Listener>;
  readonly #handler: Handler;
  readonly #maxConnections: number;
  readonly #clock: Clock;
  readonly #warn: (text: string) => void;
  readonly #clients = new Map<Client, Promise<void>>();
  readonly #large = new Set<Client>();
  readonly #stopping = new AbortController();
  #waitingForLarge: (() => void)[] = [];
  #listener: Listener;
  #checking = false;
  #accepting: Promise<void>;

  /** @param open Opens the listener again, should it fail. */
  constructor(
    listener: Listener,
    open: () => Promise<Listener>,
    handler: Handler,
    options: HttpServerOptions = {},
  ) {
    this.#listener = listener;
    this.#open = open;
    this.#handler = handler;
    this.#maxConnections = options.maxConnections ?? MAX_CONNECTIONS;
    this.#clock = options.clock ?? systemClock;
    this.#warn = options.warn ?? (() => {});
    this.#accepting = this.#acceptAll();
  }

  /** Stops accepting, lets requests in progress finish for a moment, and closes everything. */
  async [Symbol.asyncDispose](): Promise<void> {
    this.#stopping.abort();
    closeQuietly(this.#listener);
    await this.#accepting;
    for (const client of this.#clients.keys()) if (isWaiting(client)) this.#close(client);
    const drained = new AbortController();
    await Promise.race([
      Promise.all(this.#clients.values()),
      this.#clock.sleep(DRAIN_MS, { signal: drained.signal }).catch(() => {}),
    ]);
    drained.abort();
    // A handler or, with Deno 2.6, a write may go on: nobody waits for it.
    const ending = [...this.#clients].filter(([client]) => isWaiting(client));
    for (const client of this.#clients.keys()) this.#close(client);
    await Promise.all(ending.map(([, loop]) => loop));
  }

  async #acceptAll(): Promise<void> {
    const { signal } = this.#stopping;
    let failures = 0;
    while (!signal.aborted) {
      try {
        const connection = await this.#listener.accept();
        failures = 0;
        this.#admit(connection);
      } catch (error) {
        if (signal.aborted) return;
        if (failures++ === 0) {
          this.#warn(`failed to accept connections: ${systemReason(error)}; retrying`);
        }
        // Without free descriptors, a client that has nothing to do gives way.
        this.#evict([...this.#clients.keys()]);
        await this.#clock.sleep(ACCEPT_PAUSE_MS, { signal }).catch(() => {});
        if (!signal.aborted && failures % REOPEN_AFTER === 0) await this.#reopen();
      }
    }
  }

  async #reopen(): Promise<void> {
    closeQuietly(this.#listener);
    try {
      this.#listener = await this.#open();
      if (this.#stopping.signal.aborted) closeQuietly(this.#listener);
    } catch {
      // accept() fails on the closed listener, which leads here again.
    }
  }

  #admit(connection: Connection): void {
    const { remoteAddr } = connection;
    // All users of this machine have the same addresses, so that a share of each protects nobody.
    const isRemote = remoteAddr.transport === "tcp" && !/^(?:127\.|::1$)/.test(remoteAddr.hostname);
    const address = isRemote ? remoteAddr.hostname : undefined;
    const open = [...this.#clients.keys()].filter(({ closed }) => !closed);
    const own = open.filter((client) => client.address === address);
    const isFull = open.length >= this.#maxConnections;
    const hasShare = address !== undefined && own.length >= Math.ceil(this.#maxConnections / 2);
    if ((hasShare && !this.#evict(own)) || (!hasShare && isFull && !this.#evict(open))) {
      void connection.write(busyResponse()).catch(() => {}).finally(() => closeQuietly(connection));
      return;
    }
    if ("setNoDelay" in connection) connection.setNoDelay(true);
    const nowMs = this.#clock.monotonicMs();
    const client: Client = {
      connection,
      address,
      jitter: "idle",
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

  /** Closes the client that has been without progress the longest, if there is one. */
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
    closeQuietly(client.connection);
  }

  #enter(client: Client, jitter: Client["jitter"]): void {
    client.jitter = jitter;
    client.progressAtMs = this.#clock.monotonicMs();
    client.deadlineMs = client.progressAtMs + DEADLINES[jitter];
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
        const stalledMs = client.jitter === "response" ? nowMs - client.progressAtMs : 0;
        if (client.jitter === "queued") continue; // it gets 503
        if (nowMs >= client.deadlineMs || stalledMs >= DEADLINES.stalled) this.#close(client);
      }
    }
    this.#checking = false;
  }

  async #serve(client: Client): Promise<void> {
    const { connection } = client;
    const reader = new HttpRequestReader(connection);
    try {
      for (let goesOn = true; goesOn && !client.closed;) {
        this.#enter(client, "idle");
        if (!await reader.begin()) return;
        this.#enter(client, "head");
        const request = await reader.next(() => this.#enter(client, "body"));
        if (request === undefined) return;
        this.#enter(client, "handler");
        const response = await this.#respond(request);
        const keepAlive = request.keepAlive && !this.#stopping.signal.aborted;
        goesOn = await this.#send(client, response, keepAlive, request.method === "HEAD");
      }
    } catch (error) {
      if (!(error instanceof RequestError) || client.closed) return;
      await this.#send(client, new Response(null, { status: error.status }), false, false);
    }
    if (!client.closed) await this.#linger(client);
  }

  async #respond(request: HttpRequest): Promise<Response> {
    try {
      return await this.#handler(requestOf(request));
    } catch (error) {
      // Handlers respond to their own errors; what they throw is not shown to clients.
      return new Response(null, { status: error instanceof RequestError ? error.status : 500 });
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
    if (hasNoBody) await response.body?.cancel();
    else if (headers.has("content-length")) chunks = response.body ?? [];
    else {
      const body = new Uint8Array(await response.arrayBuffer());
      headers.set("content-length", String(body.length));
      chunks = [body];
    }
    const bodyBytes = hasNoBody ? 0 : Number(headers.get("content-length"));
    const sentBytes = client.writtenBytes;
    client.writtenBytes += MAX_HEAD_BYTES + bodyBytes;
    const isLarge = client.writtenBytes > SMALL_BYTES;
    if (isLarge && !await this.#takeLargeSlot(client)) {
      if (sentBytes === 0) await this.#write(client, busyResponse());
      return false;
    }
    // So that what may stay unread on a connection never exceeds what the kernel takes.
    const goesOn = keepAlive && client.writtenBytes + MAX_HEAD_BYTES <= SMALL_BYTES;
    const head = headOf(status, headers, goesOn);
    try {
      this.#enter(client, "response");
      await this.#write(client, head);
      for await (const chunk of chunks) await this.#write(client, chunk);
    } finally {
      if (this.#large.delete(client)) this.#waitingForLarge.shift()?.();
    }
    return goesOn;
  }

  /** Waits for one of the few places; false when none becomes free in time. */
  async #takeLargeSlot(client: Client): Promise<boolean> {
    this.#enter(client, "queued");
    while (this.#large.size >= MAX_LARGE_RESPONSES) {
      const nowMs = this.#clock.monotonicMs();
      if (client.closed || nowMs >= client.deadlineMs) return false;
      this.#evict([...this.#large].filter((other) => isStalled(other, nowMs)));
      const freed = new AbortController();
      this.#waitingForLarge.push(() => freed.abort());
      await this.#clock.sleep(GIVES_WAY_MS, { signal: freed.signal }).catch(() => {});
    }
    this.#large.add(client);
    return true;
  }

  async #write(client: Client, bytes: Uint8Array): Promise<void> {
    for (let done = 0; done < bytes.length && !client.closed;) {
      done += await client.connection.write(bytes.subarray(done, done + WRITE_BYTES));
      client.progressAtMs = this.#clock.monotonicMs();
    }
    if (client.closed) throw new Deno.errors.Interrupted("the connection was closed");
  }

  /** Closing with bytes unread would reset the connection, and the client lose our response. */
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
