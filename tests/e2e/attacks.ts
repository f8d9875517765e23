/**
 * Clients that use as many connections of an agent's listeners as they can.
 *
 * @module
 */

/** The limit of file descriptors, soft and hard, of agents under attack. */
export const DESCRIPTORS = 1_024;

/**
 * Runs a command with the usual limit of open files. The hard limit too, because `deno run` raises
 * the soft one.
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
  // Pipelined requests whose responses are not read.
  "slow-reader":
    "GET / HTTP/1.1\r\nhost: localhost\r\n\r\nGET /metrics HTTP/1.1\r\nhost: localhost\r\n\r\n"
      .repeat(200),
};

const RECONNECT_MS = 3_000;
/** Concurrent connection attempts: the backlog of a listener is short. */
const BATCH = 50;

interface AttackOptions {
  readonly hostname: string;
  readonly port: number;
  readonly kind: Attack;
  readonly connections: number;
}

/**
 * Keeps this many connections open until disposed, and reopens those that are closed. Runs in a
 * thread of its own, so that measurements are not affected.
 */
export async function attack(url: URL, kind: Attack, connections: number): Promise<Disposable> {
  const worker = new Worker(import.meta.url, { type: "module", name: WORKER });
  const options: AttackOptions = {
    hostname: url.hostname,
    port: Number(url.port),
    kind,
    connections,
  };
  const ready = new Promise((resolve) => worker.onmessage = resolve);
  worker.postMessage(options);
  await ready;
  return { [Symbol.dispose]: () => worker.terminate() };
}

const WORKER = "attack";
const scope = globalThis as unknown as {
  readonly name?: string;
  onmessage: ((event: MessageEvent<AttackOptions>) => void) | null;
  postMessage(message: string): void;
};
if (scope.name === WORKER) {
  scope.onmessage = async ({ data }) => {
    for (let i = 0; i < data.connections; i += BATCH) {
      await Promise.all(
        Array.from(
          { length: BATCH },
          () => new Promise<void>((resolve) => void runClient(data, resolve)),
        ),
      );
    }
    scope.postMessage("ready");
  };
}

async function runClient(
  { hostname, port, kind }: AttackOptions,
  connected: () => void,
): Promise<void> {
  while (true) {
    try {
      using connection = await Deno.connect({ hostname, port });
      connected();
      await hold(connection, kind);
    } catch {
      connected(); // refused, or closed by the agent
    }
    // With jitter, so that clients do not reconnect in one burst.
    await new Promise((resolve) => setTimeout(resolve, RECONNECT_MS * (0.5 + Math.random())));
  }
}

async function hold(connection: Deno.TcpConn, kind: Attack): Promise<void> {
  const request = new TextEncoder().encode(REQUESTS[kind]);
  for (let sent = 0; sent < request.length;) sent += await connection.write(request.subarray(sent));
  if (kind === "slow-reader") {
    // Does not read for longer than the timeout of the agent.
    await new Promise((resolve) => setTimeout(resolve, 8_000));
    return;
  }
  const buffer = new Uint8Array(1_024);
  while (await connection.read(buffer) !== null);
}

/** Connects this many clients to a CRI socket; each makes one call and stays connected. */
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
  for (let i = 0; i < count; i += BATCH) {
    await Promise.all(Array.from({ length: BATCH }, () => client().catch(() => {})));
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
    // Already closed.
  }
}
