import { dirname } from "@std/path";
import { existsSync } from "node:fs";
import { statfs } from "node:fs/promises";
import type { Clock } from "../model/mod.ts";

const SCAN_INTERVAL_MS = 800;
/** A scan checks this part of the entries below a path, in turn: each within ten seconds. */
const CHECKED_PART = 1 / 12;
/** A folder is read again for this time after a change: its next change may have the same mtime. */
const RECENT_MS = 30_000;
/** Pause after an asynchronous scan of a folder as a multiple of its duration. */
const PAUSE_FACTOR = 100;
const MAX_PAUSE_MS = 10_000;
/** Reaches `<folder>/<daemon>/<snapshot>/config.json`. */
const MAX_DEPTH = 3;
const MAX_ENTRIES = 5_000;
/** Changed paths that one scan reports. */
const MAX_REPORTED = 1_000;

/** File systems that wait neither for a network nor for another process (`linux/magic.h`). */
const LOCAL_FILE_SYSTEMS: ReadonlySet<number> = new Set([
  0xef53, // ext2, ext3, ext4
  0x58465342, // xfs
  0x9123683e, // btrfs
  0xf2f52010, // f2fs
  0x2fc12fc1, // zfs
  0x01021994, // tmpfs
  0x858458f6, // ramfs
]);

/** Options of {@linkcode watchPaths}. */
export interface WatchOptions {
  readonly clock: Clock;
  /** Returns whether the file system of a path, which may not exist, is local. */
  readonly isLocal?: (path: string) => Promise<boolean>;
}

/**
 * Watches files and folders, including their content, by polling. A path may not exist yet, may be
 * replaced, and may be reached through symbolic links (as Kubernetes mounts secrets).
 *
 * Polling replaces inotify because Deno opens every file of an event while it locks all watches: a
 * named pipe in a watched folder would block the process. Local file systems are polled with
 * synchronous calls, which cost a fraction of asynchronous ones; others could block the event loop.
 * A link or a mount point that leads to a remote file system from now on is noticed by the first
 * synchronous call, which blocks if that file system hangs at this moment.
 */
export function watchPaths(
  paths: readonly string[],
  changed: (path: string, watched: string) => void,
  { clock, isLocal = isOnLocalFileSystem }: WatchOptions,
): Disposable {
  const watches = [...new Set(paths)].map((path) =>
    new PathWatch(path, {
      clock,
      isLocal,
      changed: (changedPath) => changed(changedPath, path),
    })
  );
  const poll = () => {
    for (const watch of watches) watch.poll();
  };
  poll();
  return clock.every(SCAN_INTERVAL_MS, poll);
}

/** Returns a text that changes whenever the content of a file may have changed. */
export function stampOf({ dev, ino, size, mtime, ctime }: Deno.FileInfo): string {
  return `${dev}:${ino}:${size}:${mtime?.getTime()}:${ctime?.getTime()}`;
}

/** A path as of its last check. */
interface Entry {
  readonly path: string;
  /** Levels of folders that are read below it. */
  readonly depth: number;
  info: Deno.FileInfo | undefined;
  /** Monotonic time of the last change. */
  changedAtMs: number;
  hasFolders: boolean;
  readonly children: Map<string, Entry>;
}

/** A file system call of a scan, which is executed synchronously or asynchronously. */
interface Call {
  readonly kind: "stat" | "lstat" | "list";
  readonly path: string;
}
type Scan<T> = Generator<Call, T, unknown>;

/** State of one scan. */
interface Pass {
  readonly nowMs: number;
  /** Whether unchanged folders are read, too. */
  readonly isFull: boolean;
  readonly changes: Set<string>;
}

interface PathWatchOptions extends Required<WatchOptions> {
  readonly changed: (path: string) => void;
}

/**
 * Invariants: at most one scan is in flight, so a file system that hangs occupies one thread and
 * delays no other path; only local file systems are scanned synchronously.
 */
class PathWatch {
  readonly #options: PathWatchOptions;
  readonly #root: Entry;
  /** Everything that exists below the path, in the order of the last check. */
  readonly #entries = new Map<string, Entry>();
  /** Checked by every scan: the path itself, folders of folders, and folders that changed recently. */
  readonly #frequent: Set<Entry>;
  /** Undefined while the file system has to be checked. */
  #isLocal: boolean | undefined;
  #isScanning = false;
  #hasBaseline = false;
  /** Entries to check in addition, as a fraction. */
  #uncheckedCount = 0;
  #nextAtMs = 0;

  constructor(path: string, options: PathWatchOptions) {
    this.#options = options;
    this.#root = newEntry(path, MAX_DEPTH);
    this.#frequent = new Set([this.#root]);
  }

