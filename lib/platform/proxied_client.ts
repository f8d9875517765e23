import { Secret } from "../model/mod.ts";

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

/** The proxy that the environment names for a URL, as curl and the runtime's client read it. */
export function environmentProxy({ protocol, hostname }: URL): Secret | undefined {
  const read = (name: string) => Deno.env.get(name) || Deno.env.get(name.toUpperCase());
  const proxy = read(protocol === "https:" ? "https_proxy" : "http_proxy") || read("all_proxy");
  if (!proxy || isExempt(hostname, read("no_proxy") ?? "")) return undefined;
  return new Secret(proxy.includes("://") ? proxy : `http://${proxy}`);
}

/** Whether `NO_PROXY` names a host: by itself, a domain above it, or an IPv4 network around it. */
function isExempt(hostname: string, noProxy: string): boolean {
  const host = hostname.replace(/^\[|\]$/g, "");
  return noProxy.split(",").map((entry) => entry.trim().toLowerCase()).some((entry) => {
    if (entry === "*" || entry === host) return true;
    const [network = "", bits] = entry.split("/");
    if (bits !== undefined) return isInNetwork(host, network, Number(bits));
    const domain = entry.replace(/^\*?\./, "");
    return domain !== "" && (host === domain || host.endsWith(`.${domain}`));
  });
}

function isInNetwork(address: string, network: string, bits: number): boolean {
  const [a, b] = [address, network].map((text) =>
    /^\d{1,3}(?:\.\d{1,3}){3}$/.test(text)
      ? text.split(".").reduce((value, byte) => value * 256 + Number(byte), 0)
      : undefined
  );
  const size = 2 ** (32 - bits);
  return a !== undefined && b !== undefined && Math.floor(a / size) === Math.floor(b / size);
}
