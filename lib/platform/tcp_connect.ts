import { Deadline, isMetadataAddress } from "../model/mod.ts";
import { systemClock } from "./host.ts";

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
  const found = Promise.withResolvers<readonly string[]>();
  lookup(hostname, { all: true }, (error, addresses) => {
    if (error) found.reject(error);
    else found.resolve(addresses.map(({ address }) => address));
  });
  return await found.promise;
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
  return await connectFirst(addresses.slice(0, MAX_ADDRESSES), port, waiting.signal);
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
