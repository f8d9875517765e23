import { basename, dirname, join } from "@std/path";
import { constants } from "node:fs";
import { type FileHandle, open, statfs } from "node:fs/promises";
import { AgentError } from "../model/mod.ts";

/**
 * Creates a file, writes its content with `write`, syncs and closes it. The file gets its mode when
 * it is complete; until then only its owner can read it.
 *
 * Owner and mode are set through the descriptor: `chown` and `chmod` by path would follow a symbolic
 * link that another user of the folder put in its place.
 */
export async function createFile(
  path: string,
  mode: number,
  write: (file: FileHandle) => Promise<void>,
): Promise<void> {
  const { O_CREAT, O_EXCL, O_NOFOLLOW, O_WRONLY } = constants;
  const file = await open(path, O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW, 0o600);
  try {
    await write(file);
    await file.chmod(mode);
    await file.sync();
  } finally {
    await file.close();
  }
}

/** Creates a folder with this mode, regardless of the umask. */
export async function createFolder(path: string, mode: number): Promise<void> {
  await Deno.mkdir(path, { mode });
  const { O_DIRECTORY, O_NOFOLLOW, O_RDONLY } = constants;
  const folder = await open(path, O_RDONLY | O_DIRECTORY | O_NOFOLLOW);
  try {
    await folder.chmod(mode);
  } finally {
    await folder.close();
  }
}

/** Writes all bytes; a single `write` may be partial. */
export async function writeAll(file: FileHandle, bytes: Uint8Array): Promise<void> {
  for (let at = 0; at < bytes.length;) at += (await file.write(bytes, at)).bytesWritten;
}

/** Writes a small file that only its owner can read. */
export function writePrivateText(path: string, text: string): Promise<void> {
  return Deno.writeTextFile(path, text, { mode: 0o600 });
}

/**
 * Creates or replaces a symbolic link atomically.
 *
 * @throws {AgentError} `io` if the path is not a symbolic link, or the link cannot be created.
 */
export async function pointLink(link: string, target: string): Promise<void> {
  try {
    const existing = await Deno.lstat(link).catch(() => undefined);
    if (existing !== undefined && !existing.isSymlink) {
      throw new AgentError("io", `failed to link ${link} to ${target}: not a symbolic link`);
    }
    const next = join(dirname(link), `.${basename(link)}.${crypto.randomUUID().slice(0, 8)}`);
    await Deno.symlink(target, next);
    await Deno.rename(next, link);
  } catch (error) {
    if (error instanceof AgentError) throw error;
    // The system's text contains the random name of the temporary link, which defeats the
    // deduplication of log lines.
    throw new AgentError("io", `failed to link ${link} to ${target}: ${systemReason(error)}`);
  }
}

/** Returns the target of a symbolic link, or undefined if the path is not one. */
export async function readLink(link: string): Promise<string | undefined> {
  return await Deno.readLink(link).catch(() => undefined);
}

/**
 * Removes a file if it exists.
 *
 * @throws {AgentError} `io` if it cannot be removed.
 */
export async function removeFile(path: string): Promise<void> {
  try {
    await Deno.remove(path);
  } catch (error) {
    if (error instanceof Deno.errors.NotFound) return;
    throw new AgentError("io", `failed to remove ${path}: ${systemReason(error)}`);
  }
}

/** Magic numbers of in-memory file systems (linux/magic.h). */
const IN_MEMORY: readonly number[] = [0x01021994, /* tmpfs */ 0x858458f6 /* ramfs */];

/**
 * Returns whether a folder is on an in-memory file system. A tmpfs may be swapped to disk; the
 * systemd unit disables swap.
 *
 * @throws {Error} if the folder does not exist.
 */
export async function isMemoryBacked(folder: string): Promise<boolean> {
  return IN_MEMORY.includes((await statfs(folder)).type >>> 0);
}

const REASONS: Readonly<Record<string, string>> = {
  EACCES: "permission denied",
  PermissionDenied: "permission denied",
  ENOENT: "no such file or folder",
  EROFS: "read-only file system",
  ENOSPC: "no space left on the device",
};

/** Returns the code of a system error without its text, which may quote file contents or paths. */
export function systemReason(error: unknown): string {
  if (!(error instanceof Error)) return "unknown error";
  const { code = error.name } = error as Error & { readonly code?: unknown };
  const reason = REASONS[String(code)];
  return reason === undefined ? String(code) : `${reason} (${code})`;
}

/** Closes a file or a connection that may be closed already. */
export function tryClose(closable: { close(): void } | undefined): void {
  try {
    closable?.close();
  } catch {
    // Already closed.
  }
}
