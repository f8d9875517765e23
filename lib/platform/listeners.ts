import { basename, dirname, join } from "@std/path";
import { AgentError, type CallOptions, messageOf } from "../model/mod.ts";
import { type Handler, HttpServer, type HttpServerOptions } from "./http_server.ts";

/** A TCP server that runs until it is disposed of. */
export interface TcpListener extends AsyncDisposable {
  /** `127.0.0.1:9111` or `[::1]:9111`, with the real port. */
  readonly address: string;
  readonly hostname: string;
  /** The real port, also where 0 was asked for. */
  readonly port: number;
}

/** A server on a unix socket that runs until it is disposed of, and then takes its socket away. */
export interface UnixListener extends AsyncDisposable {
  readonly path: string;
}

const PRIVATE = 0o600;

/** How an address is served. */
export type ListenOptions = CallOptions & HttpServerOptions;

/**
 * Serves HTTP on an address, within the limits of {@linkcode HttpServer}. Resolves once it listens.
 * Aborting `signal` stops it as disposing does.
 *
 * @throws {AgentError} `io` when the address cannot be had.
 */
export function listenTcp(
  { hostname, port }: { readonly hostname: string; readonly port: number },
  handler: Handler,
  { signal, ...options }: ListenOptions = {},
): Promise<TcpListener> {
  return new Promise((resolve, reject) => {
    if (signal?.aborted) return reject(signal.reason);
    try {
      const listener = Deno.listen({ hostname, port });
      const { addr } = listener;
      const reopen = () => Promise.resolve(Deno.listen({ hostname, port: addr.port }));
      const server = new HttpServer(listener, reopen, handler, options);
      resolve({
        hostname: addr.hostname,
        port: addr.port,
        address: addressOf(addr.hostname, addr.port),
        [Symbol.asyncDispose]: stopOnce(() => server[Symbol.asyncDispose](), signal),
      });
    } catch (error) {
      reject(addressError(addressOf(hostname, port), error));
    }
  });
}

function addressOf(hostname: string, port: number): string {
  return `${hostname.includes(":") ? `[${hostname}]` : hostname}:${port}`;
}

/** Ends once, by whichever comes first: the disposer or the signal. */
function stopOnce(end: () => Promise<void>, signal: AbortSignal | undefined): () => Promise<void> {
  let ended: Promise<void> | undefined;
  const aborted = () => void stop().catch(() => {}); // the disposer tells of the failure
  const stop = () => {
    signal?.removeEventListener("abort", aborted);
    return ended ??= end();
  };
  signal?.addEventListener("abort", aborted);
  return stop;
}

function addressError(address: string, error: unknown): AgentError {
  const remedy = "choose another address in server.address";
  const why = error instanceof Deno.errors.AddrInUse
    ? `the port is taken by another program; stop it, or ${remedy}`
    : error instanceof Deno.errors.AddrNotAvailable
    ? `this machine has no such address; ${remedy}`
    : error instanceof Deno.errors.PermissionDenied
    ? `not allowed; a port below 1024 needs rights, or ${remedy}`
    : `${messageOf(error)}; ${remedy}`;
  return new AgentError("io", `listen on ${address}: ${why}`, { cause: error });
}

/** How a unix socket is served. */
export interface UnixListenOptions extends ListenOptions {
  /** Not more than 0600, which is the default; with `gid` 0660 always. */
  readonly mode?: number;
  /** A group that may connect too. */
  readonly gid?: number;
}

/**
 * Serves HTTP on a unix socket. The socket is made in a folder that only we can enter, given its
 * mode, and then renamed to its path: at no moment can anybody else connect. (A umask would do too,
 * but it belongs to the whole process, and so would be that of files written at that moment.) A
 * socket that outlived its process is replaced.
 *
 * The limits and `signal` are those of {@linkcode listenTcp}.
 *
 * @throws {AgentError} `io` when the path cannot be had, or when another process serves there.
 * @throws {RangeError} When `mode` lets others in.
 */
