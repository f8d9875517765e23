import { basename, dirname, join } from "@std/path";
import { constants } from "node:fs";
import { createHash } from "node:crypto";
import { type FileHandle, open, statfs } from "node:fs/promises";
import { AgentError, type FileStat, type FileSystem } from "../model/mod.ts";
import { systemClock } from "./host.ts";
import { stampOf, watchPaths } from "./watch.ts";

const MAX_BYTES = 4 * 1024 * 1024;
const UUID_TMP = /^[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}\.tmp$/;

/** Without the system's text: it contains the random name of a temporary file. */
function failed(action: string, path: string, error: unknown): AgentError {
  if (error instanceof AgentError) return error;
  return new AgentError("io", `failed to ${action} ${path}: ${systemReason(error)}`);
}

async function readText(
  path: string,
  { maxBytes = MAX_BYTES }: { readonly maxBytes?: number } = {},
): Promise<string | undefined> {
  try {
    // Opening a pipe without a writer would block forever.
    const kind = kindOf(await Deno.stat(path));
    if (kind !== "file") {
      const what = kind === "other" ? "pipe or a device" : kind;
      throw new AgentError("io", `failed to read ${path}: it is a ${what}, not a file`);
    }
    const decoder = new TextDecoder("utf-8", { fatal: true });
    let text = "";
    let size = 0;
    for await (const chunk of (await Deno.open(path)).readable) {
      size += chunk.length;
      if (size > maxBytes) {
        throw new AgentError("io", `failed to read ${path}: larger than ${maxBytes} bytes`);
      }
      text += decoder.decode(chunk, { stream: true });
    }
    return text + decoder.decode();
  } catch (error) {
    if (error instanceof Deno.errors.NotFound) return undefined;
    if (error instanceof TypeError) {
      throw new AgentError("io", `failed to read ${path}: it is not UTF-8 text`);
    }
    throw failed("read", path, error);
  }
}

async function stat(
  path: string,
  { noFollow = false }: { readonly noFollow?: boolean } = {},
): Promise<FileStat | undefined> {
  try {
    const info = noFollow ? await Deno.lstat(path) : await Deno.stat(path);
    return {
      kind: kindOf(info),
      stamp: stampOf(info),
      ...(info.mtime !== null && { mtimeMs: info.mtime.getTime() }),
      size: info.size,
      mode: info.mode ?? 0,
      uid: info.uid ?? 0,
      gid: info.gid ?? 0,
    };
  } catch (error) {
    if (error instanceof Deno.errors.NotFound || systemCode(error) === "ENOTDIR") {
      return undefined;
    }
    throw failed("stat", path, error);
  }
}

function kindOf(info: Deno.FileInfo): FileStat["kind"] {
  if (info.isFile) return "file";
  if (info.isDirectory) return "directory";
  if (info.isSymlink) return "symlink";
  return info.isSocket ? "socket" : "other";
}

async function list(path: string): Promise<readonly string[]> {
  const names: string[] = [];
  try {
    for await (const { name } of Deno.readDir(path)) names.push(name);
  } catch (error) {
    if (error instanceof Deno.errors.NotFound || systemCode(error) === "ENOTDIR") return [];
    throw failed("list", path, error);
  }
  return names.sort();
}

async function writeAtomic(
  path: string,
  text: string,
  { mode, owner }: { readonly mode: number; readonly owner?: Pick<FileStat, "uid" | "gid"> },
): Promise<void> {
  const before = await stat(path, { noFollow: true });
  if (before !== undefined && before.kind !== "file") {
    throw new AgentError("io", `failed to write ${path}: it is a ${before.kind}, not a file`);
  }
  try {
    await replaceFile(path, mode, async (file) => {
      await writeAll(file, new TextEncoder().encode(text));
      if (owner !== undefined) await file.chown(owner.uid, owner.gid);
    });
  } catch (error) {
    throw failed("write", path, error);
  }
  await syncDirectory(dirname(path));
}

/**
 * Removes the temporary files of `fileName` that a killed process left in a folder and in the
 * folders below it, down to `depth`: they may contain credentials. Symbolic links are not followed.
 * Call this before the first write.
 *
 * @returns The number of removed files.
 * @throws {AgentError} `io` if a file cannot be removed, after the others have been removed.
 */
