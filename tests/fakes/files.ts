import { dirname } from "node:path";
import { AgentError, type FileStat, type FileSystem } from "../../lib/model/mod.ts";

interface Entry {
  readonly kind: FileStat["kind"];
  readonly text: string;
  readonly stamp: string;
  readonly mode: number;
  readonly mtimeMs: number;
}

/** A call of `writeAtomic`. */
export interface Write {
  readonly path: string;
  readonly text: string;
  readonly options: { readonly mode: number; readonly owner?: Pick<FileStat, "uid" | "gid"> };
}

/** A file system in memory that can fail for individual paths. */
export class FakeFiles implements FileSystem {
  readonly #entries = new Map<string, Entry>();
  readonly #watchers = new Set<(path: string) => void>();
  readonly #unreadable = new Set<string>();
  readonly #unwritable = new Set<string>();
  #stamps = 0;
  readonly writes: Write[] = [];
  readonly reads: string[] = [];

  /** Creates or replaces a file, socket or link, by default with a new stamp. */
  set(
    path: string,
    text = "",
    kind: FileStat["kind"] = "file",
    { mode = 0o600, stamp = `${++this.#stamps}`, mtimeMs = 0 } = {},
  ): void {
    this.#entries.set(path, { kind, text, stamp, mode, mtimeMs });
    for (const changed of this.#watchers) changed(path);
  }

  remove(path: string): void {
    this.#entries.delete(path);
  }

  text(path: string): string | undefined {
    return this.#entries.get(path)?.text;
  }

  /** Makes every read, stat and list of a path fail, or succeed again. */
  refuseReading(path: string, refuse = true): void {
    if (refuse) this.#unreadable.add(path);
    else this.#unreadable.delete(path);
  }

  /** Makes writes into a folder fail, or succeed again. */
  refuseWriting(folder: string, refuse = true): void {
    if (refuse) this.#unwritable.add(folder);
    else this.#unwritable.delete(folder);
  }

  readText(
    path: string,
    { maxBytes = Infinity }: { readonly maxBytes?: number } = {},
  ): Promise<string | undefined> {
    this.reads.push(path);
    if (this.#unreadable.has(path)) return Promise.reject(refused("read", path));
    const entry = this.#entries.get(path);
    if (entry?.kind === "symlink") return this.readText(entry.text, { maxBytes });
    const text = entry?.text;
    if (text !== undefined && new TextEncoder().encode(text).length > maxBytes) {
      return Promise.reject(new AgentError("io", `read ${path}: larger than ${maxBytes} bytes`));
    }
    return Promise.resolve(text);
  }

  /** The text of a link is its target. */
  stat(
    path: string,
    { noFollow = false }: { readonly noFollow?: boolean } = {},
  ): Promise<FileStat | undefined> {
    if (this.#unreadable.has(path)) return Promise.reject(refused("stat", path));
    const entry = this.#entries.get(path);
    if (entry === undefined) return Promise.resolve(this.#isFolder(path) ? FOLDER : undefined);
    if (entry.kind === "symlink" && !noFollow) return this.stat(entry.text);
    const { kind, text, stamp, mode, mtimeMs } = entry;
    return Promise.resolve({ kind, stamp, mtimeMs, size: text.length, mode, uid: 7, gid: 8 });
  }

  list(path: string): Promise<readonly string[]> {
    if (this.#unreadable.has(path)) return Promise.reject(refused("list", path));
    const prefix = path === "/" ? "/" : `${path}/`;
    const names = [...this.#entries.keys()].filter((key) => key.startsWith(prefix))
      .map((key) => key.slice(prefix.length).split("/")[0] ?? "");
    return Promise.resolve([...new Set(names)].sort());
  }

  writeAtomic(path: string, text: string, options: Write["options"]): Promise<void> {
    if (this.#unwritable.has(dirname(path))) return Promise.reject(refused("write", path));
    this.writes.push({ path, text, options });
    this.set(path, text);
    return Promise.resolve();
  }

  watch(
    paths: readonly string[],
    changed: (path: string, watched: string) => void,
  ): Disposable {
    const report = (path: string) => {
      const isBelow = (watched: string) => path === watched || path.startsWith(`${watched}/`);
      changed(path, paths.find(isBelow) ?? "");
    };
    this.#watchers.add(report);
    return { [Symbol.dispose]: () => this.#watchers.delete(report) };
  }

  #isFolder(path: string): boolean {
    return [...this.#entries.keys()].some((key) => key.startsWith(`${path}/`));
  }
}

const FOLDER: FileStat = {
  kind: "directory",
  stamp: "folder",
  size: 0,
  mode: 0o755,
  uid: 0,
  gid: 0,
};

function refused(action: string, path: string): AgentError {
  return new AgentError("io", `${action} ${path}: EACCES`);
}