export async function listenUnix(
  path: string,
  handler: Handler,
  { mode = PRIVATE, gid, signal, ...options }: UnixListenOptions = {},
): Promise<UnixListener> {
  if ((mode & ~PRIVATE) !== 0) {
    throw new RangeError(`mode 0${mode.toString(8)} of a socket is more open than 0600`);
  }
  signal?.throwIfAborted();
  const bind = () => bindUnix(path, gid === undefined ? mode : PRIVATE | 0o060, gid);
  let bound = await bind();
  const reopen = async () => (bound = await bind()).listener;
  const server = new HttpServer(bound.listener, reopen, handler, options);
  const stopped = stopOnce(async () => {
    await removeIfOurs(path, bound.own);
    await server[Symbol.asyncDispose]();
  }, signal);
  if (signal?.aborted) await stopped();
  signal?.throwIfAborted();
  return { path, [Symbol.asyncDispose]: stopped };
}

async function bindUnix(
  path: string,
  mode: number,
  gid: number | undefined,
): Promise<{ readonly listener: Deno.UnixListener; readonly own: Deno.FileInfo }> {
  const { folder, release } = await claimUnixPath(path);
  const made = join(folder, "s");
  let listener: Deno.UnixListener | undefined;
  try {
    listener = Deno.listen({ transport: "unix", path: made });
    if (gid !== undefined) await giveToGroup(made, gid);
    await Deno.chmod(made, mode);
    await Deno.rename(made, path);
    return { listener, own: await Deno.lstat(path) };
  } catch (error) {
    listener?.close();
    throw new AgentError("io", `listen on ${path}: ${messageOf(error)}`, { cause: error });
  } finally {
    await release();
  }
}

/** Whoever is in a group may give it what is his own; else that takes a capability. */
async function giveToGroup(path: string, gid: number): Promise<void> {
  try {
    await Deno.chown(path, null, gid);
  } catch (error) {
    if (!(error instanceof Deno.errors.PermissionDenied)) throw error;
    const why = `it cannot be given to group ${gid}, which this process is not in`;
    throw new Error(`${why}; add it to SupplementaryGroups= of the unit`, { cause: error });
  }
}

/**
 * Makes sure that a socket may be made at `path`, and gives a private folder beside it to make it
 * in: renamed from there, it is at no moment open to others.
 *
 * @throws {AgentError} `io` when the path is taken, or its folder cannot be written.
 */
export async function claimUnixPath(
  path: string,
): Promise<{ readonly folder: string; release(): Promise<void> }> {
  await makeSureItIsFree(path);
  try {
    const folder = await Deno.makeTempDir({ dir: dirname(path), prefix: "." });
    const release = () => Deno.remove(folder, { recursive: true }).catch(() => {});
    return { folder, release };
  } catch (error) {
    throw new AgentError("io", `listen on ${path}: ${messageOf(error)}`, { cause: error });
  }
}

/** Only a socket without a listener may be replaced. */
async function makeSureItIsFree(path: string): Promise<void> {
  const info = await Deno.lstat(path).catch(() => undefined);
  if (info === undefined) return;
  if (info.isSocket !== true) {
    throw new AgentError("io", `listen on ${path}: ${basename(path)} is there and no socket`);
  }
  try {
    (await Deno.connect({ transport: "unix", path })).close();
  } catch (error) {
    if (error instanceof Deno.errors.ConnectionRefused) return;
    if (error instanceof Deno.errors.NotFound) return;
    throw new AgentError("io", `listen on ${path}: ${messageOf(error)}`, { cause: error });
  }
  throw new AgentError(
    "io",
    `listen on ${path}: another process serves there; stop it, or choose another path`,
  );
}

/** A successor may have put its own socket there meanwhile. */
async function removeIfOurs(path: string, own: Deno.FileInfo): Promise<void> {
  const now = await Deno.lstat(path).catch(() => undefined);
  if (now?.ino === own.ino && now.dev === own.dev) await Deno.remove(path).catch(() => {});
}
