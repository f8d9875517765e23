import { dirname } from "@std/path";
import { statfs } from "node:fs/promises";
import { type Clock, sleepToNextTick } from "../model/mod.ts";

const SCAN_INTERVAL_MS = 800;
/** Interval at which every folder is read again, to find files that were written in place. */
const FULL_SCAN_INTERVAL_MS = 10_000;
/** A folder is read again for this time after a change: its next change may have the same mtime. */
const RECENT_MS = 30_000;
/** Pause after a scan as a multiple of its duration: large folders cost at most 1 % of a core. */
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
 */
export function watchPaths(
  paths: readonly string[],
  changed: (path: string, watched: string) => void,
  { clock, isLocal = isOnLocalFileSystem }: WatchOptions,
): Disposable {
  const stop = new AbortController();
  const { signal } = stop;
  const watches = [...new Set(paths)].map((path) =>
    new PathWatch(path, { clock, isLocal, changed, signal })
  );
  const poll = async () => {
    while (true) {
      for (const watch of watches) watch.poll();
      await sleepToNextTick(clock, SCAN_INTERVAL_MS, { signal });
    }
  };
  poll().catch(() => {}); // rejects only when aborted
  return { [Symbol.dispose]: () => stop.abort() };
}

/** Returns a text that changes whenever the content of a file may have changed. */
export function stampOf({ dev, ino, size, mtime, ctime }: Deno.FileInfo): string {
  return `${dev}:${ino}:${size}:${mtime?.getTime()}:${ctime?.getTime()}`;
}

/** What a scan found at a path. */
interface Found {
  readonly stamp: string;
  readonly folder?: { readonly entries: Map<string, Found>; readonly changedAtMs: number };
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
  readonly isFull: boolean;
  readonly isSync: boolean;
  readonly changes: Set<string>;
  entriesLeft: number;
}

interface PathWatchOptions extends Required<WatchOptions> {
  readonly changed: (path: string, watched: string) => void;
  readonly signal: AbortSignal;
}

/**
 * Invariants: at most one scan is in flight, so a file system that hangs occupies one thread and
 * delays no other path; only local file systems are scanned synchronously; nothing is reported
 * after an abort.
 */
class PathWatch {
  readonly #path: string;
  readonly #options: PathWatchOptions;
  /** Undefined while the file system has to be checked. */
  #isLocal: boolean | undefined;
  #isScanning = false;
  #hasBaseline = false;
  #found: Found | undefined;
  /** Device of the path at the last scan: another one is another file system. */
  #device: number | undefined;
  #nextAtMs = 0;
  #nextFullAtMs = 0;

  constructor(path: string, options: PathWatchOptions) {
    this.#path = path;
    this.#options = options;
  }

  /** Starts a scan unless one is in flight. */
  poll(): void {
    const nowMs = this.#options.clock.monotonicMs();
    if (this.#isScanning || nowMs < this.#nextAtMs) return;
    const isSync = this.#isLocal === true;
    const isFull = !isSync || nowMs >= this.#nextFullAtMs;
    if (isFull) this.#nextFullAtMs = nowMs + FULL_SCAN_INTERVAL_MS;
    const pass = { nowMs, isFull, isSync, changes: new Set<string>(), entriesLeft: MAX_ENTRIES };
    if (isSync) {
      runSync(this.#scan(pass));
      if (this.#isLocal) return this.#report(pass);
    }
    this.#isScanning = true;
    this.#pollAsync({ ...pass, isSync: false }).catch(() => {})
      .finally(() => this.#isScanning = false);
  }

  async #pollAsync(pass: Pass): Promise<void> {
    this.#isLocal ??= await this.#options.isLocal(this.#path);
    await runAsync(this.#scan(pass));
    this.#report(pass);
  }

  *#scan(pass: Pass): Scan<void> {
    const info = yield* stat("stat", this.#path);
    if (pass.isSync && info?.dev !== this.#device) {
      this.#isLocal = undefined; // has to be checked first
      return;
    }
    this.#device = info?.dev;
    this.#found = yield* this.#visit(this.#path, info, this.#found, MAX_DEPTH, pass);
  }

  /** Compares a path, and everything below it on the same device, with the last scan. */
  *#visit(
    path: string,
    info: Deno.FileInfo | undefined,
    before: Found | undefined,
    depth: number,
    pass: Pass,
  ): Scan<Found | undefined> {
    const stamp = info && stampOf(info);
    if (info === undefined || stamp === undefined || !info.isDirectory) {
      if (stamp !== before?.stamp) addAll(path, before, pass.changes);
      return stamp === undefined ? undefined : { stamp };
    }
    if (before?.folder === undefined) pass.changes.add(path);
    const known = before?.folder?.entries ?? new Map<string, Found>();
    const isSame = before?.folder !== undefined && stamp === before.stamp;
    const changedAtMs = isSame ? before.folder.changedAtMs : pass.nowMs;
    const below = function* (this: PathWatch, name: string): Scan<Found | undefined> {
      const child = `${path}/${name}`;
      const info = yield* stat("lstat", child);
      return yield* this.#visit(child, info, known.get(name), depth - 1, pass);
    }.bind(this);
    const isRecent = pass.nowMs - changedAtMs < RECENT_MS;
    if (isSame && !pass.isFull && !isRecent) {
      for (const [name, { folder }] of known) {
        if (folder === undefined) continue;
        const found = yield* below(name);
        if (found === undefined) known.delete(name);
        else known.set(name, found);
      }
      return before;
    }
    const entries = new Map<string, Found>();
    const isRead = depth > 0 && info.dev === this.#device;
    for (const name of isRead ? yield* list(path) : []) {
      if (pass.entriesLeft-- <= 0) break;
      const found = yield* below(name);
      if (found !== undefined) entries.set(name, found);
    }
    for (const [name, gone] of known) {
      if (!entries.has(name)) addAll(`${path}/${name}`, gone, pass.changes);
    }
    return { stamp, folder: { entries, changedAtMs } };
  }

  #report({ nowMs, changes }: Pass): void {
    const { clock, changed, signal } = this.#options;
    const tookMs = clock.monotonicMs() - nowMs;
    // Not for files: an asynchronous call mostly measures how busy the event loop is.
    const pauseMs = this.#found?.folder ? Math.min(tookMs * PAUSE_FACTOR, MAX_PAUSE_MS) : 0;
    this.#nextAtMs = nowMs + pauseMs;
    const isFirst = !this.#hasBaseline;
    this.#hasBaseline = true;
    if (isFirst) return;
    for (const path of [...changes].slice(0, MAX_REPORTED)) {
      if (!signal.aborted) changed(path, this.#path);
    }
  }
}

function addAll(path: string, found: Found | undefined, changes: Set<string>): void {
  changes.add(path);
  for (const [name, entry] of found?.folder?.entries ?? []) {
    addAll(`${path}/${name}`, entry, changes);
  }
}

/** Returns undefined for a path that does not exist, or cannot be examined. */
function* stat(kind: "stat" | "lstat", path: string): Scan<Deno.FileInfo | undefined> {
  return (yield { kind, path }) as Deno.FileInfo | undefined;
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
  try {
    if (kind === "list") return [...Deno.readDirSync(path)].map(({ name }) => name);
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
