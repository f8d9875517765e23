import { Deadline } from "../model/mod.ts";

/**
 * A request over a unix socket, on a connection of its own; the answer is read whole.
 *
 * The URL's host is an address, because some versions of Deno ask the name server for it although
 * nothing connects there.
 */
export async function fetchUnix(
  socketPath: string,
  target: string,
  init: Omit<RequestInit, "signal"> = {},
  timeoutMs?: number,
  stop?: AbortSignal,
): Promise<Response> {
  using deadline = new Deadline(timeoutMs, stop);
  const { signal } = deadline;
  using client = clientOf(socketPath);
  const response = await fetch(`http://127.0.0.1${target}`, { ...init, client, signal });
  const { status, headers } = response;
  return new Response(response.body && await response.text(), { status, headers });
}

/** Where `NO_PROXY` names the URL's host, the socket would be passed over. */
function clientOf(path: string): Deno.HttpClient {
  const said = ["NO_PROXY", "no_proxy"].map((name) => [name, Deno.env.get(name)] as const)
    .filter(([, value]) => value !== undefined);
  for (const [name] of said) Deno.env.delete(name);
  try {
    return Deno.createHttpClient({ proxy: { transport: "unix", path } });
  } finally {
    for (const [name, value] of said) Deno.env.set(name, value ?? "");
  }
}
