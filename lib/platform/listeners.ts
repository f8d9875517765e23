import { basename, dirname, join } from "@std/path";
import { AgentError, type CallOptions, messageOf } from "../model/mod.ts";
import { type Handler, HttpServer, type HttpServerOptions } from "./http_server.ts";

/** A TCP server that runs until it is disposed. */
export interface TcpListener extends AsyncDisposable {
  /** `127.0.0.1:9111` or `[::1]:9111`, with the actual port. */
  readonly address: string;
  readonly hostname: string;
  /** The actual port, also if port 0 was requested. */
  readonly port: number;
}

/** A server on a unix socket that runs until it is disposed, which also removes the socket. */
export interface UnixListener extends AsyncDisposable {
  readonly path: string;
}

const PRIVATE = 0o600;

/** Options of {@linkcode listenTcp}. */
export type ListenOptions = CallOptions & HttpServerOptions;

/**
 * Serves HTTP on an address, within the limits of {@linkcode HttpServer}. Resolves when it listens.
 * Aborting `signal` stops the server like disposing.
 *
 * @throws {AgentError} `io` if it cannot listen on the address.
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

/** Returns a function that calls `end` once; it is called when `signal` aborts. */
function stopOnce(end: () => Promise<void>, signal: AbortSignal | undefined): () => Promise<void> {
  let ended: Promise<void> | undefined;
  const aborted = () => void stop().catch(() => {}); // disposing reports the failure
  const stop = () => {
    signal?.removeEventListener("abort", aborted);
    return ended ??= end();
  };
  signal?.addEventListener("abort", aborted);
  return stop;
}

function addressError(address: string, error: unknown): AgentError {
  const remedy = "choose another address in server.address";
  const reason = error instanceof Deno.errors.AddrInUse
    ? `the port is in use by another program; stop it, or ${remedy}`
    : error instanceof Deno.errors.AddrNotAvailable
    ? `this machine does not have this address; ${remedy}`
    : error instanceof Deno.errors.PermissionDenied
    ? `permission denied; ports below 1024 are privileged: grant the capability, or ${remedy}`
    : `${messageOf(error)}; ${remedy}`;
  return new AgentError("io", `failed to listen on ${address}: ${reason}`, { cause: error });
}

/** Options of {@linkcode listenUnix}. */
export interface UnixListenOptions extends ListenOptions {
  /** At most 0600, which is the default; always 0660 with `gid`. */
  readonly mode?: number;
  /** A group that may connect too. */
  readonly gid?: number;
}

/**
 * Serves HTTP on a unix socket, with the limits and the `signal` of {@linkcode listenTcp}. A socket
 * that a previous process left is replaced.
 *
 * @throws {AgentError} `io` if the socket cannot be created, or another process listens on it.
 * @throws {RangeError} if `mode` grants access to other users.
 */
export async function listenUnix(
  path: string,
  handler: Handler,
  { mode = PRIVATE, gid, signal, ...options }: UnixListenOptions = {},
): Promise<UnixListener> {
  if ((mode & ~PRIVATE) !== 0) {
    throw new RangeError(`socket mode 0${mode.toString(8)} grants more than 0600`);
  }
  signal?.throwIfAborted();
  const bind = () => bindUnix(path, gid === undefined ? mode : PRIVATE | 0o060, gid);
  let bound = await bind();
  const reopen = async () => (bound = await bind()).listener;
  const server = new HttpServer(bound.listener, reopen, handler, options);
  const stopped = stopOnce(async () => {
    await bound.remove();
    await server[Symbol.asyncDispose]();
  }, signal);
  if (signal?.aborted) await stopped();
  signal?.throwIfAborted();
  return { path, [Symbol.asyncDispose]: stopped };
}

/** A listener on a unix socket. */
export interface BoundSocket {
  readonly listener: Deno.UnixListener;
  /** Removes the socket file, unless a successor has replaced it. */
  remove(): Promise<void>;
}

/**
 * Listens on a unix socket that only its owner, or a group, can connect to. The socket is created in
 * a private folder, gets its mode, and is then renamed to its path. A umask would apply to every
 * file that the process creates meanwhile.
 *
 * @throws {AgentError} `io` if the socket cannot be created, or another process listens on it.
 */
export async function bindUnix(
  path: string,
  mode = PRIVATE,
  gid: number | undefined = undefined,
): Promise<BoundSocket> {
  await ensureUnused(path);
  let listener: Deno.UnixListener | undefined;
  let folder: string | undefined;
  try {
    folder = await Deno.makeTempDir({ dir: dirname(path), prefix: "." });
    const created = join(folder, "s");
    listener = Deno.listen({ transport: "unix", path: created });
    if (gid !== undefined) await changeGroup(created, gid);
    await Deno.chmod(created, mode);
    await Deno.rename(created, path);
    const own = await Deno.lstat(path);
    return { listener, remove: () => removeIfSame(path, own) };
  } catch (error) {
    listener?.close();
    const reason = error instanceof Deno.errors.NotFound
      ? `the folder ${dirname(path)} does not exist`
      : messageOf(error);
    throw new AgentError("io", `failed to listen on ${path}: ${reason}`, { cause: error });
  } finally {
    if (folder !== undefined) await Deno.remove(folder, { recursive: true }).catch(() => {});
  }
}

/** Members of a group may assign their files to it; other processes need a capability. */
async function changeGroup(path: string, gid: number): Promise<void> {
  try {
    await Deno.chown(path, null, gid);
  } catch (error) {
    if (!(error instanceof Deno.errors.PermissionDenied)) throw error;
    const reason = `failed to change its group to ${gid}: the process is not a member`;
    throw new Error(`${reason}; add it to SupplementaryGroups= of the unit`, { cause: error });
  }
}

/** Throws unless there is no file, or a socket without a listener. */
async function ensureUnused(path: string): Promise<void> {
  const info = await Deno.lstat(path).catch(() => undefined);
  if (info === undefined) return;
  if (info.isSocket !== true) {
    throw new AgentError(
      "io",
      `failed to listen on ${path}: ${basename(path)} exists and is not a socket`,
    );
  }
  try {
    (await Deno.connect({ transport: "unix", path })).close();
  } catch (error) {
    if (error instanceof Deno.errors.ConnectionRefused) return;
    if (error instanceof Deno.errors.NotFound) return;
    throw new AgentError("io", `failed to listen on ${path}: ${messageOf(error)}`, {
      cause: error,
    });
  }
  throw new AgentError(
    "io",
    `failed to listen on ${path}: another process listens on it; stop it, or choose another path`,
  );
}

async function removeIfSame(path: string, own: Deno.FileInfo): Promise<void> {
  const now = await Deno.lstat(path).catch(() => undefined);
  if (now?.ino === own.ino && now.dev === own.dev) await Deno.remove(path).catch(() => {});
}

/** Returns whether a process listens on a unix socket. */
export async function listensOn(path: string): Promise<boolean> {
  try {
    (await Deno.connect({ transport: "unix", path })).close();
    return true;
  } catch {
    return false;
  }
}

/** Returns a loopback port that is currently unused. */
export function freePort(): number {
  const listener = Deno.listen({ hostname: "127.0.0.1", port: 0 });
  try {
    return listener.addr.port;
  } finally {
    listener.close();
  }
}
