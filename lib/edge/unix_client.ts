/** What takes hosts out of the environment's proxies, in both spellings. */
const NO_PROXY = ["NO_PROXY", "no_proxy"] as const;

/**
 * A client whose requests go to a unix socket. The runtime takes the socket for a proxy, and goes
 * past it to the URL's own host, over TCP, where `NO_PROXY` names that: with `127.0.0.1` in it, as
 * is usual, whoever listens on port 80 would be told what is for nydusd. What the environment says
 * is read when a client is made, so it says nothing for that moment.
 */
export function createUnixClient(path: string): Deno.HttpClient {
  const said = NO_PROXY.map((name) => [name, Deno.env.get(name)] as const)
    .filter(([, value]) => value !== undefined);
  for (const [name] of said) Deno.env.delete(name);
  try {
    return Deno.createHttpClient({ proxy: { transport: "unix", path } });
  } finally {
    for (const [name, value] of said) Deno.env.set(name, value ?? "");
  }
}