  /** Starts a scan unless one is in flight. */
  poll(): void {
    const nowMs = this.#options.clock.monotonicMs();
    if (this.#isScanning || nowMs < this.#nextAtMs) return;
    if (this.#isLocal) this.#pollLocal(nowMs);
    if (this.#isLocal) return;
    this.#isScanning = true;
    this.#pollFully(nowMs).catch(() => {}).finally(() => this.#isScanning = false);
  }

  #pollLocal(nowMs: number): void {
    const pass = { nowMs, isFull: false, changes: new Set<string>() };
    for (const entry of [...this.#frequent, ...this.#longestUnchecked()]) {
      const info = entry === this.#root ? this.#statRoot() : statSync("lstat", entry.path);
      if (entry === this.#root && info?.dev !== entry.info?.dev) {
        this.#isLocal = undefined; // has to be checked first
        return;
      }
      const isRecent = nowMs - entry.changedAtMs < RECENT_MS;
      if (!isSame(info, entry.info) || isRecent) runSync(this.#update(entry, info, pass));
      else if (entry !== this.#root && !entry.hasFolders) this.#frequent.delete(entry);
    }
    this.#report(pass);
  }

  /** `existsSync` is much cheaper than an exception. */
  #statRoot(): Deno.FileInfo | undefined {
    const { path, info } = this.#root;
    return info === undefined && !existsSync(path) ? undefined : statSync("stat", path);
  }

  #longestUnchecked(): readonly Entry[] {
    this.#uncheckedCount += this.#entries.size * CHECKED_PART;
    const count = Math.floor(this.#uncheckedCount);
    if (count === 0) return [];
    this.#uncheckedCount -= count;
    const next = [...this.#entries.values().take(count)];
    for (const entry of next) {
      this.#entries.delete(entry.path);
      this.#entries.set(entry.path, entry);
    }
    return next.filter((entry) => !this.#frequent.has(entry));
  }

  async #pollFully(nowMs: number): Promise<void> {
    this.#isLocal ??= await this.#options.isLocal(this.#root.path);
    const pass = { nowMs, isFull: true, changes: new Set<string>() };
    const info = await call({ kind: "stat", path: this.#root.path });
    await runAsync(this.#update(this.#root, info as Deno.FileInfo | undefined, pass));
    const tookMs = this.#options.clock.monotonicMs() - nowMs;
    // Not for files: an asynchronous call mostly measures how busy the event loop is.
    const pauseMs = this.#root.info?.isDirectory ? tookMs * PAUSE_FACTOR : 0;
    this.#nextAtMs = nowMs + Math.min(pauseMs, MAX_PAUSE_MS);
    this.#report(pass);
  }

  /** Records what was found at a path, and compares everything directly below it. */
  *#update(entry: Entry, info: Deno.FileInfo | undefined, pass: Pass): Scan<void> {
    const { path, depth, info: before } = entry;
    const isFolder = info?.isDirectory === true;
    const wasFolder = before?.isDirectory === true;
    if (!isSame(info, before)) {
      entry.changedAtMs = pass.nowMs;
      if (!isFolder || !wasFolder) pass.changes.add(path);
    }
    entry.info = info;
    if (info === undefined) this.#entries.delete(path);
    else if (entry !== this.#root && !info.isSocket) this.#entries.set(path, entry);
    if (isFolder) this.#frequent.add(entry);
    else if (entry !== this.#root) this.#frequent.delete(entry);
    // Other devices and deeper levels are not read.
    const isRead = isFolder && depth > 0 && info.dev === this.#root.info?.dev;
    const names = isRead ? yield* list(path) : [];
    const { children } = entry;
    const limit = MAX_ENTRIES - this.#entries.size + children.size;
    for (const name of names.slice(0, limit)) {
      const child = `${path}/${name}`;
      if (!children.has(child)) children.set(child, newEntry(child, depth - 1));
    }
    for (const child of children.values()) {
      const found = yield* lstat(child.path);
      if (found === undefined) children.delete(child.path);
      entry.hasFolders ||= found?.isDirectory === true;
      if (pass.isFull || !isSame(found, child.info)) yield* this.#update(child, found, pass);
    }
  }

  #report({ changes }: Pass): void {
    const isFirst = !this.#hasBaseline;
    this.#hasBaseline = true;
    if (isFirst) return;
    for (const path of [...changes].slice(0, MAX_REPORTED)) this.#options.changed(path);
  }
}

function newEntry(path: string, depth: number): Entry {
  const children = new Map<string, Entry>();
  return { path, depth, info: undefined, changedAtMs: -Infinity, hasFolders: false, children };
}

/** Whether the content of a file, or the list of a folder, is the same. */
function isSame(a: Deno.FileInfo | undefined, b: Deno.FileInfo | undefined): boolean {
  return a === b || a !== undefined && b !== undefined && a.ino === b.ino && a.dev === b.dev &&
      a.size === b.size && a.mtime?.getTime() === b.mtime?.getTime() &&
      a.ctime?.getTime() === b.ctime?.getTime();
}

/** Returns undefined for a path that does not exist, or cannot be examined. */
function* lstat(path: string): Scan<Deno.FileInfo | undefined> {
  return (yield { kind: "lstat", path }) as Deno.FileInfo | undefined;
}

function* list(path: string): Scan<readonly string[]> {
  return (yield { kind: "list", path }) as readonly string[] | undefined ?? [];
}

function runSync(scan: Scan<void>): void {
  for (let step = scan.next(); !step.done;) step = scan.next(callSync(step.value));
}

async function runAsync(scan: Scan<void>): Promise<void> {
  for (let step = scan.next(); !step.done;) step = scan.next(await call(step.value));
}

function callSync({ kind, path }: Call): unknown {
  if (kind !== "list") return statSync(kind, path);
  try {
    return [...Deno.readDirSync(path)].map(({ name }) => name);
  } catch {
    return undefined;
  }
}

function statSync(kind: "stat" | "lstat", path: string): Deno.FileInfo | undefined {
  try {
    return kind === "stat" ? Deno.statSync(path) : Deno.lstatSync(path);
  } catch {
    return undefined;
  }
}

async function call({ kind, path }: Call): Promise<unknown> {
  try {
    if (kind === "list") return (await Array.fromAsync(Deno.readDir(path))).map(({ name }) => name);
    return await (kind === "stat" ? Deno.stat(path) : Deno.lstat(path));
  } catch {
    return undefined;
  }
}

/** Returns whether a path, or the nearest existing folder above it, is on a local file system. */
async function isOnLocalFileSystem(path: string): Promise<boolean> {
  const type = await statfs(path).then(({ type }) => type >>> 0, () => undefined);
  if (type !== undefined) return LOCAL_FILE_SYSTEMS.has(type);
  return path !== dirname(path) && await isOnLocalFileSystem(dirname(path));
}
