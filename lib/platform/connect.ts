import { promisify } from "node:util";
import { Deadline, Secret } from "../model/mod.ts";
import { tryClose } from "./files.ts";
import { systemClock } from "./host.ts";
import { ClientConnection } from "./http1.ts";

/** Addresses of a name that are tried, and the delay before the next one is tried (RFC 8305). */
const MAX_ADDRESSES = 8;
const NEXT_ADDRESS_MS = 250;

/** An error whose message quotes neither the request nor the peer, so that it can be logged. */
export class ConnectError extends Error {
  override readonly name: string = "ConnectError";
}

/** Thrown for an address that the agent must not connect to. */
export class ForbiddenAddressError extends ConnectError {
  override readonly name = "ForbiddenAddressError";

  constructor() {
    super("connections to this address are forbidden: it belongs to a metadata service");
  }
}

/** Resolves a host name to its addresses. */
export type Resolve = (hostname: string) => Promise<readonly string[]>;

const systemResolve: Resolve = async (hostname) => {
  // `node:dns/promises` writes a deprecation warning to the standard error in Deno 2.6.
  const { lookup } = await import("node:dns");
  const found = await promisify(lookup)(hostname, { all: true });
  return found.map(({ address }) => address);
};

/** Options of {@linkcode connectTcp}. */
export interface TcpOptions {
  /**
   * Rejects addresses of metadata services. For hosts that the operator did not configure, such as
   * those of registries and token services. The name is resolved once and the checked address is
   * used, so DNS rebinding is not possible.
   */
  readonly refuseMetadata?: boolean;
  readonly resolve?: Resolve;
}

/**
 * Connects to a host.
 *
 * @param host A name or an address, as in a URL.
 * @param signal Closes the connection when it aborts, now or later.
 * @throws {ForbiddenAddressError} if all addresses of the host are forbidden.
 */
export async function connectTcp(
  host: string,
  port: number,
  signal: AbortSignal,
  { refuseMetadata = false, resolve = systemResolve }: TcpOptions = {},
): Promise<Deno.TcpConn> {
  const literal = literalAddress(host);
  using waiting = new Deadline(undefined, signal);
  const all = literal === undefined ? await waiting.race(resolve(host)) : [literal];
  const addresses = refuseMetadata ? all.filter((address) => !isMetadataAddress(address)) : all;
  if (addresses.length === 0) throw new ForbiddenAddressError();
  const connection = await connectFirst(addresses.slice(0, MAX_ADDRESSES), port, waiting.signal);
  signal.addEventListener("abort", () => tryClose(connection));
  if (signal.aborted) tryClose(connection);
  return connection;
}

/** Returns the port of a URL, or that of its protocol. */
export function portOf({ port, protocol }: URL): number {
  if (port !== "") return Number(port);
  return protocol === "https:" ? 443 : 80;
}

/** Returns an IP address of a URL without brackets, or undefined for a name. */
export function literalAddress(host: string): string | undefined {
  if (host.startsWith("[")) return host.slice(1, -1);
  return /^\d{1,3}(?:\.\d{1,3}){3}$/.test(host) ? host : undefined;
}

/** Returns the first established connection. Each address has a head start over the next one. */
async function connectFirst(
  addresses: readonly string[],
  port: number,
  signal: AbortSignal,
): Promise<Deno.TcpConn> {
  using attempts = new Deadline(undefined, signal);
  const attempt = async (hostname: string, index: number) => {
    if (index > 0) await systemClock.sleep(index * NEXT_ADDRESS_MS, attempts);
    const connection = await Deno.connect({ hostname, port, signal: attempts.signal });
    if (attempts.signal.aborted) {
      connection.close();
      throw attempts.signal.reason;
    }
    attempts.abort(); // cancels the other attempts
    return connection;
  };
  try {
    return await Promise.any(addresses.map(attempt));
  } catch (error) {
    signal.throwIfAborted();
    throw error instanceof AggregateError ? error.errors[0] : error;
  }
}

/** Texts for errors of the runtime, whose own texts quote the request. The first match is used. */
const REASONS: readonly (readonly [RegExp, string])[] = [
  [/UnknownIssuer/, "the server's certificate is signed by an authority that is not trusted"],
  [/NotValidForName|altnames/, "the server's certificate is not for this name"],
  [/certificate expired|: Expired|CERT_HAS_EXPIRED/, "the server's certificate has expired"],
  [/CertificateExpired/, "the server rejected the client certificate as expired"],
  [/CertificateRequired|BadCertificate|UnknownCA/, "the server rejected the client certificate"],
  [/invalid peer certificate|self-signed/, "the server's certificate cannot be verified"],
  [/no pem|PEM|private key|InvalidCertificate/i, "a certificate or key is invalid"],
  [/InvalidContentType|corrupt message/, "the server does not use TLS on this port"],
  [/Connection refused|ECONNREFUSED/, "the connection was refused"],
  [/dns error|failed to lookup|ENOTFOUND|EAI_AGAIN/i, "the host name cannot be resolved"],
  [/unreachable/i, "the network is unreachable"],
  [/NotCapable|Requires net access/, "connections to this address are forbidden"],
  [/URIError|invalid proxy url/, "the proxy's URL is invalid"],
  [/proxy|tunnel/i, "the proxy refused the connection"],
];

