/**
 * Clients that hold as much of an agent's listeners as they can.
 *
 * @module
 */

/** The limit of file descriptors, soft and hard, of agents under attack. */
export const DESCRIPTORS = 1_024;

/**
 * Runs a command with the limit of open files that most systems set. The hard limit too: from source
 * Deno would raise the soft one.
 */
export const LIMITED: readonly string[] = [
  "/bin/sh",
  "-c",
  `ulimit -n ${DESCRIPTORS}; exec "$@"`,
  "sh",
];

/** How a client misbehaves. */
export type Attack = "idle" | "slow-header" | "slow-reader";

const REQUESTS: Readonly<Record<Attack, string>> = {
  idle: "",
  "slow-header": "GET / HTTP/1.1\r\nhost: localhost\r\n",
  // A pipeline of pages, none of which is read.
  "slow-reader":
    "GET / HTTP/1.1\r\nhost: localhost\r\n\r\nGET /metrics HTTP/1.1\r\nhost: localhost\r\n\r\n"
      .repeat(200),
};

const RECONNECT_MS = 3_000;
/** Clients connect at most so many at once: the queue of a listener is short. */
const AT_ONCE = 50;

interface Order {
  readonly hostname: string;
  readonly port: number;
  readonly kind: Attack;
  readonly connections: number;
}

/**
 * Keeps so many connections open, each made again after it was closed, until disposed. In a thread
 * of its own, so that whoever measures meanwhile is not slowed down by it.
 */
export async function attack(url: URL, kind: Attack, connections: number): Promise<Disposable> {
  const worker = new Worker(import.meta.url, { type: "module", name: WORKER });
  const order: Order = { hostname: url.hostname, port: Number(url.port), kind, connections };
  const ready = new Promise((resolve) => worker.onmessage = resolve);
  worker.postMessage(order);
  await ready;
  return { [Symbol.dispose]: () => worker.terminate() };
}

const WORKER = "attack";
const scope = globalThis as unknown as {
  readonly name?: string;
  onmessage: ((event: MessageEvent<Order>) => void) | null;
  postMessage(message: string): void;
};
if (scope.name === WORKER) {
  scope.onmessage = async ({ data }) => {
    for (let i = 0; i < data.connections; i += AT_ONCE) {
      await Promise.all(
        Array.from(
          { length: AT_ONCE },
          () => new Promise<void>((resolve) => void runClient(data, resolve)),
        ),
      );
    }
    scope.postMessage("ready");
  };
}

async function runClient({ hostname, port, kind }: Order, connected: () => void): Promise<void> {
  while (true) {
    try {
      using connection = await Deno.connect({ hostname, port });
      connected();
      await hold(connection, kind);
    } catch {
      connected(); // refused, or closed by the agent
    }
    // Spread, so that they do not come back as one burst.
    await new Promise((resolve) => setTimeout(resolve, RECONNECT_MS * (0.5 + Math.random())));
  }
}

async function hold(connection: Deno.TcpConn, kind: Attack): Promise<void> {
  const request = new TextEncoder().encode(REQUESTS[kind]);
  for (let sent = 0; sent < request.length;) sent += await connection.write(request.subarray(sent));
  if (kind === "slow-reader") {
    // The connection is held without reading for a while, longer than the agent lets it.
    await new Promise((resolve) => setTimeout(resolve, 8_000));
    return;
  }
  const buffer = new Uint8Array(1_024);
  while (await connection.read(buffer) !== null);
}

/** Connects so many clients to a CRI socket, each of which makes one call and stays. */
export async function holdCriClients(
  path: string,
  count: number,
): Promise<Disposable & { readonly served: () => number }> {
  const connections: Deno.UnixConn[] = [];
  let served = 0;
  const client = async () => {
    const connection = await Deno.connect({ transport: "unix", path });
    connections.push(connection);
    await connection.write(new Uint8Array([1, 2, 3]));
    if (await connection.read(new Uint8Array(3)) === 3) served++;
  };
  for (let i = 0; i < count; i += AT_ONCE) {
    await Promise.all(Array.from({ length: AT_ONCE }, () => client().catch(() => {})));
  }
  return {
    served: () => served,
    [Symbol.dispose]: () => connections.forEach(close),
  };
}

function close(connection: { close(): void }): void {
  try {
    connection.close();
  } catch {
    // It is closed.
  }
}
