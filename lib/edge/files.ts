import { basename, dirname, join } from "@std/path";
import { AgentError, type FileStat, type FileSystem } from "../model/mod.ts";
import { systemReason } from "./system_reason.ts";
import { watchPaths } from "./watch.ts";

const MAX_BYTES = 4 * 1024 * 1024;
/** No write takes so long: a temporary file of this age is one of a process that was killed. */
const ABANDONED_MS = 30_000;

function failed(action: string, path: string, error: unknown): AgentError {
  if (error instanceof AgentError) return error;
  return new AgentError("io", `${action} ${path}: ${systemReason(error)}`);
}

async function readText(
  path: string,
  { maxBytes = MAX_BYTES }: { readonly maxBytes?: number } = {},
): Promise<string | undefined> {
  try {
    // Before it is opened: a pipe that nobody writes to would never let go of us.
    const kind = kindOf(await Deno.stat(path));
    if (kind !== "file") {
      const what = kind === "other" ? "pipe or a device" : kind;
      throw new AgentError("io", `read ${path}: it is a ${what}, not a file`);
    }
    using file = await Deno.open(path, { read: true });
    const bytes = await readBounded(file, maxBytes, path);
    return new TextDecoder("utf-8", { fatal: true, ignoreBOM: false }).decode(bytes);
  } catch (error) {
    if (error instanceof Deno.errors.NotFound) return undefined;
    if (error instanceof TypeError) {
      throw new AgentError("io", `read ${path}: it is not UTF-8 text`);
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
    if (size > maxBytes) throw new AgentError("io", `read ${path}: larger than ${maxBytes} bytes`);
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
      stamp: [info.dev, info.ino, info.size, info.mtime?.getTime(), info.ctime?.getTime()].join(
        ":",
      ),
      size: info.size,
      mode: info.mode ?? 0,
      uid: info.uid ?? 0,
      gid: info.gid ?? 0,
    };
  } catch (error) {
    if (error instanceof Deno.errors.NotFound || systemReason(error) === "ENOTDIR") {
      return undefined;
    }
    throw failed("look at", path, error);
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
    throw new AgentError("io", `write ${path}: it is a ${before.kind}, not a file`);
  }
  const temporary = join(dirname(path), `.${basename(path)}.${crypto.randomUUID()}.tmp`);
  try {
    // Private from the first moment; opened up, if at all, only once it is whole.
    using file = await Deno.open(temporary, { write: true, createNew: true, mode: 0o600 });
    const bytes = new TextEncoder().encode(text);
    for (let at = 0; at < bytes.length;) at += await file.write(bytes.subarray(at));
    if (uid !== undefined || gid !== undefined) {
      await Deno.chown(temporary, uid ?? null, gid ?? null);
    }
    await Deno.chmod(temporary, mode);
    await file.sync();
    await Deno.rename(temporary, path);
  } catch (error) {
    await Deno.remove(temporary).catch(() => {});
    throw failed("write", path, error);
  }
  await syncDirectory(dirname(path));
  await removeAbandoned(path);
}

/** What a killed process left while it wrote this file: it may hold a credential. */
async function removeAbandoned(path: string): Promise<void> {
  const folder = dirname(path);
  const rest = (name: string) =>
    name.startsWith(`.${basename(path)}.`) ? name.slice(basename(path).length + 2) : "";
  try {
    const names = (await list(folder)).filter((name) => /^[0-9a-f-]{36}\.tmp$/.test(rest(name)));
    for (const name of names) {
      const { mtime, isFile } = await Deno.lstat(join(folder, name));
      const ageMs = Math.abs(Date.now() - (mtime?.getTime() ?? Date.now()));
      if (isFile && ageMs > ABANDONED_MS) await Deno.remove(join(folder, name));
    }
  } catch {
    // The file itself is written; the next write tries again.
  }
}

/** So that the new name survives a power cut; the content does in any case. */
async function syncDirectory(path: string): Promise<void> {
  try {
    const directory = await Deno.open(path, { read: true });
    try {
      await directory.sync();
    } finally {
      directory.close();
    }
  } catch {
    // Some file systems do not let a directory be synced.
  }
}

/** The machine's file system. */
export const systemFiles: FileSystem = {
  readText,
  stat,
  list,
  writeAtomic,
  watch: (paths, changed) => watchPaths(paths, changed, stat),
};
