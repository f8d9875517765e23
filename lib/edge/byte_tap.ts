import { join } from "@std/path";
import { AgentError, messageOf } from "../model/mod.ts";
import { pointLink } from "./links.ts";
import { claimUnixPath } from "./listeners.ts";

/** Reads along with one connection. It must not throw, keep a chunk or change it. */
export interface ByteReader {
  fromClient(chunk: Uint8Array): void;
  fromServer(chunk: Uint8Array): void;
  clientEnded(): void;
  closed(): void;
}

/** Where a tap listens, and what stands behind it. */
export interface ByteTapOptions {
  /** Our own socket, mode 0600. */
  readonly path: string;
  /** The socket that every byte goes on to. */
  readonly upstream: string;
  /**
   * A symbolic link for clients: to our socket while we serve, to `upstream` when we do not, so
   * that a client which connects again reaches one of the two at any time.
   */
  readonly link?: string;
  /** Leave the link where it is: someone has stepped out of the path. */
  readonly isOut?: boolean;
  /** Connections side by side; one more is closed at once. Default 1,024. */
  readonly maxConnections?: number;
  /** A reader for a new connection. */
  readonly reader: () => ByteReader;
}

/** What has passed since the tap began to serve. */
export interface ByteTapCounts {
  readonly openConnections: number;
  readonly connections: number;
  /** Closed at once: too many, or the other side was not there. */
  readonly refusedConnections: number;
  readonly bytesFromClients: number;
  readonly bytesFromServer: number;
}

/** A tap that serves until it is disposed of. */
export interface ByteTap extends AsyncDisposable {
  counts(): ByteTapCounts;
}

/** The same while it grows, with the two ends of every connection. */
interface Traffic {
  connections: number;
  refused: number;
  fromClients: number;
  fromServer: number;
  readonly live: Set<Deno.UnixConn>;
}

const CHUNK_BYTES = 64 * 1024;
const MAX_CONNECTIONS = 1_024;

/**
 * Serves a unix socket by passing every byte on to another, and back, unchanged: a chunk is written
 * before the next one is read, and each half closes by itself. Where the other socket cannot be
 * reached, the client's connection is closed, as it would be there.
 *
 * @throws {AgentError} `io` when the socket or the link cannot be had.
 */
export async function serveByteTap(options: ByteTapOptions): Promise<ByteTap> {
  const { path, upstream, link, isOut = false } = options;
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
  const traffic: Traffic = { connections: 0, refused: 0, fromClients: 0, fromServer: 0, live };
  const accepting = acceptAll(listener, traffic, options);
  if (link !== undefined && !isOut) {
    try {
      await pointLink(link, path);
    } catch (error) {
      listener.close();
      throw error;
    }
  }
  return {
    counts: () => ({
      openConnections: Math.ceil(live.size / 2),
      connections: traffic.connections,
      refusedConnections: traffic.refused,
      bytesFromClients: traffic.fromClients,
      bytesFromServer: traffic.fromServer,
    }),
    async [Symbol.asyncDispose]() {
      // First out of the way, then deaf: whoever connects in between is still served.
      if (link !== undefined) await pointLink(link, upstream).catch(() => {});
      listener.close();
      await Deno.remove(path).catch(() => {});
      for (const connection of live) close(connection);
      await accepting;
    },
  };
}

async function acceptAll(
  listener: Deno.UnixListener,
  traffic: Traffic,
  options: ByteTapOptions,
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
  { upstream, reader }: ByteTapOptions,
): Promise<void> {
  const { live } = traffic;
  live.add(client);
  let server: Deno.UnixConn | undefined;
  try {
    server = await Deno.connect({ transport: "unix", path: upstream });
    live.add(server);
    const along = reader();
    const up = copy(client, server, (chunk) => {
      traffic.fromClients += chunk.length;
      along.fromClient(chunk);
    }, () => along.clientEnded());
    const down = copy(server, client, (chunk) => {
      traffic.fromServer += chunk.length;
      along.fromServer(chunk);
    }, () => {});
    await Promise.all([up, down]);
    along.closed();
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
  read: (chunk: Uint8Array) => void,
  ended: () => void,
): Promise<void> {
  const buffer = new Uint8Array(CHUNK_BYTES);
  try {
    while (true) {
      const count = await from.read(buffer);
      if (count === null) break;
      const chunk = buffer.subarray(0, count);
      const writing = to.write(chunk);
      // It is on its way, and read in the meantime: nothing else of us runs before this has, so
      // that no answer is read before its question.
      read(chunk);
      for (let done = await writing; done < count;) done += await to.write(chunk.subarray(done));
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
