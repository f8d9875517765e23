/**
 * Captures everything through which a process could leak a secret: responses, files, arguments and
 * environment. Used by the canary test, and itself tested with deliberate leaks.
 *
 * @module
 */
import { dirname, join } from "@std/path";

/** A text that must not contain a secret, and its origin. */
export interface CapturedText {
  readonly where: string;
  readonly text: string;
}

/** Returns the responses of every page of the agent, and of unknown paths. */
export async function pages(base: string): Promise<readonly CapturedText[]> {
  const requests: readonly (readonly [string, RequestInit?])[] = [
    ["/"],
    ["/metrics"],
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
  return await Promise.all(requests.map(async ([path, init]) => {
    const response = await fetch(base + path, { ...init, signal: AbortSignal.timeout(20_000) });
    const headers = JSON.stringify([...response.headers]);
    return {
      where: `page ${init?.method ?? "GET"} ${path}`,
      text: headers + await response.text(),
    };
  }));
}

/** Captures arguments and environment of a process and its descendants until it is disposed. */
export class ProcessWatch {
  readonly #pid: number;
  readonly #captured = new Map<string, CapturedText>();
  readonly #timer: ReturnType<typeof setInterval>;
  /** The pids of all descendants so far. */
  readonly children = new Set<number>();

  constructor(pid: number) {
    this.#pid = pid;
    this.#timer = setInterval(() => this.scan(), 5);
    this.scan();
  }

  /** The texts captured so far. */
  get captured(): readonly CapturedText[] {
    return [...this.#captured.values()];
  }

  /** Captures the current processes. */
  scan(): void {
    for (const pid of [this.#pid, ...descendants(this.#pid)]) {
      if (pid !== this.#pid) this.children.add(pid);
      for (const name of ["cmdline", "environ"]) {
        const text = readIfThere(`/proc/${pid}/${name}`);
        if (text === undefined || text === "") continue;
        const where = `${name} of ${pid === this.#pid ? "the agent" : "a child"}`;
        this.#captured.set(`${where}\0${text}`, { where, text });
      }
    }
  }

  [Symbol.dispose](): void {
    clearInterval(this.#timer);
  }
}

/** Returns the pids of the descendants of a process. */
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

/** A file with its mode and content. */
export interface FoundFile {
  readonly path: string;
  readonly mode: number;
  readonly text: string;
}

/** Returns all regular files below folders. */
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
        return []; // removed in the meantime
      }
    });
  });
}

/** Watches folders for files that other users can read, even for a moment. */
export class OpenFileWatch {
  readonly #watcher: Deno.FsWatcher;
  readonly #folders: readonly string[];
  readonly #ended: Promise<void>;
  /** Path and mode of each such file. */
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
          // Already removed.
        }
      }
    }
  }

  /** Whether a parent folder denies access to other users. */
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

/** Decodes byte by byte, so that secrets in binary files are found. */
function latin1(bytes: Uint8Array): string {
  let text = "";
  for (let i = 0; i < bytes.length; i += 8_192) {
    text += String.fromCharCode(...bytes.subarray(i, i + 8_192));
  }
  return text;
}
