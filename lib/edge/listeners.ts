import { basename, dirname, join } from "@std/path";
import { AgentError, type CallOptions, messageOf } from "../model/mod.ts";

/** Answers one request. */
export type Handler = (request: Request) => Response | Promise<Response>;

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

/** How long requests in flight may take once the server stops. */
const DRAIN_MS = 2_000;
const PRIVATE = 0o600;
/** Requests answered side by side; more are told to come again. */
const MAX_IN_FLIGHT = 64;
const MAX_URL_LENGTH = 8_192;
const MAX_BODY_BYTES = 65_536;

/**
 * Serves HTTP on an address. Resolves once it listens. Aborting `signal` stops it as disposing
 * does: what is in flight may end, nothing new is taken.
 *
 * Too many requests at once get 503, too long a URL 414, a body over 64 KiB 413, and one that does
 * not tell its length 411: the handler hears of none of them.
 *
 * @throws {AgentError} `io` when the address cannot be had.
 */
export function listenTcp(
  { hostname, port }: { readonly hostname: string; readonly port: number },
  handler: Handler,
  { signal }: CallOptions = {},
): Promise<TcpListener> {
  return new Promise((resolve, reject) => {
    if (signal?.aborted) return reject(signal.reason);
    try {
      const server = Deno.serve(
        { hostname, port, onListen: () => {}, onError: failed },
        limited(handler),
      );
      const { addr } = server;
      resolve({
        hostname: addr.hostname,
        port: addr.port,
        address: addressOf(addr.hostname, addr.port),
        [Symbol.asyncDispose]: stopOnce(() => drain(server), signal),
      });
    } catch (error) {
      reject(addressError(addressOf(hostname, port), error));
    }
  });
}

function addressOf(hostname: string, port: number): string {
  return `${hostname.includes(":") ? `[${hostname}]` : hostname}:${port}`;
}

/** Keeps from the handler what would cost us more than an answer is worth. */
function limited(handler: Handler): Handler {
  let inFlight = 0;
  return async (request) => {
    const refusal = refusalOf(request);
    if (refusal !== undefined) return new Response(null, { status: refusal });
    if (inFlight >= MAX_IN_FLIGHT) {
      return new Response(null, { status: 503, headers: { "retry-after": "1" } });
    }
    inFlight++;
    try {
      return await handler(withoutUntoldBody(request));
    } finally {
      inFlight--;
    }
  };
}

function refusalOf({ url, body, headers }: Request): number | undefined {
  if (url.length > MAX_URL_LENGTH) return 414;
  if (body === null) return undefined;
  if (headers.has("transfer-encoding")) return 411;
  return Number(headers.get("content-length") ?? 0) <= MAX_BODY_BYTES ? undefined : 413;
}

/**
 * Without a length there is no body in HTTP/1.1 (RFC 9112, section 6.3). In HTTP/2 there may be
 * one, of any length: the handler does not see it.
 */
function withoutUntoldBody(request: Request): Request {
  const { url, method, headers, body } = request;
  if (body === null || headers.has("content-length")) return request;
  return new Request(url, { method, headers });
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

/** How a unix socket is served. */
export interface UnixListenOptions extends CallOptions {
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
  { mode = PRIVATE, gid, signal }: UnixListenOptions = {},
): Promise<UnixListener> {
  if ((mode & ~PRIVATE) !== 0) {
    throw new RangeError(`mode 0${mode.toString(8)} of a socket is more open than 0600`);
  }
  signal?.throwIfAborted();
  await makeSureItIsFree(path);
  let folder: string | undefined;
  try {
    folder = await Deno.makeTempDir({ dir: dirname(path), prefix: "." });
    const made = join(folder, "s");
    const server = Deno.serve(
      { path: made, onListen: () => {}, onError: failed },
      limited(handler),
    );
    let own: Deno.FileInfo;
    try {
      if (gid !== undefined) await giveToGroup(made, gid);
      await Deno.chmod(made, gid === undefined ? mode : PRIVATE | 0o060);
      signal?.throwIfAborted();
      await Deno.rename(made, path);
      own = await Deno.lstat(path);
    } catch (error) {
      await drain(server);
      throw error;
    }
    const end = async () => {
      await removeIfOurs(path, own);
      await drain(server);
    };
    const stopped = stopOnce(end, signal);
    if (signal?.aborted) await stopped();
    signal?.throwIfAborted();
    return { path, [Symbol.asyncDispose]: stopped };
  } catch (error) {
    signal?.throwIfAborted();
    throw new AgentError("io", `listen on ${path}: ${messageOf(error)}`, { cause: error });
  } finally {
    if (folder !== undefined) await Deno.remove(folder, { recursive: true }).catch(() => {});
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

/**
 * Lets requests in flight end, within a time. They are not aborted after it: some versions of the
 * runtime throw where nothing catches it when a server that was shut down is aborted.
 */
async function drain(server: Deno.HttpServer<Deno.Addr>): Promise<void> {
  const late = Promise.withResolvers<void>();
  const timer = setTimeout(late.resolve, DRAIN_MS);
  await Promise.race([server.shutdown().then(() => server.finished), late.promise]);
  clearTimeout(timer);
}

/** Handlers answer for their own errors; what escapes them is told to nobody outside. */
function failed(): Response {
  return new Response(null, { status: 500 });
}
