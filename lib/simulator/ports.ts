const FIRST_PORT = 10_000;
const PORTS = 20_000;

/**
 * Returns a loopback port that is unused. It is below those that the system gives to outgoing
 * connections, so that it stays free until a server listens on it, also after a pause.
 */
export function freePort(): number {
  while (true) {
    const port = FIRST_PORT + Math.floor(Math.random() * PORTS);
    try {
      Deno.listen({ hostname: "127.0.0.1", port }).close();
      return port;
    } catch (error) {
      if (!(error instanceof Deno.errors.AddrInUse)) throw error;
    }
  }
}
