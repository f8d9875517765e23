import {
  type CallOptions,
  Deadline,
  Secret,
  Semaphore,
  type UnixHttp,
  type UnixHttpRequest,
  type UnixHttpResult,
} from "../model/mod.ts";
import { systemClock } from "./host.ts";
import { ClientConnection } from "./http1.ts";
import { HttpMessageError } from "./http1.ts";

const MAX_BYTES = 16 * 1024 * 1024;
/** Connections per socket: a slow response does not hold up the next request. */
const MAX_CONNECTIONS = 2;
/** Time after the end of a connection in which an exiting process closes its listener. */
const EXIT_MS = 50;
/** Idle connections to all sockets; above that, the least recently used ones are closed. */
const MAX_IDLE = 256;

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

  closeIdle(): void {
    for (const connection of this.idle.splice(0)) connection.close();
  }
}

/** A result, and whether the connection failed before a response arrived. */
interface Attempt {
  readonly result: UnixHttpResult;
  readonly isUnanswered?: boolean;
}

/**
 * Invariants: a connection is idle or belongs to exactly one request; one that failed, or delivered
 * an error status, is closed and never idle; at most `MAX_CONNECTIONS` requests of a socket run.
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
    using deadline = new Deadline(request.timeoutMs, signal);
    const { socketPath } = request;
    const peer = this.#peers.get(socketPath) ?? new Peer();
    this.#peers.delete(socketPath);
    this.#peers.set(socketPath, peer); // moves it to the end: the first is least recently used
    peer.pending++;
    try {
      const { signal } = deadline;
      return await deadline.race(peer.semaphore.run(() => this.#run(peer, request, signal)));
    } catch (error) {
      signal?.throwIfAborted();
      if (deadline.passed) return { kind: "timed-out" };
      throw error;
    } finally {
      peer.pending--;
      this.#tidy(socketPath, peer);
    }
  }

  [Symbol.dispose](): void {
    this.#disposed.abort();
    for (const peer of this.#peers.values()) peer.closeIdle();
    this.#peers.clear();
  }

  async #run(
    peer: Peer,
    request: UnixHttpRequest,
    signal: AbortSignal,
  ): Promise<UnixHttpResult> {
    signal.throwIfAborted();
    const idle = peer.idle.pop();
    if (idle !== undefined) {
      const { result, isUnanswered } = await this.#exchange(peer, idle, request, signal);
      // The peer may have closed the idle connection: idempotent requests are retried on a new one.
      if (!isUnanswered || request.method === "POST") return result;
    }
    const opened = await connect(request.socketPath);
    if (!(opened instanceof ClientConnection)) return opened;
    return (await this.#exchange(peer, opened, request, signal)).result;
  }

  async #exchange(
    peer: Peer,
    connection: ClientConnection,
    { socketPath, method, path, body, maxBytes = MAX_BYTES }: UnixHttpRequest,
    signal: AbortSignal,
  ): Promise<Attempt> {
    const abort = () => connection.close();
    signal.addEventListener("abort", abort);
    let isUnanswered = true;
    let isReusable = false;
    try {
      signal.throwIfAborted();
      const type = body === undefined ? [] : [["Content-Type", "application/json"] as const];
      const headers = [["Host", "localhost"] as const, ...type];
      const response = await connection.send({ method, target: path, headers, body });
      isUnanswered = false;
      const bytes = await connection.reader.wholeBody(response.framing, maxBytes);
      // After an error status the peer may still be processing the request.
      isReusable = response.keepAlive && response.status < 300 &&
        !connection.reader.hasBufferedBytes && !signal.aborted;
      const text = new TextDecoder().decode(bytes);
      return { result: { kind: "answered", status: response.status, body: new Secret(text) } };
    } catch (error) {
      signal.throwIfAborted();
      const reason = error instanceof HttpMessageError ? error.reason : "incomplete";
      const detail = reason === "incomplete"
        ? "the connection was cut"
        : reason === "too-large"
        ? `the response is larger than ${maxBytes} bytes`
        : "the response is not HTTP";
      return { result: broken(detail), isUnanswered };
    } finally {
      signal.removeEventListener("abort", abort);
      if (isReusable) this.#keep(socketPath, peer, connection);
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
      this.#tidy(socketPath, peer);
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

  #tidy(socketPath: string, peer: Peer): void {
    if (this.#peers.get(socketPath) !== peer) return peer.closeIdle(); // disposed meanwhile
    if (peer.pending + peer.idle.length === 0) this.#peers.delete(socketPath);
    let idle = this.#peers.values().reduce((sum, each) => sum + each.idle.length, 0);
    for (const [path, each] of this.#peers) {
      if (idle <= MAX_IDLE) break;
      idle -= each.idle.length;
      each.closeIdle();
      if (each.pending === 0) this.#peers.delete(path);
    }
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
