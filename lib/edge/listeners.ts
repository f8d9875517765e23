import { basename, dirname, join } from "@std/path";
import { AgentError, messageOf } from "../model/mod.ts";

/** Answers one request. */
export type Handler = (request: Request) => Response | Promise<Response>;

/** A TCP server that runs until it is disposed of. */
export interface TcpListener extends AsyncDisposable {
  readonly hostname: string;
  /** The real port, also where 0 was asked for. */
  readonly port: number;
}

/** A server on a unix socket that runs until it is disposed of, and then takes its socket away. */
export interface UnixListener extends AsyncDisposable {
  readonly path: string;
}

/** How long requests in flight may take once the server stops. */
const DRAIN_MS = 2_000;
const PRIVATE = 0o600;

/**
 * Serves HTTP on an address. Resolves once it listens.
 *
 * @throws {AgentError} `io` when the address cannot be had.
 */
export function listenTcp(
  { hostname, port }: { readonly hostname: string; readonly port: number },
  handler: Handler,
): Promise<TcpListener> {
  return new Promise((resolve, reject) => {
    const stop = new AbortController();
    try {
      const server = Deno.serve(
        { hostname, port, signal: stop.signal, onListen: () => {}, onError: failed },
        (request) => handler(request),
      );
      resolve({
        hostname: server.addr.hostname,
        port: server.addr.port,
        [Symbol.asyncDispose]: () => drain(server, stop),
      });
    } catch (error) {
      reject(addressError(`${hostname.includes(":") ? `[${hostname}]` : hostname}:${port}`, error));
    }
  });
}

function addressError(address: string, error: unknown): AgentError {
  const mend = "choose another address in server.address";
  const why = error instanceof Deno.errors.AddrInUse
    ? `the port is taken by another program; stop it, or ${mend}`
    : error instanceof Deno.errors.AddrNotAvailable
    ? `this machine has no such address; ${mend}`
    : error instanceof Deno.errors.PermissionDenied
    ? `not allowed; a port below 1024 needs rights, or ${mend}`
    : `${messageOf(error)}; ${mend}`;
  return new AgentError("io", `listen on ${address}: ${why}`, { cause: error });
}

/**
 * Serves HTTP on a unix socket. The socket is made in a folder that only we can enter, given its
 * mode, and then renamed to its path: at no moment can anybody else connect. (A umask would do too,
 * but it belongs to the whole process, and so would be that of files written at that moment.) A
 * socket that outlived its process is replaced.
 *
 * @param options.mode Not more than 0600, which is the default.
 * @throws {AgentError} `io` when the path cannot be had, or when another process serves there.
 * @throws {RangeError} When `mode` lets others in.
 */
export async function listenUnix(
  path: string,
  handler: Handler,
  { mode = PRIVATE }: { readonly mode?: number } = {},
): Promise<UnixListener> {
  if ((mode & ~PRIVATE) !== 0) {
    throw new RangeError(`mode 0${mode.toString(8)} of a socket is more open than 0600`);
  }
  await makeSureItIsFree(path);
  let folder: string | undefined;
  const stop = new AbortController();
  try {
    folder = await Deno.makeTempDir({ dir: dirname(path), prefix: "." });
    const made = join(folder, "s");
    const server = Deno.serve(
      { path: made, signal: stop.signal, onListen: () => {}, onError: failed },
      (request) => handler(request),
    );
    try {
      await Deno.chmod(made, mode);
      await Deno.rename(made, path);
    } catch (error) {
      await drain(server, stop);
      throw error;
    }
    const own = await Deno.lstat(path);
    return {
      path,
      async [Symbol.asyncDispose]() {
        await removeIfOurs(path, own);
        await drain(server, stop);
      },
    };
  } catch (error) {
    throw new AgentError("io", `listen on ${path}: ${messageOf(error)}`, { cause: error });
  } finally {
    if (folder !== undefined) await Deno.remove(folder, { recursive: true }).catch(() => {});
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

/** Lets requests in flight end, but not for ever. */
async function drain(server: Deno.HttpServer<Deno.Addr>, stop: AbortController): Promise<void> {
  const timer = setTimeout(() => stop.abort(), DRAIN_MS);
  try {
    await server.shutdown();
    await server.finished;
  } finally {
    clearTimeout(timer);
  }
}

/** Handlers answer for their own errors; what escapes them is told to nobody outside. */
function failed(): Response {
  return new Response(null, { status: 500 });
}
