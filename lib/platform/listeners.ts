import { basename, dirname, join } from "@std/path";
import { AgentError, type Clock, messageOf } from "../model/mod.ts";
import { systemClock } from "./host.ts";

const PRIVATE = 0o600;
const ACCEPT_PAUSE_MS = 100;

/** Options of {@linkcode acceptAll}. */
interface AcceptOptions {
  readonly signal: AbortSignal;
  /** @default {systemClock} */
  readonly clock?: Clock;
  /** Called for each failure, with the number of those before it since the last connection. */
  readonly failed?: (error: unknown, failures: number) => void;
}

/** Accepts connections until `signal` aborts. Retries after a failure, such as EMFILE. */
export async function acceptAll<T>(
  listener: { accept(): Promise<T> },
  admit: (connection: T) => void,
  { signal, clock = systemClock, failed = () => {} }: AcceptOptions,
): Promise<void> {
  let failures = 0;
  while (!signal.aborted) {
    try {
      admit(await listener.accept());
      failures = 0;
    } catch (error) {
      if (signal.aborted) return;
      failed(error, failures++);
      await clock.sleep(ACCEPT_PAUSE_MS, { signal }).catch(() => {});
    }
  }
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
