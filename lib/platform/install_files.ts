import { basename, dirname, join } from "@std/path";
import type { FileHandle } from "node:fs/promises";
import { AgentError } from "../model/mod.ts";
import { createFile, createFolder, systemReason, writeAll } from "./file_operations.ts";

/** Metadata of an installed file, without following a symbolic link. */
interface InstalledFile {
  readonly kind: "file" | "directory" | "symlink" | "other";
  /** Target of a symbolic link, as stored in the link. */
  readonly linkTarget?: string;
  readonly mode: number;
  readonly uid: number;
  readonly gid: number;
}

/**
 * File operations of an installation. Throws an `AgentError` with code `io` whose message has the
 * path and a remedy.
 */
export interface InstallFiles {
  /** Returns undefined if missing. */
  stat(path: string): Promise<InstalledFile | undefined>;
  readText(path: string): Promise<string>;
  /** Returns whether two files have the same content. */
  sameBytes(a: string, b: string): Promise<boolean>;
  /** Creates one folder; its parent must exist. */
  makeDirectory(path: string, mode: number): Promise<void>;
  /** Replaces `to` atomically with a copy of `from`; a program that runs from `to` is unaffected. */
  copyFile(from: string, to: string, mode: number): Promise<void>;
  /** Replaces a file atomically: temporary file in the same folder, fsync, rename. */
  writeText(path: string, text: string, mode: number): Promise<void>;
  /** Creates a symbolic link; replaces anything at `path` except a folder. */
  symlink(path: string, target: string): Promise<void>;
  /** Links a file to a second name in the same folder, and returns that path. */
  backUp(path: string): Promise<string>;
  /** Renames a file or link, replacing `to`. */
  move(from: string, to: string): Promise<void>;
  /** Removes a file, a link, or an empty folder. */
  remove(path: string): Promise<void>;
  /** Returns the names in a folder. */
  list(path: string): Promise<readonly string[]>;
}

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
