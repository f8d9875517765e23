/** Above 10080, to which `fetch` refuses to connect. */
const FIRST_PORT = 10_100;
const PORTS = 20_000;

/**
 * Reserves a loopback port that is unused. It is below those that the system gives to outgoing
 * connections, so that it stays free until a server listens on it, also after a pause. No other
 * caller gets it until it is disposed: a UDP socket with its number reserves it.
 */
export function reservePort(): Disposable & { readonly port: number } {
  while (true) {
    const port = FIRST_PORT + Math.floor(Math.random() * PORTS);
    const reservation = isFree(port)
      ? unlessInUse(() => Deno.listenDatagram({ transport: "udp", hostname: "127.0.0.1", port }))
      : undefined;
    if (reservation) return { port, [Symbol.dispose]: () => reservation.close() };
  }
}

/** Returns a port that is reserved until this process ends. */
export function freePort(): number {
  return reservePort().port;
}

/**
 * Waits until nothing listens on a loopback port. Connects instead of listening: a child process that
 * is being started keeps a listener that was just closed for some milliseconds.
 */
export async function portIsFree(port: number): Promise<void> {
  while (await accepts(port)) await new Promise((resolve) => setTimeout(resolve, 20));
}

/** Whether a server accepts connections on a loopback port. */
export async function accepts(port: number): Promise<boolean> {
  const connection = await Deno.connect({ hostname: "127.0.0.1", port }).catch(() => undefined);
  connection?.close();
  return connection !== undefined;
}

function isFree(port: number): boolean {
  const listener = unlessInUse(() => Deno.listen({ hostname: "127.0.0.1", port }));
  listener?.close();
  return listener !== undefined;
}

function unlessInUse<T>(listen: () => T): T | undefined {
  try {
    return listen();
  } catch (error) {
    if (!(error instanceof Deno.errors.AddrInUse)) throw error;
    return undefined;
  }
}
