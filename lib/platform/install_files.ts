import { basename, dirname, join } from "@std/path";
import type { FileHandle } from "node:fs/promises";
import { AgentError, type InstalledFile, type InstallFiles } from "../model/mod.ts";
import { createFile, createFolder, systemReason, writeAll } from "./file_operations.ts";

/** File operations of an installation, on the real file system. */
export function systemInstallFiles(): InstallFiles {
  return {
    stat: (path) => guarded("stat", path, () => stat(path)),
    readText: (path) => guarded("read", path, () => Deno.readTextFile(path)),
    sameBytes: (a, b) => guarded("compare", b, () => sameBytes(a, b)),
    makeDirectory: (path, mode) => guarded("create folder", path, () => createFolder(path, mode)),
    copyFile: (from, to, mode) =>
      guarded("write", to, () => replaceFile(to, mode, (file) => copyBytes(from, file))),
    writeText: (path, text, mode) =>
      guarded(
        "write",
        path,
        () => replaceFile(path, mode, (file) => writeAll(file, new TextEncoder().encode(text))),
      ),
    symlink: (path, target) =>
      guarded("create link", path, () => {
        const temporary = temporaryName(path);
        return replaceBy(temporary, path, () => Deno.symlink(target, temporary));
      }),
    backUp: (path) =>
      guarded("back up", path, async () => {
        const backup = temporaryName(path);
        const found = await stat(path);
        if (found?.kind === "symlink") await Deno.symlink(found.linkTarget ?? "", backup);
        else await Deno.link(path, backup);
        return backup;
      }),
    move: (from, to) => guarded("replace", to, () => Deno.rename(from, to)),
    remove: (path) => guarded("remove", path, () => Deno.remove(path)),
    list: (path) =>
      guarded("list", path, async () => {
        const entries = await Array.fromAsync(Deno.readDir(path));
        return entries.map((entry) => entry.name).sort();
      }),
  };
}

async function stat(path: string): Promise<InstalledFile | undefined> {
  let info: Deno.FileInfo;
  try {
    info = await Deno.lstat(path);
  } catch (error) {
    if (error instanceof Deno.errors.NotFound) return undefined;
    throw error;
  }
  const { mode, uid, gid } = info;
  const owned = { mode: mode ?? 0, uid: uid ?? 0, gid: gid ?? 0 };
  if (info.isSymlink) return { ...owned, kind: "symlink", linkTarget: await Deno.readLink(path) };
  return { ...owned, kind: info.isFile ? "file" : info.isDirectory ? "directory" : "other" };
}

async function sameBytes(a: string, b: string): Promise<boolean> {
  using first = await Deno.open(a);
  const { size } = await first.stat();
  using second = await Deno.open(b);
  if (size !== (await second.stat()).size) return false;
  const left = new Uint8Array(1 << 20);
  const right = new Uint8Array(left.length);
  while (true) {
    const count = await fill(first, left);
    if (count !== await fill(second, right)) return false;
    if (count === 0) return true;
    for (let i = 0; i < count; i++) if (left[i] !== right[i]) return false;
  }
}

async function fill(file: Deno.FsFile, buffer: Uint8Array): Promise<number> {
  let count = 0;
  while (count < buffer.length) {
    const more = await file.read(buffer.subarray(count));
    if (more === null) break;
    count += more;
  }
  return count;
}

async function copyBytes(from: string, to: FileHandle): Promise<void> {
  using source = await Deno.open(from);
  const buffer = new Uint8Array(1 << 20);
  while (true) {
    const count = await fill(source, buffer);
    if (count === 0) return;
    await writeAll(to, buffer.subarray(0, count));
  }
}

function replaceFile(
  path: string,
  mode: number,
  fill: (file: FileHandle) => Promise<void>,
): Promise<void> {
  const temporary = temporaryName(path);
  return replaceBy(temporary, path, () => createFile(temporary, mode, fill));
}

/** Renames the temporary file to `path`, or removes it after a failure. */
async function replaceBy(
  temporary: string,
  path: string,
  make: () => Promise<void>,
): Promise<void> {
  try {
    await make();
    await Deno.rename(temporary, path);
  } catch (error) {
    await Deno.remove(temporary).catch(() => {});
    throw error;
  }
}

function temporaryName(path: string): string {
  return join(dirname(path), `.${basename(path)}.${crypto.randomUUID().slice(0, 8)}.tmp`);
}

async function guarded<T>(action: string, path: string, run: () => Promise<T>): Promise<T> {
  try {
    return await run();
  } catch (error) {
    throw new AgentError("io", `failed to ${action} ${path}: ${explain(error)}`, { cause: error });
  }
}

/** The problem and its remedy, by the system's error code. */
const EXPLANATIONS: Readonly<Record<string, string>> = {
  EROFS: "the file system is read-only (choose another --prefix, or remount it read-write)",
  ENOSPC: "no space left (free space and run the command again)",
  EDQUOT: "no space left (free space and run the command again)",
  EPERM: "permission denied (run the command as root)",
  EACCES: "permission denied (run the command as root)",
  ENOTDIR: "a part of the path is not a folder (move it away and run the command again)",
  EISDIR: "a folder exists at this path (move it away and run the command again)",
  ENOTEMPTY: "the folder is not empty",
  ENOENT: "no such file or folder",
};

function explain(error: unknown): string {
  const text = error instanceof Error ? error.message : String(error);
  return EXPLANATIONS[systemReason(error)] ?? text;
}