export async function removeTemporaryFiles(
  folder: string,
  fileName: string,
  depth: number,
): Promise<number> {
  const isOurs = (name: string) =>
    name.startsWith(`.${fileName}.`) && UUID_TMP.test(name.slice(fileName.length + 2));
  let removed = 0;
  let failure: AgentError | undefined;
  const visit = async (path: string, below: number): Promise<void> => {
    try {
      for await (const { name, isFile, isDirectory } of Deno.readDir(path)) {
        const entry = join(path, name);
        if (isDirectory && below > 0) await visit(entry, below - 1);
        if (!isFile || !isOurs(name)) continue;
        await Deno.remove(entry);
        removed++;
      }
    } catch (error) {
      if (error instanceof Deno.errors.NotFound) return;
      failure ??= failed("remove temporary files in", path, error);
    }
  };
  await visit(folder, depth);
  if (failure !== undefined) throw failure;
  return removed;
}

/** Makes a rename durable; the content of the file is synced before. */
async function syncDirectory(path: string): Promise<void> {
  try {
    const directory = await Deno.open(path);
    try {
      await directory.sync();
    } finally {
      directory.close();
    }
  } catch {
    // Some file systems do not support fsync of a directory.
  }
}

/** The real file system. */
export const systemFiles: FileSystem = {
  readText,
  stat,
  list,
  writeAtomic,
  watch: (paths, changed) => watchPaths(paths, changed, { clock: systemClock }),
};

/**
 * Replaces a file atomically with the content that `write` writes, and syncs it. The file gets its
 * mode when it is complete; until then only its owner can read it.
 *
 * Owner and mode are set through the descriptor: `chown` and `chmod` by path would follow a symbolic
 * link that another user of the folder put in its place.
 */
async function replaceFile(
  path: string,
  mode: number,
  write: (file: FileHandle) => Promise<void>,
): Promise<void> {
  const { O_CREAT, O_EXCL, O_NOFOLLOW, O_WRONLY } = constants;
  await replaceBy(path, async (temporary) => {
    await using file = await open(temporary, O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW, 0o600);
    await write(file);
    await file.chmod(mode);
    await file.sync();
  });
}

/** Replaces a path by a temporary one in the same folder, which is removed after a failure. */
async function replaceBy(
  path: string,
  make: (temporary: string) => Promise<void>,
): Promise<void> {
  // `removeTemporaryFiles` recognizes this name.
  const temporary = join(dirname(path), `.${basename(path)}.${crypto.randomUUID()}.tmp`);
  try {
    await make(temporary);
    await Deno.rename(temporary, path);
  } catch (error) {
    await Deno.remove(temporary).catch(() => {});
    throw error;
  }
}

/** Writes all bytes; a single `write` may be partial. */
async function writeAll(file: FileHandle, bytes: Uint8Array): Promise<void> {
  for (let at = 0; at < bytes.length;) at += (await file.write(bytes, at)).bytesWritten;
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
    await replaceBy(link, (temporary) => Deno.symlink(target, temporary));
  } catch (error) {
    throw failed("link", `${link} to ${target}`, error);
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
    throw failed("remove", path, error);
  }
}

/**
 * Replaces a program atomically with a copy; a process that runs the old one is unaffected.
 *
 * @throws {AgentError} `io` if it cannot be written.
 */
export async function copyProgram(from: string, to: string): Promise<void> {
  try {
    await replaceFile(to, 0o755, async (file) => {
      for await (const chunk of (await Deno.open(from)).readable) await writeAll(file, chunk);
    });
  } catch (error) {
    throw failed("write", to, error);
  }
}

/** Returns whether both files exist and have the same content. */
export async function sameContent(a: string, b: string): Promise<boolean> {
  const digest = async (path: string) => {
    const hash = createHash("sha256");
    for await (const chunk of (await Deno.open(path)).readable) hash.update(chunk);
    return hash.digest("hex");
  };
  return await digest(a) === await digest(b).catch(() => undefined);
}

/**
 * Creates a folder and those above it, which every user can enter regardless of the umask.
 *
 * @throws {AgentError} `io` if one cannot be created.
 */
export async function makeFolder(path: string): Promise<void> {
  if (await stat(path) !== undefined) return;
  await makeFolder(dirname(path));
  try {
    await Deno.mkdir(path);
    await Deno.chmod(path, 0o755);
  } catch (error) {
    throw failed("create folder", path, error);
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

/** Returns the code of a system error, or its name; undefined for other values. */
export function systemCode(error: unknown): string | undefined {
  if (!(error instanceof Error)) return undefined;
  const { code = error.name } = error as Error & { readonly code?: unknown };
  return String(code);
}

/** Describes a system error without its text, which may quote file contents or paths. */
export function systemReason(error: unknown): string {
  const code = systemCode(error) ?? "unknown error";
  const reason = REASONS[code];
  return reason === undefined ? code : `${reason} (${code})`;
}

/** Closes a file or a connection that may be closed already. */
export function tryClose(closable: { close(): void } | undefined): void {
  try {
    closable?.close();
  } catch {
    // Already closed.
  }
}
