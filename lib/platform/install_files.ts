import { createHash } from "node:crypto";
import { constants } from "node:fs";
import { open } from "node:fs/promises";
import { AgentError } from "../model/mod.ts";
import { replaceBy, replaceFile, systemCode, temporaryName, writeAll } from "./files.ts";

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
      guarded("write", to, () =>
        replaceFile(to, mode, async (file) => {
          for await (const chunk of (await Deno.open(from)).readable) await writeAll(file, chunk);
        })),
    writeText: (path, text, mode) =>
      guarded(
        "write",
        path,
        () => replaceFile(path, mode, (file) => writeAll(file, new TextEncoder().encode(text))),
      ),
    symlink: (path, target) =>
      guarded(
        "create link",
        path,
        () => replaceBy(path, (temporary) => Deno.symlink(target, temporary)),
      ),
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
  const [first, second] = await Promise.all([Deno.stat(a), Deno.stat(b)]);
  return first.size === second.size && await digest(a) === await digest(b);
}

async function digest(path: string): Promise<string> {
  const hash = createHash("sha256");
  for await (const chunk of (await Deno.open(path)).readable) hash.update(chunk);
  return hash.digest("hex");
}

/** Creates a folder with this mode, regardless of the umask. */
async function createFolder(path: string, mode: number): Promise<void> {
  await Deno.mkdir(path, { mode });
  const { O_DIRECTORY, O_NOFOLLOW, O_RDONLY } = constants;
  const folder = await open(path, O_RDONLY | O_DIRECTORY | O_NOFOLLOW);
  try {
    await folder.chmod(mode);
  } finally {
    await folder.close();
  }
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
  return EXPLANATIONS[systemCode(error) ?? ""] ?? text;
}
