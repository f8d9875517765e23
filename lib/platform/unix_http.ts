import {
  type CallOptions,
  Secret,
  Semaphore,
  type UnixHttp,
  type UnixHttpRequest,
  type UnixHttpResult,
} from "../model/mod.ts";
import { systemClock } from "./host.ts";
import { ClientConnection, HttpMessageError } from "./http1.ts";

const MAX_BYTES = 16 * 1024 * 1024;
/** Connections per socket: a slow response does not hold up the next request. */
const MAX_CONNECTIONS = 2;
/** Time after the end of a connection in which an exiting process closes its listener. */
const EXIT_MS = 50;
/** Sockets whose connections are kept open: more than a node has daemons. */
const MAX_IDLE_PEERS = 128;
/** Deadlines are checked this often. */
const DEADLINE_CHECK_MS = 800;

const HEADERS = [["Host", "localhost"]] as const;
const HEADERS_OF_JSON = [...HEADERS, ["Content-Type", "application/json"]] as const;
const decoder = new TextDecoder();

/** Options of {@linkcode createUnixHttp}. */
export interface UnixHttpOptions {
  /** Called if a peer exits while it has an idle connection: nothing listens on its socket. */
  readonly exited?: (socketPath: string) => void;
}

/** Creates a client for HTTP over unix sockets, with at most two connections per socket. */
export function createUnixHttp(options: UnixHttpOptions = {}): UnixHttp {
  return new PooledUnixHttp(options);
}

/** The connections to one socket. */
class Peer {
  readonly semaphore = new Semaphore(MAX_CONNECTIONS);
  readonly idle: ClientConnection[] = [];
  /** Requests that run or wait for a connection. */
  pending = 0;
}

/** A request until its caller has a result. */
interface Call {
  readonly request: UnixHttpRequest;
  /** The connection that it uses. */
  connection?: ClientConnection;
  /** Whether the head of a response has arrived. */
  isAnswered: boolean;
  isCancelled: boolean;
}

/**
 * Invariants: a connection is idle or belongs to exactly one call; one that failed, or delivered
 * an error status, is closed and never idle; at most `MAX_CONNECTIONS` calls of a socket run.
 */
class PooledUnixHttp implements UnixHttp {
  readonly #peers = new Map<string, Peer>();
  readonly #exited: UnixHttpOptions["exited"];
  readonly #disposed = new AbortController();

  constructor({ exited }: UnixHttpOptions) {
    this.#exited = exited;
  }

  async request(request: UnixHttpRequest, { signal }: CallOptions = {}): Promise<UnixHttpResult> {
    signal?.throwIfAborted();
    const { socketPath, timeoutMs } = request;
    const peer = this.#peers.get(socketPath) ?? new Peer();
    this.#peers.set(socketPath, peer);
    const call: Call = { request, isAnswered: false, isCancelled: false };
    const cancelled = Promise.withResolvers<UnixHttpResult>();
    const cancel = () => {
      call.isCancelled = true;
      call.connection?.close();
      cancelled.resolve({ kind: "timed-out" });
    };
    // A timer of its own would wake an idle process again, although it is cleared.
    const deadlineMs = performance.now() + timeoutMs;
    const timer = systemClock.every(DEADLINE_CHECK_MS, () => {
      if (performance.now() >= deadlineMs) cancel();
    });
    signal?.addEventListener("abort", cancel);
    peer.pending++;
    try {
      const work = peer.semaphore.run(() => this.#run(peer, call));
      const result = await Promise.race([work, cancelled.promise]);
      signal?.throwIfAborted();
      return result;
    } finally {
      timer[Symbol.dispose]();
      signal?.removeEventListener("abort", cancel);
      peer.pending--;
      this.#forgetUnused(socketPath, peer);
    }
  }

  [Symbol.dispose](): void {
    this.#disposed.abort();
    for (const { idle } of this.#peers.values()) {
      for (const connection of idle.splice(0)) connection.close();
    }
  }

  async #run(peer: Peer, call: Call): Promise<UnixHttpResult> {
    if (call.isCancelled) return { kind: "timed-out" };
    const idle = peer.idle.pop();
    if (idle !== undefined) {
      const result = await this.#exchange(peer, idle, call);
      // The peer may have closed the idle connection: idempotent requests are retried on a new one.
      if (call.isAnswered || call.isCancelled || call.request.method === "POST") return result;
    }
    const opened = await connect(call.request.socketPath);
    if (!(opened instanceof ClientConnection)) return opened;
    return await this.#exchange(peer, opened, call);
  }

