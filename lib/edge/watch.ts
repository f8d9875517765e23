import type { FileStat } from "../model/mod.ts";

/** Bursts of events within this time are one change. */
const MERGE_MS = 50;
/** How often files are looked at. */
const POLL_MS = 250;
/** Folders are watched by inotify, and looked at beside that every so many times. */
const FOLDER_POLLS = 4;
/** Paths told of one burst; a look notices the rest. */
const MAX_PENDING = 1_000;

type Stat = (path: string) => Promise<FileStat | undefined>;

/**
 * Watches paths: files by their stamps, a few times a second; folders by inotify, and by their
 * stamps beside it, since a path may not exist yet, may be replaced or reached through links (as
 * Kubernetes mounts secrets), and inotify may be exhausted. Each change is told once.
 *
 * No inotify for files: it would be one for the folder, where others may write, and Deno opens
 * every file that an event is about. A pipe that somebody makes there would then hold up the thread
 * of all watches, and with it, sooner or later, the whole process.
 */
export function watchPaths(
  paths: readonly string[],
  changed: (path: string) => void,
  stat: Stat,
): Disposable {
  const watches = [...new Set(paths)].map((path) => new PathWatch(path, changed, stat));
  const timer = setInterval(() => watches.forEach((watch) => watch.tick()), POLL_MS);
  Deno.unrefTimer(timer);
  return {
    [Symbol.dispose]() {
      clearInterval(timer);
      watches.forEach((watch) => watch[Symbol.dispose]());
    },
  };
}

class PathWatch implements Disposable {
  readonly #path: string;
  readonly #changed: (path: string) => void;
  readonly #stat: Stat;
  #stamp: string | undefined;
  #watcher: Deno.FsWatcher | undefined;
  /** Which folder it is: another may stand at the same path, and inotify follows the old one. */
  #identity: string | undefined;
  #isFolder = false;
  #ticks = 0;
  #merge: ReturnType<typeof setTimeout> | undefined;
  readonly #pending = new Set<string>();
  #toldSincePoll = false;
  #disposed = false;
  #polling = false;

  constructor(path: string, changed: (path: string) => void, stat: Stat) {
    this.#path = path;
    this.#changed = changed;
    this.#stat = stat;
    void this.#poll(true);
  }

  tick(): void {
    this.#ticks++;
    if (!this.#isFolder || this.#ticks % FOLDER_POLLS === 0) void this.#poll();
  }

  [Symbol.dispose](): void {
    this.#disposed = true;
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
    this.#isFolder = found?.kind === "directory";
    const identity = this.#isFolder ? await identityOf(this.#path) : undefined;
    if (this.#disposed) return;
    if (this.#identity === identity && (this.#watcher !== undefined || !this.#isFolder)) return;
    this.#open(identity);
    // Nobody watched until now: whatever happened below is not known.
    if (!first && this.#watcher !== undefined) this.#tell(this.#path);
  }

  #open(identity: string | undefined): void {
    this.#close();
    if (identity === undefined) return;
    try {
      const watcher = Deno.watchFs(this.#path, { recursive: true });
      this.#watcher = watcher;
      this.#identity = identity;
      void this.#follow(watcher);
    } catch {
      // It is gone again, or no inotify is to be had: the poll goes on.
    }
  }

  async #follow(watcher: Deno.FsWatcher): Promise<void> {
    try {
      for await (const { kind, paths } of watcher) {
        if (kind === "access") continue;
        for (const path of paths) this.#tell(path);
        this.#toldSincePoll ||= paths.includes(this.#path);
        // A watch on a folder that is gone stays silent for ever.
        if (kind === "remove" && paths.includes(this.#path)) break;
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
