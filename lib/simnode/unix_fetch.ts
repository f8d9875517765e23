/**
 * A request over a unix socket, on a connection of its own; the answer is read whole.
 *
 * The URL's host is an address, because some versions of Deno ask the name server for it although
 * nothing connects there.
 */
export async function fetchUnix(
  socketPath: string,
  target: string,
  init: RequestInit = {},
): Promise<Response> {
  using client = Deno.createHttpClient({ proxy: { transport: "unix", path: socketPath } });
  const response = await fetch(`http://127.0.0.1${target}`, { ...init, client });
  const { status, headers } = response;
  return new Response(response.body && await response.text(), { status, headers });
}
