import { join } from "@std/path";
import { AgentError, messageOf } from "../model/mod.ts";
import { claimUnixPath } from "./listeners.ts";

/** Reads along with one connection. It must not throw, keep a chunk or change it. */
export interface ByteReader {
  /** Calls that have begun and not ended. */
  readonly callsInFlight: number;
  fromClient(chunk: Uint8Array): void;
  fromServer(chunk: Uint8Array): void;
  clientEnded(): void;
  closed(): void;
}

/** Where a CRI proxy listens, and what stands behind it. */
export interface ByteProxyOptions {
  /** Our own socket, mode 0600. */
  readonly path: string;
  /** The socket that every byte goes on to. */
  readonly upstream: string;
  /** Connections side by side; one more is closed at once. Default 1,024. */
  readonly maxConnections?: number;
  /** A reader for a new connection. */
  readonly reader: () => ByteReader;
}

/** What has passed since the CRI proxy began to serve. */
export interface ByteProxyCounts {
  readonly openConnections: number;
  readonly connections: number;
  /** Closed at once: too many, or the other side was not there. */
  readonly refusedConnections: number;
  readonly bytesFromClients: number;
  readonly bytesFromServer: number;
}

/** A proxy that serves until it is disposed of. */
export interface ByteProxy extends AsyncDisposable {
  counts(): ByteProxyCounts;
  /** Whether no call is in flight, and nothing is left to write. */
  isIdle(): boolean;
}

/** The same while it grows, with the two ends of every connection. */
interface Traffic {
  connections: number;
  refused: number;
  fromClients: number;
  fromServer: number;
  /** Chunks that are being written. */
  writes: number;
  readonly live: Set<Deno.UnixConn>;
  readonly readers: Set<ByteReader>;
}

const CHUNK_BYTES = 64 * 1024;
const MAX_CONNECTIONS = 1_024;

/**
 * Serves a unix socket by passing every byte on to another, and back, unchanged: a chunk is written
 * before the next one is read, and each half closes by itself. Where the other socket cannot be
 * reached, the client's connection is closed, as it would be there.
 *
 * @throws {AgentError} `io` when the socket cannot be had.
 */
export async function serveByteProxy(options: ByteProxyOptions): Promise<ByteProxy> {
  const { path } = options;
  const claimed = await claimUnixPath(path);
  const made = join(claimed.folder, "s");
  let listener: Deno.UnixListener;
  try {
    listener = Deno.listen({ transport: "unix", path: made });
    await Deno.chmod(made, 0o600);
    await Deno.rename(made, path);
  } catch (error) {
    throw new AgentError("io", `listen on ${path}: ${messageOf(error)}`, { cause: error });
  } finally {
    await claimed.release();
  }
  const live = new Set<Deno.UnixConn>();
  const readers = new Set<ByteReader>();
  const traffic: Traffic = {
    connections: 0,
    refused: 0,
    fromClients: 0,
    fromServer: 0,
    writes: 0,
    live,
    readers,
  };
  const accepting = acceptAll(listener, traffic, options);
  return {
    counts: () => ({
      openConnections: Math.ceil(live.size / 2),
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
      for (const connection of live) close(connection);
      await Deno.remove(path).catch(() => {});
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
      await new Promise((resolve) => setTimeout(resolve, 50)); // no descriptors left, perhaps
      continue;
    }
    traffic.connections++;
    if (pairs.size >= maxConnections) {
      traffic.refused++;
      close(client);
      continue;
    }
    const pair = joinPair(client, traffic, options).finally(() => pairs.delete(pair));
    pairs.add(pair);
  }
  await Promise.all(pairs);
}

/** Connects a client with what it wanted to reach, until both halves are done. */
async function joinPair(
  client: Deno.UnixConn,
  traffic: Traffic,
  { upstream, reader }: ByteProxyOptions,
): Promise<void> {
  const { live, readers } = traffic;
  live.add(client);
  let server: Deno.UnixConn | undefined;
  try {
    server = await Deno.connect({ transport: "unix", path: upstream });
    live.add(server);
    const along = reader();
    readers.add(along);
    const up = copy(client, server, traffic, (chunk) => {
      traffic.fromClients += chunk.length;
      along.fromClient(chunk);
    }, () => along.clientEnded());
    const down = copy(server, client, traffic, (chunk) => {
      traffic.fromServer += chunk.length;
      along.fromServer(chunk);
    }, () => {});
    await Promise.all([up, down]);
    along.closed();
    readers.delete(along);
  } catch {
    // The other side is not there: the client sees its connection end, as it would without us.
    if (server === undefined) traffic.refused++;
  } finally {
    for (const connection of server === undefined ? [client] : [client, server]) {
      live.delete(connection);
      close(connection);
    }
  }
}

/** Copies one direction to its end. A direction that breaks takes the other with it. */
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
        // It is on its way, and read in the meantime: nothing else of us runs before this has, so
        // that no answer is read before its question.
        read(chunk);
        for (let done = await writing; done < count;) done += await to.write(chunk.subarray(done));
      } finally {
        traffic.writes--;
      }
    }
    ended();
    await to.closeWrite();
  } catch {
    close(from);
    close(to);
  }
}

function close(connection: Deno.UnixConn): void {
  try {
    connection.close();
  } catch {
    // It is closed.
  }
}
