import { basename, dirname, join } from "@std/path";
import { AgentError, messageOf } from "../model/mod.ts";
import { type Handler, HttpServer, type HttpServerOptions } from "./http_server.ts";

const PRIVATE = 0o600;

/**
 * Serves HTTP on an address until it is disposed, within the limits of {@linkcode HttpServer}.
 * Returns the actual port, also if port 0 was requested.
 *
 * @throws {AgentError} `io` if it cannot listen on the address.
 */
export function listenTcp(
  { hostname, port }: { readonly hostname: string; readonly port: number },
  handler: Handler,
  options: HttpServerOptions = {},
): AsyncDisposable & { readonly port: number } {
  try {
    const listener = Deno.listen({ hostname, port });
    const { addr } = listener;
    const reopen = () => Promise.resolve(Deno.listen({ hostname, port: addr.port }));
    const server = new HttpServer(listener, reopen, handler, options);
    return { port: addr.port, [Symbol.asyncDispose]: () => server[Symbol.asyncDispose]() };
  } catch (error) {
    const host = hostname.includes(":") ? `[${hostname}]` : hostname;
    throw addressError(`${host}:${port}`, error);
  }
}

function addressError(address: string, error: unknown): AgentError {
  const remedy = "choose another address in server.address";
  const reason = error instanceof Deno.errors.AddrInUse
    ? `the port is in use by another process; stop it, or ${remedy}`
    : error instanceof Deno.errors.AddrNotAvailable
    ? `this machine does not have this address; ${remedy}`
    : error instanceof Deno.errors.PermissionDenied
    ? `permission denied; ports below 1024 are privileged: grant the capability, or ${remedy}`
    : `${messageOf(error)}; ${remedy}`;
  return new AgentError("io", `failed to listen on ${address}: ${reason}`, { cause: error });
}

/**
 * Serves HTTP on a unix socket until it is disposed, within the limits of {@linkcode HttpServer}. A
 * socket that a previous process left is replaced. Members of the group `gid` may connect, too.
 *
 * @throws {AgentError} `io` if the socket cannot be created, or another process listens on it.
 */
export async function listenUnix(
  path: string,
  handler: Handler,
  { gid, ...options }: HttpServerOptions & { readonly gid?: number } = {},
): Promise<AsyncDisposable> {
  let bound = await bindUnix(path, gid);
  const reopen = async () => (bound = await bindUnix(path, gid)).listener;
  const server = new HttpServer(bound.listener, reopen, handler, options);
  return {
    async [Symbol.asyncDispose]() {
      await bound.remove();
      await server[Symbol.asyncDispose]();
    },
  };
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
  gid?: number,
): Promise<BoundSocket> {
  await ensureUnused(path);
  let listener: Deno.UnixListener | undefined;
  let folder: string | undefined;
  try {
    folder = await Deno.makeTempDir({ dir: dirname(path), prefix: "." });
    const created = join(folder, "s");
    listener = Deno.listen({ transport: "unix", path: created });
    if (gid !== undefined) await changeGroup(created, gid);
    await Deno.chmod(created, gid === undefined ? PRIVATE : PRIVATE | 0o060);
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
  let reason = `${basename(path)} exists and is not a socket`;
  if (info.isSocket === true) {
    try {
      (await Deno.connect({ transport: "unix", path })).close();
      reason = "another process listens on it; stop it, or choose another path";
    } catch (error) {
      if (error instanceof Deno.errors.ConnectionRefused) return;
      if (error instanceof Deno.errors.NotFound) return;
      reason = messageOf(error);
    }
  }
  throw new AgentError("io", `failed to listen on ${path}: ${reason}`);
}

async function removeIfSame(path: string, own: Deno.FileInfo): Promise<void> {
  const now = await Deno.lstat(path).catch(() => undefined);
  if (now?.ino === own.ino && now.dev === own.dev) await Deno.remove(path).catch(() => {});
}

/** Returns whether a process listens on a unix socket. */
export async function listensOn(path: string): Promise<boolean> {
  return await Deno.connect({ transport: "unix", path }).then(
    (c) => (c.close(), true),
    () => false,
  );
}
