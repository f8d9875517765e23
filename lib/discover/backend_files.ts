import { type FileSystem, readBackendOfFile, type RegistryBackend } from "../model/mod.ts";

interface Read {
  readonly stamp: string;
  readonly backend?: RegistryBackend;
}

/** What the configuration files of mounts tell of their registries; parsed when they change. */
export class BackendFiles {
  readonly #files: FileSystem;
  #before: ReadonlyMap<string, Read> = new Map();
  #read = new Map<string, Read>();

  constructor(files: FileSystem) {
    this.#files = files;
  }

  /** Undefined when there is no such file, or it names no host. Never rejects. */
  async read(path: string): Promise<RegistryBackend | undefined> {
    const stat = await this.#files.stat(path).catch(() => undefined);
    if (stat?.kind !== "file") return undefined;
    const known = this.#read.get(path) ?? this.#before.get(path);
    if (known?.stamp === stat.stamp) {
      this.#read.set(path, known);
      return known.backend;
    }
    const text = await this.#files.readText(path).catch(() => undefined);
    const backend = text === undefined ? undefined : backendOf(text);
    this.#read.set(path, { stamp: stat.stamp, ...(backend && { backend }) });
    return backend;
  }

  /** Forgets the files that nobody asked for since the last call. */
  forgetUnread(): void {
    this.#before = this.#read;
    this.#read = new Map();
  }
}

function backendOf(text: string): RegistryBackend | undefined {
  try {
    const backend = readBackendOfFile(JSON.parse(text));
    return backend?.host === undefined ? undefined : backend;
  } catch {
    return undefined; // half-written, perhaps: it changes again then
  }
}
