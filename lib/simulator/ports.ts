/** Above 10080, to which `fetch` refuses to connect. */
const FIRST_PORT = 10_100;
const PORTS = 20_000;

/**
 * Returns a loopback port that is unused. It is below those that the system gives to outgoing
 * connections, so that it stays free until a server listens on it, also after a pause.
 */
export function freePort(): number {
  let port;
  do port = FIRST_PORT + Math.floor(Math.random() * PORTS); while (!isFree(port));
  return port;
}

/** Waits until nothing listens on a loopback port. */
export async function portIsFree(port: number): Promise<void> {
  while (!isFree(port)) await new Promise((resolve) => setTimeout(resolve, 20));
}

function isFree(port: number): boolean {
  try {
    Deno.listen({ hostname: "127.0.0.1", port }).close();
    return true;
  } catch (error) {
    if (!(error instanceof Deno.errors.AddrInUse)) throw error;
    return false;
  }
}
