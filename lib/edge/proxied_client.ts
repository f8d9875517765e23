/** What takes hosts out of the environment's proxies, in both spellings. */
const NO_PROXY = ["NO_PROXY", "no_proxy"] as const;

/**
 * A client that goes the way that it is told, by a proxy or a unix socket, which the runtime takes
 * for one. It would go past it to the URL's own host where `NO_PROXY` names that: with `127.0.0.1`
 * in it, as is usual, whoever listens on port 80 would be told what is for nydusd. What the
 * environment says is read when a client is made, so it says nothing for that moment.
 */
export function createProxiedClient(
  options: Deno.CreateHttpClientOptions & { readonly proxy: Deno.Proxy },
): Deno.HttpClient {
  const said = NO_PROXY.map((name) => [name, Deno.env.get(name)] as const)
    .filter(([, value]) => value !== undefined);
  for (const [name] of said) Deno.env.delete(name);
  try {
    return Deno.createHttpClient(options);
  } finally {
    for (const [name, value] of said) Deno.env.set(name, value ?? "");
  }
}
