import { Secret } from "../model/mod.ts";
import { ClientConnection } from "./http1.ts";
import { ConnectError, connectTcp } from "./tcp_connect.ts";

const NO_PROXY = ["NO_PROXY", "no_proxy"] as const;

/**
 * Creates a client that always uses the given proxy. Deno would bypass the proxy for hosts in
 * `NO_PROXY`, which it reads when a client is created, so the variable is hidden meanwhile.
 */
export function createProxiedClient(
  options: Deno.CreateHttpClientOptions & { readonly proxy: Deno.Proxy },
): Deno.HttpClient {
  const hidden = NO_PROXY.map((name) => [name, Deno.env.get(name)] as const)
    .filter(([, value]) => value !== undefined);
  for (const [name] of hidden) Deno.env.delete(name);
  try {
    return Deno.createHttpClient(options);
  } finally {
    for (const [name, value] of hidden) Deno.env.set(name, value ?? "");
  }
}

/** Converts the URL of a proxy, with or without credentials. */
export function proxyOf(proxyUrl: Secret): Deno.Proxy {
  const url = URL.parse(proxyUrl.reveal());
  if (url === null) throw new ConnectError("the proxy's URL is invalid");
  const { username, password } = url;
  url.username = url.password = "";
  if (username === "") return { url: url.href };
  const basicAuth = {
    username: decodeURIComponent(username),
    password: decodeURIComponent(password),
  };
  return { url: url.href, basicAuth };
}

/** Returns the proxy of a URL from the environment, like curl and Deno's own client. */
export function environmentProxy({ protocol, hostname }: URL): Secret | undefined {
  const read = (name: string) => Deno.env.get(name) || Deno.env.get(name.toUpperCase());
  const proxy = read(protocol === "https:" ? "https_proxy" : "http_proxy") || read("all_proxy");
  if (!proxy || isExempt(hostname, read("no_proxy") ?? "")) return undefined;
  return new Secret(proxy.includes("://") ? proxy : `http://${proxy}`);
}

/** Whether `NO_PROXY` contains a host: its name, a parent domain, or an IPv4 network. */
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

/**
 * Opens a connection to a host through an HTTP proxy, with CONNECT.
 *
 * @param authority Host and port.
 */
export async function openTunnel(
  proxyUrl: Secret,
  authority: string,
  signal: AbortSignal,
): Promise<Deno.TcpConn> {
  const url = URL.parse(proxyUrl.reveal());
  if (url?.protocol !== "http:") throw new ConnectError("the proxy's URL is not an http URL");
  const port = Number(url.port === "" ? 80 : url.port);
  const stream = await connectTcp(url.hostname, port, signal);
  const connection = new ClientConnection(stream);
  const abort = () => connection.close();
  signal.addEventListener("abort", abort);
  try {
    signal.throwIfAborted();
    const headers = [["Host", authority] as const, ...login(url)];
    const { status } = await connection.send({ method: "CONNECT", target: authority, headers });
    if (status !== 200) throw new ConnectError(`the proxy responded with status ${status}`);
    return stream;
  } catch (error) {
    connection.close();
    throw error;
  } finally {
    signal.removeEventListener("abort", abort);
  }
}

function login({ username, password }: URL): (readonly [string, string])[] {
  if (username === "") return [];
  const pair = `${decodeURIComponent(username)}:${decodeURIComponent(password)}`;
  return [["Proxy-Authorization", `Basic ${new TextEncoder().encode(pair).toBase64()}`]];
}
