import { join } from "@std/path";
import type { FileStat } from "../model/mod.ts";

const FILE_POLL_MS = 250;
/** Minimum interval between scans of a folder. */
const FOLDER_POLL_MS = 500;
/** Pause after a scan as a multiple of its duration: large folders cost at most 1 % of a core. */
const PAUSE_FACTOR = 100;
const MAX_PAUSE_MS = 10_000;
/** Reaches `<folder>/<daemon>/<snapshot>/config.json`. */
const MAX_DEPTH = 3;
const MAX_ENTRIES = 20_000;
/** Concurrent `stat` calls within one folder. */
const MAX_PARALLEL = 64;
/** Changed paths that one scan reports. */
const MAX_REPORTED = 1_000;

type Stat = (
  path: string,
  options?: { readonly noFollow?: boolean },
) => Promise<FileStat | undefined>;

/**
 * Watches files and folders, including their content, by polling. A path may not exist yet, may be
 * replaced, and may be reached through symbolic links (as Kubernetes mounts secrets).
 *
 * Polling replaces inotify because Deno opens every file of an event while it locks all watches: a
 * named pipe in a watched folder would block the process.
 */
export function watchPaths(
  paths: readonly string[],
  changed: (path: string) => void,
  stat: Stat,
): Disposable {
  const watches = [...new Set(paths)].map((path) => new PathWatch(path, changed, stat));
  const tick = () => watches.forEach((watch) => watch.tick());
  tick();
  const timer = setInterval(tick, FILE_POLL_MS);
  Deno.unrefTimer(timer);
  return {
    [Symbol.dispose]() {
      clearInterval(timer);
      watches.forEach((watch) => watch[Symbol.dispose]());
    },
  };
}

/** Result of a scan: stamps of a path and of everything below it, by path. */
type Stamps = ReadonlyMap<string, string>;

/** Invariants: at most one scan runs at a time; nothing is reported after disposal. */
class PathWatch implements Disposable {
  readonly #path: string;
  readonly #changed: (path: string) => void;
  readonly #stat: Stat;
  #before: Stamps | undefined;
  #nextAtMs = 0;
  #disposed = false;
  #isScanning = false;

  constructor(path: string, changed: (path: string) => void, stat: Stat) {
    this.#path = path;
    this.#changed = changed;
    this.#stat = stat;
  }

  tick(): void {
    if (!this.#isScanning && performance.now() >= this.#nextAtMs) void this.#scan();
  }

  [Symbol.dispose](): void {
    this.#disposed = true;
  }

  async #scan(): Promise<void> {
    this.#isScanning = true;
    const startedMs = performance.now();
    try {
      const found = await this.#stat(this.#path).catch(() => undefined);
      const isFolder = found?.kind === "directory";
      const stamps = new Map<string, string>();
      if (found !== undefined) stamps.set(this.#path, isFolder ? "folder" : found.stamp);
      if (isFolder) await this.#below(this.#path, stamps, MAX_DEPTH);
      const tookMs = performance.now() - startedMs;
      // Not for files: their single call mostly measures how busy the event loop is.
      const pauseMs = Math.max(FOLDER_POLL_MS, Math.min(tookMs * PAUSE_FACTOR, MAX_PAUSE_MS));
      this.#nextAtMs = isFolder ? startedMs + pauseMs : 0;
      this.#compare(stamps);
    } finally {
      this.#isScanning = false;
    }
  }

  async #below(folder: string, stamps: Map<string, string>, depth: number): Promise<void> {
    const names: string[] = [];
    try {
      for await (const { name } of Deno.readDir(folder)) names.push(name);
    } catch {
      return; // the folder was removed meanwhile
    }
    for (let i = 0; i < names.length && !this.#disposed; i += MAX_PARALLEL) {
      if (stamps.size >= MAX_ENTRIES) return;
      const paths = names.slice(i, i + MAX_PARALLEL).map((name) => join(folder, name));
      await Promise.all(paths.map(async (path) => {
        const found = await this.#stat(path, { noFollow: true }).catch(() => undefined);
        if (found === undefined) return;
        const isFolder = found.kind === "directory";
        stamps.set(path, isFolder ? "folder" : found.stamp);
        if (isFolder && depth > 1) await this.#below(path, stamps, depth - 1);
      }));
    }
  }

  #compare(stamps: Stamps): void {
    const before = this.#before;
    this.#before = stamps;
    if (before === undefined || this.#disposed) return;
    const changed = [...new Set([...before.keys(), ...stamps.keys()])]
      .filter((path) => before.get(path) !== stamps.get(path));
    for (const path of changed.slice(0, MAX_REPORTED)) if (!this.#disposed) this.#changed(path);
  }
}
