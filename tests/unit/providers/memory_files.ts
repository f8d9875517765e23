import { AgentError, type FileStat, type FileSystem } from "../../../lib/model/mod.ts";

/** In-memory files for the providers, without folders and watches. */
export class MemoryFiles implements FileSystem {
  readonly #files = new Map<string, { text: string; stamp: string; mode: number }>();
  /** Paths that cannot be read. */
  readonly denied = new Set<string>();
  reads = 0;
  #stamps = 0;

  /** Each write gets a new stamp by default. */
  write(path: string, text: string, { mode = 0o600, stamp = `s${++this.#stamps}` } = {}): void {
    this.#files.set(path, { text, stamp, mode });
  }

  remove(path: string): void {
    this.#files.delete(path);
  }

  readText(path: string): Promise<string | undefined> {
    this.reads++;
    if (this.denied.has(path)) {
      return Promise.reject(new AgentError("io", `read ${path}: EACCES`));
    }
    return Promise.resolve(this.#files.get(path)?.text);
  }

  stat(path: string): Promise<FileStat | undefined> {
    const file = this.#files.get(path);
    if (file === undefined) return Promise.resolve(undefined);
    const { stamp, mode, text } = file;
    return Promise.resolve({ kind: "file", stamp, mode, size: text.length, uid: 0, gid: 0 });
  }

  list(): Promise<readonly string[]> {
    return Promise.resolve([]);
  }

  writeAtomic(path: string, text: string): Promise<void> {
    this.write(path, text);
    return Promise.resolve();
  }

  watch(): Disposable {
    return { [Symbol.dispose]() {} };
  }
}
