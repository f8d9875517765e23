import { tryClose } from "./files.ts";
import { bindUnix } from "./listeners.ts";

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

/** Counters since the proxy was started. */
export interface ByteProxyCounts {
  readonly openConnections: number;
  readonly connections: number;
  /** Closed immediately: over the limit, or the upstream was unreachable. */
  readonly refusedConnections: number;
  readonly bytesFromClients: number;
  readonly bytesFromServer: number;
}

/** A proxy that runs until it is disposed. */
export interface ByteProxy extends AsyncDisposable {
  counts(): ByteProxyCounts;
  /** Whether no call is in flight and no write is pending. */
  isIdle(): boolean;
}

/** State of a running proxy. */
interface Traffic {
  connections: number;
  refused: number;
  fromClients: number;
  fromServer: number;
  /** Chunks that are being written. */
  writes: number;
  /** Both ends of every open connection. */
  readonly open: Set<Deno.UnixConn>;
  readonly readers: Set<ByteReader>;
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
  const { listener, remove } = await bindUnix(options.path);
  const open = new Set<Deno.UnixConn>();
  const readers = new Set<ByteReader>();
  const traffic: Traffic = {
    connections: 0,
    refused: 0,
    fromClients: 0,
    fromServer: 0,
    writes: 0,
    open,
    readers,
  };
  const accepting = acceptAll(listener, traffic, options);
  return {
    counts: () => ({
      openConnections: Math.ceil(open.size / 2),
      connections: traffic.connections,
      refusedConnections: traffic.refused,
      bytesFromClients: traffic.fromClients,
      bytesFromServer: traffic.fromServer,
    }),
    isIdle: () => {
      return traffic.writes === 0 && readers.values().every((one) => one.callsInFlight === 0);
    },
    async [Symbol.asyncDispose]() {
      listener.close();
      for (const connection of open) tryClose(connection);
      await remove();
      await accepting;
    },
  };
}

async function acceptAll(
  listener: Deno.UnixListener,
  traffic: Traffic,
  options: ByteProxyOptions,
): Promise<void> {
  const { maxConnections = MAX_CONNECTIONS } = options;
  const pairs = new Set<Promise<void>>();
  while (true) {
    let client: Deno.UnixConn;
    try {
      client = await listener.accept();
    } catch (error) {
      if (error instanceof Deno.errors.BadResource || error instanceof Deno.errors.Interrupted) {
        break;
      }
      await new Promise((resolve) => setTimeout(resolve, 50)); // possibly out of descriptors
      continue;
    }
    traffic.connections++;
    if (pairs.size >= maxConnections) {
      traffic.refused++;
      tryClose(client);
      continue;
    }
    const pair = joinPair(client, traffic, options).finally(() => pairs.delete(pair));
    pairs.add(pair);
  }
  await Promise.all(pairs);
}

/** Connects a client to the upstream, until both directions are closed. */
async function joinPair(
  client: Deno.UnixConn,
  traffic: Traffic,
  { upstream, reader }: ByteProxyOptions,
): Promise<void> {
  const { open, readers } = traffic;
  open.add(client);
  let server: Deno.UnixConn | undefined;
  try {
    server = await Deno.connect({ transport: "unix", path: upstream });
    open.add(server);
    const observer = reader();
    readers.add(observer);
    const up = copy(client, server, traffic, (chunk) => {
      traffic.fromClients += chunk.length;
      observer.fromClient(chunk);
    }, () => observer.clientEnded());
    const down = copy(server, client, traffic, (chunk) => {
      traffic.fromServer += chunk.length;
      observer.fromServer(chunk);
    }, () => {});
    await Promise.all([up, down]);
    observer.closed();
    readers.delete(observer);
  } catch {
    if (server === undefined) traffic.refused++; // the upstream is unreachable
  } finally {
    for (const connection of server === undefined ? [client] : [client, server]) {
      open.delete(connection);
      tryClose(connection);
    }
  }
}

/** Copies one direction to its end. An error closes both directions. */
async function copy(
  from: Deno.UnixConn,
  to: Deno.UnixConn,
  traffic: Traffic,
  read: (chunk: Uint8Array) => void,
  ended: () => void,
): Promise<void> {
  const buffer = new Uint8Array(CHUNK_BYTES);
  try {
    while (true) {
      const count = await from.read(buffer);
      if (count === null) break;
      const chunk = buffer.subarray(0, count);
      traffic.writes++;
      try {
        const writing = to.write(chunk);
        // Read synchronously while the write is pending: the reader sees every request before its
        // response.
        read(chunk);
        for (let done = await writing; done < count;) done += await to.write(chunk.subarray(done));
      } finally {
        traffic.writes--;
      }
    }
    ended();
    await to.closeWrite();
  } catch {
    tryClose(from);
    tryClose(to);
  }
}
