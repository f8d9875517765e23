import { join } from "@std/path";
import type { FileStat } from "../model/mod.ts";

/** How often files are looked at. */
const FILE_POLL_MS = 250;
/** How often folders are looked at, where that is little work. */
const FOLDER_POLL_MS = 500;
/** A look at a folder rests for so many times as long as it took: a big one costs 1 % of a core. */
const REST = 100;
const MAX_REST_MS = 10_000;
/** `<folder>/<daemon>/<snapshot>/config.json` is the deepest that counts. */
const MAX_DEPTH = 3;
const MAX_ENTRIES = 20_000;
/** Looked at side by side within one folder. */
const MAX_PARALLEL = 64;
/** Paths told of one look. */
const MAX_REPORTED = 1_000;

type Stat = (
  path: string,
  options?: { readonly noFollow?: boolean },
) => Promise<FileStat | undefined>;

/**
 * Watches files and folders by looking at their stamps a few times a second: a path may not exist
 * yet, may be replaced or reached through links (as Kubernetes mounts secrets). What is below a
 * folder counts as well.
 *
 * No inotify: Deno opens every file that an event is about, while it holds the lock of all watches.
 * A pipe that somebody makes in a watched folder then holds up, sooner or later, the whole process.
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

/** What a path was at a look, and what was below it: stamps by path. */
type Stamps = ReadonlyMap<string, string>;

class PathWatch implements Disposable {
  readonly #path: string;
  readonly #changed: (path: string) => void;
  readonly #stat: Stat;
  #before: Stamps | undefined;
  #nextAtMs = 0;
  #disposed = false;
  #looking = false;

  constructor(path: string, changed: (path: string) => void, stat: Stat) {
    this.#path = path;
    this.#changed = changed;
    this.#stat = stat;
  }

  tick(): void {
    // A file system that hangs gathers no queue.
    if (!this.#looking && performance.now() >= this.#nextAtMs) void this.#look();
  }

  [Symbol.dispose](): void {
    this.#disposed = true;
  }

  async #look(): Promise<void> {
    this.#looking = true;
    const startedMs = performance.now();
    try {
      const found = await this.#stat(this.#path).catch(() => undefined);
      const isFolder = found?.kind === "directory";
      const stamps = new Map<string, string>();
      if (found !== undefined) stamps.set(this.#path, isFolder ? "folder" : found.stamp);
      if (isFolder) await this.#below(this.#path, stamps, MAX_DEPTH);
      const tookMs = performance.now() - startedMs;
      // A file is one call, which may have waited for everything else that the agent does.
      const restMs = Math.max(FOLDER_POLL_MS, Math.min(tookMs * REST, MAX_REST_MS));
      this.#nextAtMs = isFolder ? startedMs + restMs : 0;
      this.#compare(stamps);
    } finally {
      this.#looking = false;
    }
  }

  async #below(folder: string, stamps: Map<string, string>, depth: number): Promise<void> {
    const names: string[] = [];
    try {
      for await (const { name } of Deno.readDir(folder)) names.push(name);
    } catch {
      return; // it went away meanwhile
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