/** Returns why a request failed, without quoting the request or the response. */
export function connectionProblem(error: unknown): string {
  if (error instanceof ConnectError) return error.message;
  const text = error instanceof Error
    ? `${error.name} ${error.message} ${error.cause instanceof Error ? error.cause.message : ""}`
    : "";
  const bare = text.replaceAll(/https?:\/\/\S*/g, "");
  return REASONS.find(([pattern]) => pattern.test(bare))?.[1] ?? "the connection was cut";
}

const NO_PROXY = ["NO_PROXY", "no_proxy"] as const;

/**
 * Creates a client that always uses the given proxy. Deno would bypass the proxy for hosts in
 * `NO_PROXY`, which it reads when a client is created, so the variable is hidden meanwhile.
 *
 * @param proxyUrl With or without credentials.
 */
export function createProxiedClient(
  proxyUrl: Secret,
  options: Deno.CreateHttpClientOptions,
): Deno.HttpClient {
  const hidden = NO_PROXY.map((name) => [name, Deno.env.get(name)] as const)
    .filter(([, value]) => value !== undefined);
  for (const [name] of hidden) Deno.env.delete(name);
  try {
    return Deno.createHttpClient({ ...options, proxy: { url: proxyUrl.reveal() } });
  } finally {
    for (const [name, value] of hidden) Deno.env.set(name, value ?? "");
  }
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
 * @param signal Closes the connection when it aborts, now or later.
 */
export async function openTunnel(
  proxyUrl: Secret,
  authority: string,
  signal: AbortSignal,
): Promise<Deno.TcpConn> {
  const url = URL.parse(proxyUrl.reveal());
  if (url?.protocol !== "http:") throw new ConnectError("the proxy's URL is not an http URL");
  const stream = await connectTcp(url.hostname, portOf(url), signal);
  const headers = [["Host", authority] as const, ...login(url)];
  const request = { method: "CONNECT", target: authority, headers };
  const { status } = await new ClientConnection(stream).send(request);
  if (status !== 200) throw new ConnectError(`the proxy responded with status ${status}`);
  return stream;
}

function login({ username, password }: URL): (readonly [string, string])[] {
  if (username === "") return [];
  const pair = `${decodeURIComponent(username)}:${decodeURIComponent(password)}`;
  return [["Proxy-Authorization", `Basic ${new TextEncoder().encode(pair).toBase64()}`]];
}

/**
 * Metadata and identity services of clouds outside the link-local networks: Alibaba Cloud, Azure's
 * wire server, AWS and Google Cloud over IPv6.
 */
const METADATA_IPV4: readonly string[] = ["100.100.100.200", "168.63.129.16"];
const METADATA_IPV6: readonly string[] = ["fd00:ec2::23", "fd00:ec2::254", "fd20:ce::254"];

/**
 * Returns whether an IP address belongs to the metadata service of a cloud, or to the link-local
 * networks where most of them are (169.254.0.0/16 with AWS ECS and EKS, fe80::/10). An IPv4-mapped
 * IPv6 address counts as its IPv4 address. A text that is not an IP address counts as a metadata
 * address, because the agent must not connect to it.
 */
export function isMetadataAddress(address: string): boolean {
  if (!address.includes(":")) return isMetadataIpv4(address);
  // The URL parser normalizes the notation of the address.
  const host = URL.parse(`http://[${address.replace(/%.*$/, "")}]/`)?.hostname.slice(1, -1);
  if (host === undefined) return true;
  const [, high, low] = /^::ffff:([0-9a-f]{1,4}):([0-9a-f]{1,4})$/.exec(host) ?? [];
  if (high !== undefined && low !== undefined) {
    const bytes = [parseInt(high, 16), parseInt(low, 16)].flatMap((two) => [two >> 8, two & 255]);
    return isMetadataIpv4(bytes.join("."));
  }
  return /^fe[89ab][0-9a-f]:/.test(host) || METADATA_IPV6.includes(host);
}

function isMetadataIpv4(address: string): boolean {
  if (!/^\d{1,3}(?:\.\d{1,3}){3}$/.test(address)) return true;
  return address.startsWith("169.254.") || METADATA_IPV4.includes(address);
}
