import { tryClose } from "./files.ts";
import { bindUnix, type BoundSocket } from "./listeners.ts";

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
const MAX_CONNECTIONS = 1_024;

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

/** A proxy that runs until it is disposed. */
export class ByteProxy implements AsyncDisposable {
  readonly #bound: BoundSocket;
  readonly #options: ByteProxyOptions;
  readonly #accepting: Promise<void>;
  /** Both ends of every open connection. */
  readonly #open = new Set<Deno.UnixConn>();
  readonly #readers = new Set<ByteReader>();
  readonly #pairs = new Set<Promise<void>>();
  #connections = 0;
  #refusedConnections = 0;
  #bytesFromClients = 0;
  #bytesFromServer = 0;
  /** Chunks that are being written. */
  #writes = 0;

  constructor(bound: BoundSocket, options: ByteProxyOptions) {
    this.#bound = bound;
    this.#options = options;
    this.#accepting = this.#acceptAll();
  }

  /** Returns counters since the start; refused connections were closed immediately. */
  counts() {
    return {
      openConnections: Math.ceil(this.#open.size / 2),
      connections: this.#connections,
      refusedConnections: this.#refusedConnections,
      bytesFromClients: this.#bytesFromClients,
      bytesFromServer: this.#bytesFromServer,
    };
  }

  /** Whether no call is in flight and no write is pending. */
  isIdle(): boolean {
    return this.#writes === 0 && this.#readers.values().every((one) => one.callsInFlight === 0);
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.#bound.listener.close();
    for (const connection of this.#open) tryClose(connection);
    await this.#bound.remove();
    await this.#accepting;
  }

  async #acceptAll(): Promise<void> {
    const { maxConnections = MAX_CONNECTIONS } = this.#options;
    while (true) {
      let client: Deno.UnixConn;
      try {
        client = await this.#bound.listener.accept();
      } catch (error) {
        if (error instanceof Deno.errors.BadResource || error instanceof Deno.errors.Interrupted) {
          break;
        }
        await new Promise((resolve) => setTimeout(resolve, 50)); // possibly out of descriptors
        continue;
      }
      this.#connections++;
      if (this.#pairs.size >= maxConnections) {
        this.#refusedConnections++;
        tryClose(client);
        continue;
      }
      const pair = this.#joinPair(client).finally(() => this.#pairs.delete(pair));
      this.#pairs.add(pair);
    }
    await Promise.all(this.#pairs);
  }

  /** Connects a client to the upstream, until both directions are closed. */
  async #joinPair(client: Deno.UnixConn): Promise<void> {
    const { upstream, reader } = this.#options;
    this.#open.add(client);
    let server: Deno.UnixConn | undefined;
    try {
      server = await Deno.connect({ transport: "unix", path: upstream });
      this.#open.add(server);
      const observer = reader();
      this.#readers.add(observer);
      const up = this.#copy(client, server, (chunk) => {
        this.#bytesFromClients += chunk.length;
        observer.fromClient(chunk);
      }, () => observer.clientEnded());
      const down = this.#copy(server, client, (chunk) => {
        this.#bytesFromServer += chunk.length;
        observer.fromServer(chunk);
      });
      await Promise.all([up, down]);
      observer.closed();
      this.#readers.delete(observer);
    } catch {
      if (server === undefined) this.#refusedConnections++; // the upstream is unreachable
    } finally {
      for (const connection of server === undefined ? [client] : [client, server]) {
        this.#open.delete(connection);
        tryClose(connection);
      }
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
          const writing = to.write(chunk);
          // Read synchronously while the write is pending: the reader sees every request before its
          // response.
          read(chunk);
          for (let done = await writing; done < count;) {
            done += await to.write(chunk.subarray(done));
          }
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
