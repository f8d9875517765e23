import { Deadline } from "../../lib/model/mod.ts";

/** Sends a request over a unix socket and reads the complete response. */
export async function fetchUnix(
  path: string,
  target: string,
  init: Omit<RequestInit, "signal"> = {},
): Promise<Response> {
  using deadline = new Deadline(30_000);
  using client = Deno.createHttpClient({ proxy: { transport: "unix", path } });
  // The host of the URL is ignored. Some versions of Deno would resolve a name.
  const url = `http://127.0.0.1${target}`;
  const response = await fetch(url, { ...init, client, signal: deadline.signal });
  const { status, headers } = response;
  return new Response(response.body && await response.text(), { status, headers });
}
