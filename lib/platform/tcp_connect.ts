import { Deadline, isMetadataAddress } from "../model/mod.ts";
import { systemClock } from "./clock.ts";

/** Addresses of one name that are tried, and how long each is tried alone (RFC 8305). */
const MAX_ADDRESSES = 8;
const NEXT_ADDRESS_MS = 250;

/** Thrown for an address that the agent must not connect to. */
export class ForbiddenAddressError extends Error {
  override readonly name = "ForbiddenAddressError";

  constructor() {
    super("connect: this address is forbidden to the agent: it belongs to a metadata service");
  }
}

/** Resolves a host name to its addresses. */
export type Resolve = (hostname: string) => Promise<readonly string[]>;

const systemResolve: Resolve = async (hostname) => {
  // Its variant with promises writes a deprecation warning into our log in Deno 2.6.
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
   * Refuses metadata services: for hosts that the operator did not name himself, such as those of
   * registries and token services. The name is resolved once, and the connection goes to an address
   * that was checked, so that what the name leads to cannot change in between.
   */
  readonly refuseMetadata?: boolean;
  readonly resolve?: Resolve;
}

/**
 * Connects to a host.
 *
 * @param host A name or an address, as in a URL.
 * @throws {ForbiddenAddressError} if the host has no address that may be used.
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

/** An address as a URL writes it, without brackets; undefined for a name. */
export function literalAddress(host: string): string | undefined {
  if (host.startsWith("[")) return host.slice(1, -1);
  return /^\d{1,3}(?:\.\d{1,3}){3}$/.test(host) ? host : undefined;
}

/** The first connection to be established; each address has a head start over the next. */
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
    attempts.abort(); // the other attempts
    return connection;
  };
  try {
    return await Promise.any(addresses.map(attempt));
  } catch (error) {
    signal.throwIfAborted();
    throw error instanceof AggregateError ? error.errors[0] : error;
  }
}
