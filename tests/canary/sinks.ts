/**
 * Every place where a secret could come out of a process: what it prints, serves, writes, and hands
 * to its children. Used by the canary test, and tested with deliberate leaks itself.
 *
 * @module
 */
import { dirname, join } from "@std/path";

/** One text that must hold no secret, and where it was found. */
export interface Sunk {
  readonly where: string;
  readonly text: string;
}

/** Every page that the agent serves, and what it answers to questions that it does not know. */
export async function pages(base: string): Promise<readonly Sunk[]> {
  const asked: readonly (readonly [string, RequestInit?])[] = [
    ["/"],
    ["/metrics"],
    ["/metrics", { headers: { accept: "application/openmetrics-text" } }],
    ["/v1/metrics"],
    ["/v1/status"],
    ["/livez"],
    ["/readyz"],
    ["/readyz?verbose"],
    ["/healthz"],
    ["/nothing-here?auth=1"],
    ["/v1/status", { method: "POST", body: "{}" }],
    ["/api/v1/config"],
  ];
  return await Promise.all(asked.map(async ([path, init]) => {
    const response = await fetch(base + path, { ...init, signal: AbortSignal.timeout(20_000) });
    const headers = JSON.stringify([...response.headers]);
    return {
      where: `page ${init?.method ?? "GET"} ${path}`,
      text: headers + await response.text(),
    };
  }));
}

/** Arguments and environment of a process and all its descendants, as long as it is watched. */
export class ProcessWatch {
  readonly #pid: number;
  readonly #seen = new Map<string, Sunk>();
  readonly #timer: ReturnType<typeof setInterval>;
  /** Descendants that were seen, by pid. */
  readonly children = new Set<number>();

  constructor(pid: number) {
    this.#pid = pid;
    this.#timer = setInterval(() => this.look(), 5);
    this.look();
  }

  /** What was seen so far. */
  get sunk(): readonly Sunk[] {
    return [...this.#seen.values()];
  }

  look(): void {
    for (const pid of [this.#pid, ...descendants(this.#pid)]) {
      if (pid !== this.#pid) this.children.add(pid);
      for (const name of ["cmdline", "environ"]) {
        const text = readIfThere(`/proc/${pid}/${name}`);
        if (text === undefined || text === "") continue;
        const where = `${name} of ${pid === this.#pid ? "the agent" : "a child"}`;
        this.#seen.set(`${where}\0${text}`, { where, text });
      }
    }
  }

  [Symbol.dispose](): void {
    clearInterval(this.#timer);
  }
}

/** The processes below one, by the kernel's own list. */
export function descendants(pid: number): number[] {
  const below: number[] = [];
  let tasks: Deno.DirEntry[];
  try {
    tasks = [...Deno.readDirSync(`/proc/${pid}/task`)];
  } catch {
    return below;
  }
  for (const { name } of tasks) {
    const text = readIfThere(`/proc/${pid}/task/${name}/children`) ?? "";
    for (const child of text.split(" ").filter((word) => word !== "").map(Number)) {
      below.push(child, ...descendants(child));
    }
  }
  return below;
}

/** A file that was found below a folder. */
export interface FoundFile {
  readonly path: string;
  readonly mode: number;
  readonly text: string;
}

/** Every ordinary file below some folders. */
export function filesBelow(folders: readonly string[]): readonly FoundFile[] {
  return folders.flatMap((folder): FoundFile[] => {
    let entries: Deno.DirEntry[];
    try {
      entries = [...Deno.readDirSync(folder)];
    } catch {
      return [];
    }
    return entries.flatMap(({ name, isDirectory, isFile }): readonly FoundFile[] => {
      const path = join(folder, name);
      if (isDirectory) return filesBelow([path]);
      if (!isFile) return [];
      try {
        const mode = (Deno.statSync(path).mode ?? 0) & 0o777;
        return [{ path, mode, text: latin1(Deno.readFileSync(path)) }];
      } catch {
        return []; // it went away meanwhile
      }
    });
  });
}

/** Watches folders for files that others may read, from the moment that they exist. */
export class OpenFileWatch {
  readonly #watcher: Deno.FsWatcher;
  readonly #folders: readonly string[];
  readonly #ended: Promise<void>;
  /** Path and mode of each. */
  readonly found = new Set<string>();

  constructor(folders: readonly string[]) {
    this.#folders = folders;
    this.#watcher = Deno.watchFs([...folders], { recursive: true });
    this.#ended = this.#run();
  }

  async #run(): Promise<void> {
    for await (const { paths } of this.#watcher) {
      for (const path of paths) {
        try {
          const { mode, isFile, isSocket } = Deno.lstatSync(path);
          const open = ((mode ?? 0) & 0o077) !== 0 && !this.#isHidden(dirname(path));
          if ((isFile || isSocket === true) && open) {
            this.found.add(`${path} ${((mode ?? 0) & 0o777).toString(8)}`);
          }
        } catch {
          // It was there for a moment only, and is not looked at any more.
        }
      }
    }
  }

  /** Whether a folder in between keeps others out, whatever its files allow. */
  #isHidden(folder: string): boolean {
    if (this.#folders.includes(folder)) return false;
    const { mode } = Deno.lstatSync(folder);
    return ((mode ?? 0) & 0o077) === 0 || this.#isHidden(dirname(folder));
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.#watcher.close();
    await this.#ended;
  }
}

function readIfThere(path: string): string | undefined {
  try {
    return Deno.readTextFileSync(path);
  } catch {
    return undefined;
  }
}

/** Byte for byte, so that a secret in a binary file is found as well. */
function latin1(bytes: Uint8Array): string {
  let text = "";
  for (let i = 0; i < bytes.length; i += 8_192) {
    text += String.fromCharCode(...bytes.subarray(i, i + 8_192));
  }
  return text;
}