  async #exchange(peer: Peer, connection: ClientConnection, call: Call): Promise<UnixHttpResult> {
    const { socketPath, method, path, body, maxBytes = MAX_BYTES } = call.request;
    call.connection = connection;
    let isReusable = false;
    try {
      if (call.isCancelled) return { kind: "timed-out" };
      const headers = body === undefined ? HEADERS : HEADERS_OF_JSON;
      const response = await connection.send({ method, target: path, headers, body });
      call.isAnswered = true;
      const bytes = await connection.reader.wholeBody(response.framing, maxBytes);
      // After an error status the peer may still be processing the request.
      isReusable = response.keepAlive && response.status < 300 &&
        !connection.reader.hasBufferedBytes && !call.isCancelled;
      return {
        kind: "answered",
        status: response.status,
        body: new Secret(decoder.decode(bytes)),
      };
    } catch (error) {
      const reason = error instanceof HttpMessageError ? error.reason : "incomplete";
      const detail = reason === "incomplete"
        ? "the connection was cut"
        : reason === "too-large"
        ? `the response is larger than ${maxBytes} bytes`
        : "the response is not HTTP";
      return broken(detail);
    } finally {
      delete call.connection;
      const canKeep = this.#peers.size <= MAX_IDLE_PEERS && !this.#disposed.signal.aborted;
      if (isReusable && canKeep) this.#keep(socketPath, peer, connection);
      else connection.close();
    }
  }

  #keep(socketPath: string, peer: Peer, connection: ClientConnection): void {
    peer.idle.push(connection);
    connection.idle(() => {
      const at = peer.idle.indexOf(connection);
      if (at < 0) return; // in use again
      peer.idle.splice(at, 1);
      connection.close();
      this.#forgetUnused(socketPath, peer);
      this.#reportExit(socketPath, peer).catch(() => {}); // rejects only when disposed
    });
  }

  /** Reports an exit, as opposed to a connection that the peer closed because it was idle. */
  async #reportExit(socketPath: string, peer: Peer): Promise<void> {
    if (this.#exited === undefined) return;
    await systemClock.sleep(EXIT_MS, this.#disposed);
    if (peer.pending + peer.idle.length > 0) return;
    const opened = await connect(socketPath);
    if (opened instanceof ClientConnection) return opened.close();
    if (opened.kind === "no-socket" || opened.kind === "no-listener") this.#exited(socketPath);
  }

  #forgetUnused(socketPath: string, peer: Peer): void {
    const isUsed = peer.pending + peer.idle.length > 0;
    if (!isUsed && this.#peers.get(socketPath) === peer) this.#peers.delete(socketPath);
  }
}

async function connect(path: string): Promise<ClientConnection | UnixHttpResult> {
  try {
    return new ClientConnection(await Deno.connect({ transport: "unix", path }));
  } catch (error) {
    if (error instanceof Deno.errors.NotFound) return { kind: "no-socket" };
    if (error instanceof Deno.errors.ConnectionRefused) return { kind: "no-listener" };
    // Its accept queue is full, as if it accepted and did not respond.
    if (error instanceof Deno.errors.WouldBlock) return { kind: "timed-out" };
    const name = error instanceof Error ? error.name : "unknown error";
    return broken(`failed to connect to the socket: ${name}`);
  }
}

function broken(detail: string): UnixHttpResult {
  return { kind: "broken", detail };
}
