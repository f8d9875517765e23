import { dirname } from "@std/path";
import type { FileStat } from "../model/mod.ts";

/** Bursts of events within this time are one change. */
const MERGE_MS = 50;
/** How often paths are looked at beside the events: links, late folders, exhausted inotify. */
const POLL_MS = 1_000;
/** Paths told of one burst; a look notices the rest. */
const MAX_PENDING = 1_000;

type Stat = (path: string) => Promise<FileStat | undefined>;

/**
 * Watches paths by inotify and, beside it, by looking at their stamps once a second: a path may not
 * exist yet, may be replaced or reached through links (as Kubernetes mounts secrets), and inotify
 * may be exhausted. Each is told once however it was noticed.
 */
export function watchPaths(
  paths: readonly string[],
  changed: (path: string) => void,
  stat: Stat,
): Disposable {
  const watches = [...new Set(paths)].map((path) => new PathWatch(path, changed, stat));
  return { [Symbol.dispose]: () => watches.forEach((watch) => watch[Symbol.dispose]()) };
}

class PathWatch implements Disposable {
  readonly #path: string;
  readonly #changed: (path: string) => void;
  readonly #stat: Stat;
  readonly #timer: ReturnType<typeof setInterval>;
  #stamp: string | undefined;
  #watcher: Deno.FsWatcher | undefined;
  #watched: string | undefined;
  /** Which folder it is: another may stand at the same path, and inotify follows the old one. */
  #identity: string | undefined;
  #merge: ReturnType<typeof setTimeout> | undefined;
  readonly #pending = new Set<string>();
  #toldSincePoll = false;
  #disposed = false;
  #polling = false;

  constructor(path: string, changed: (path: string) => void, stat: Stat) {
    this.#path = path;
    this.#changed = changed;
    this.#stat = stat;
    this.#timer = setInterval(() => void this.#poll(), POLL_MS);
    Deno.unrefTimer(this.#timer);
    void this.#poll(true);
  }

  [Symbol.dispose](): void {
    this.#disposed = true;
    clearInterval(this.#timer);
    clearTimeout(this.#merge);
    this.#close();
  }

  async #poll(first = false): Promise<void> {
    if (this.#polling) return; // a file system that hangs gathers no queue
    this.#polling = true;
    try {
      await this.#look(first);
    } finally {
      this.#polling = false;
    }
  }

  async #look(first: boolean): Promise<void> {
    const found = await this.#stat(this.#path).catch(() => undefined);
    if (this.#disposed) return;
    const stamp = found?.stamp;
    // What an event has told already is not told again.
    if (!first && stamp !== this.#stamp && !this.#toldSincePoll) this.#tell(this.#path);
    this.#toldSincePoll = false;
    this.#stamp = stamp;
    // A folder is watched itself; a file through its folder, where a rename replaces it.
    const wanted = found?.kind === "directory" ? this.#path : dirname(this.#path);
    const identity = await identityOf(wanted);
    if (this.#disposed) return;
    const same = this.#watched === wanted && this.#identity === identity;
    if (this.#watcher !== undefined && same) return;
    this.#open(wanted, identity);
    // Nobody watched until now: whatever happened below is not known.
    if (!first && this.#watcher !== undefined) this.#tell(this.#path);
  }

  #open(folder: string, identity: string | undefined): void {
    this.#close();
    try {
      const watcher = Deno.watchFs(folder, { recursive: folder === this.#path });
      this.#watcher = watcher;
      this.#watched = folder;
      this.#identity = identity;
      void this.#follow(watcher);
    } catch {
      this.#watched = undefined; // not there yet, or no inotify to be had: the poll goes on
    }
  }

  async #follow(watcher: Deno.FsWatcher): Promise<void> {
    try {
      for await (const { kind, paths } of watcher) {
        if (kind === "access") continue;
        const ours = this.#watched === this.#path
          ? paths
          : paths.filter((path) =>
            path === this.#path || path.startsWith(dirname(this.#path) + "/..")
          );
        for (const path of ours) this.#tell(path);
        this.#toldSincePoll ||= ours.includes(this.#path);
        // A watch on a folder that is gone stays silent for ever.
        if (kind === "remove" && this.#watched !== undefined && paths.includes(this.#watched)) {
          break;
        }
      }
    } catch {
      // The folder went away: the poll opens it again.
    }
    if (this.#watcher === watcher) this.#close();
  }

  #tell(path: string): void {
    if (this.#disposed) return;
    if (this.#pending.size < MAX_PENDING) this.#pending.add(path);
    if (this.#merge !== undefined) return;
    const merge = setTimeout(() => {
      this.#merge = undefined;
      const pending = [...this.#pending];
      this.#pending.clear();
      for (const each of pending) if (!this.#disposed) this.#changed(each);
    }, MERGE_MS);
    Deno.unrefTimer(merge);
    this.#merge = merge;
  }

  #close(): void {
    const watcher = this.#watcher;
    this.#watcher = undefined;
    this.#watched = undefined;
    this.#identity = undefined;
    try {
      watcher?.close();
    } catch {
      // Closed already.
    }
  }
}

/** Tells a folder from another at the same path, also where an inode's number is used again. */
async function identityOf(folder: string): Promise<string | undefined> {
  try {
    const { dev, ino, birthtime } = await Deno.stat(folder);
    return [dev, ino, birthtime?.getTime()].join(":");
  } catch {
    return undefined;
  }
}
