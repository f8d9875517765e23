import { tryClose } from "./files.ts";
import { writeAll } from "./http1.ts";
import { acceptAll, bindUnix, type BoundSocket } from "./listeners.ts";

/** Observes one connection. Must not throw, keep a chunk or modify it. */
export interface ByteReader {
  /** Calls that have started and not completed. */
  readonly callsInFlight: number;
  fromClient(chunk: Uint8Array): void;
  fromServer(chunk: Uint8Array): void;
  clientEnded(): void;
  closed(): void;
}

/** Options of {@linkcode serveByteProxy}. */
export interface ByteProxyOptions {
  /** Path of the proxy's socket, which gets mode 0600. */
  readonly path: string;
  /** Path of the upstream socket. */
  readonly upstream: string;
  /**
   * Concurrent connections; further ones are closed immediately.
   *
   * @default 1024
   */
  readonly maxConnections?: number;
  /** Creates the reader of a new connection. */
  readonly reader: () => ByteReader;
}

const CHUNK_BYTES = 64 * 1024;

/**
 * Serves a unix socket by copying all bytes to an upstream socket and back. A chunk is written
 * before the next one is read, and each direction is closed independently. If the upstream cannot
 * be reached, the client's connection is closed.
 *
 * @throws {AgentError} `io` if it cannot listen on the socket.
 */
export async function serveByteProxy(options: ByteProxyOptions): Promise<ByteProxy> {
  return new ByteProxy(await bindUnix(options.path), options);
}

/** A client and the upstream connection that serves it. */
interface Pair {
  readonly client: Deno.UnixConn;
  server?: Deno.UnixConn;
  reader?: ByteReader;
}

/** A proxy that runs until it is disposed. */
export class ByteProxy implements AsyncDisposable {
  readonly #bound: BoundSocket;
  readonly #options: ByteProxyOptions;
  readonly #stopping = new AbortController();
  readonly #accepting: Promise<void>;
  readonly #pairs = new Map<Pair, Promise<void>>();
  #connections = 0;
  #refusedConnections = 0;
  #bytesFromClients = 0;
  #bytesFromServer = 0;
  /** Chunks that are being written. */
  #writes = 0;

  constructor(bound: BoundSocket, options: ByteProxyOptions) {
    this.#bound = bound;
    this.#options = options;
    const admit = (client: Deno.UnixConn) => this.#admit(client);
    this.#accepting = acceptAll(bound.listener, admit, this.#stopping);
  }

  /** Returns counters since the start; refused connections were closed immediately. */
  counts() {
    return {
      openConnections: this.#pairs.size,
      connections: this.#connections,
      refusedConnections: this.#refusedConnections,
      bytesToRuntime: this.#bytesFromClients,
      bytesToClients: this.#bytesFromServer,
    };
  }

  /** Whether no call is in flight and no write is pending. */
  isIdle(): boolean {
    return this.#writes === 0 && this.#pairs.keys().every(({ reader }) => !reader?.callsInFlight);
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.#stopping.abort();
    this.#bound.listener.close();
    for (const pair of this.#pairs.keys()) closeBoth(pair);
    await this.#bound.remove();
    await this.#accepting;
    await Promise.all(this.#pairs.values());
  }

  #admit(client: Deno.UnixConn): void {
    this.#connections++;
    if (this.#pairs.size >= (this.#options.maxConnections ?? 1_024)) {
      this.#refusedConnections++;
      return tryClose(client);
    }
    const pair = { client };
    this.#pairs.set(pair, this.#join(pair).finally(() => this.#pairs.delete(pair)));
  }

  /** Connects a client to the upstream, until both directions are closed. */
  async #join(pair: Pair): Promise<void> {
    try {
      const { client } = pair;
      const server = await Deno.connect({ transport: "unix", path: this.#options.upstream });
      pair.server = server;
      const reader = pair.reader = this.#options.reader();
      const up = this.#copy(client, server, (chunk) => {
        this.#bytesFromClients += chunk.length;
        reader.fromClient(chunk);
      }, () => reader.clientEnded());
      const down = this.#copy(server, client, (chunk) => {
        this.#bytesFromServer += chunk.length;
        reader.fromServer(chunk);
      });
      await Promise.all([up, down]);
      reader.closed();
    } catch {
      this.#refusedConnections++; // the upstream is unreachable
    } finally {
      closeBoth(pair);
    }
  }

  /** Copies one direction to its end. An error closes both directions. */
  async #copy(
    from: Deno.UnixConn,
    to: Deno.UnixConn,
    read: (chunk: Uint8Array) => void,
    ended = () => {},
  ): Promise<void> {
    const buffer = new Uint8Array(CHUNK_BYTES);
    try {
      while (true) {
        const count = await from.read(buffer);
        if (count === null) break;
        const chunk = buffer.subarray(0, count);
        this.#writes++;
        try {
          const writing = writeAll(to, chunk);
          // Read synchronously while the write is pending: the reader sees every request before its
          // response.
          read(chunk);
          await writing;
        } finally {
          this.#writes--;
        }
      }
      ended();
      await to.closeWrite();
    } catch {
      tryClose(from);
      tryClose(to);
    }
  }
}

function closeBoth({ client, server }: Pair): void {
  tryClose(client);
  tryClose(server);
}
