import { basename, dirname, join } from "@std/path";
import { AgentError, type FileStat, type FileSystem } from "../model/mod.ts";
import { createFile, systemReason, writeAll } from "./file_operations.ts";
import { systemClock } from "./clock.ts";
import { stampOf, watchPaths } from "./watch.ts";

const MAX_BYTES = 4 * 1024 * 1024;
/** Value of `chown(2)` for an unchanged owner or group. */
const KEEP = 2 ** 32 - 1;
const UUID_TMP = /^[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}\.tmp$/;

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
    using file = await Deno.open(path, { read: true });
    const bytes = await readBounded(file, maxBytes, path);
    return new TextDecoder("utf-8", { fatal: true, ignoreBOM: false }).decode(bytes);
  } catch (error) {
    if (error instanceof Deno.errors.NotFound) return undefined;
    if (error instanceof TypeError) {
      throw new AgentError("io", `failed to read ${path}: it is not UTF-8 text`);
    }
    throw failed("read", path, error);
  }
}

async function readBounded(file: Deno.FsFile, maxBytes: number, path: string): Promise<Uint8Array> {
  const chunks: Uint8Array<ArrayBuffer>[] = [];
  let size = 0;
  while (true) {
    const chunk = new Uint8Array(Math.min(64 * 1024, maxBytes + 1));
    const read = await file.read(chunk);
    if (read === null) break;
    size += read;
    if (size > maxBytes) {
      throw new AgentError("io", `failed to read ${path}: larger than ${maxBytes} bytes`);
    }
    chunks.push(chunk.subarray(0, read));
  }
  return new Uint8Array(await new Blob(chunks).arrayBuffer());
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
      size: info.size,
      mode: info.mode ?? 0,
      uid: info.uid ?? 0,
      gid: info.gid ?? 0,
    };
  } catch (error) {
    if (error instanceof Deno.errors.NotFound || systemReason(error) === "ENOTDIR") {
      return undefined;
    }
    throw failed("stat", path, error);
  }
}

function kindOf(info: Deno.FileInfo): FileStat["kind"] {
  if (info.isFile) return "file";
  if (info.isDirectory) return "directory";
  if (info.isSymlink) return "symlink";
  return info.isSocket === true ? "socket" : "other";
}

async function list(path: string): Promise<readonly string[]> {
  const names: string[] = [];
  try {
    for await (const { name } of Deno.readDir(path)) names.push(name);
  } catch (error) {
    if (error instanceof Deno.errors.NotFound || systemReason(error) === "ENOTDIR") return [];
    throw failed("list", path, error);
  }
  return names.sort();
}

async function writeAtomic(
  path: string,
  text: string,
  { mode, uid, gid }: { readonly mode: number; readonly uid?: number; readonly gid?: number },
): Promise<void> {
  const before = await stat(path, { noFollow: true });
  if (before !== undefined && before.kind !== "file") {
    throw new AgentError("io", `failed to write ${path}: it is a ${before.kind}, not a file`);
  }
  const temporary = join(dirname(path), `.${basename(path)}.${crypto.randomUUID()}.tmp`);
  try {
    await createFile(temporary, mode, async (file) => {
      await writeAll(file, new TextEncoder().encode(text));
      if (uid !== undefined || gid !== undefined) await file.chown(uid ?? KEEP, gid ?? KEEP);
    });
    await Deno.rename(temporary, path);
  } catch (error) {
    await Deno.remove(temporary).catch(() => {});
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
  depth = 0,
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
    const directory = await Deno.open(path, { read: true });
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
