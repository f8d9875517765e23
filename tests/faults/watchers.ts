import { dirname } from "@std/path";
import type { NodeRead, SimNode } from "../../lib/simulator/mod.ts";
import { descendants } from "../canary/sinks.ts";
import { pause } from "../e2e/stage.ts";

const READ_EVERY_MS = 150;
const CHECK_EVERY_MS = 20;

/** Reads through every mount continuously, and collects the failures. */
export class Reader implements AsyncDisposable {
  readonly #done: Promise<void>;
  #going = true;
  #reads = 0;
  #failed: NodeRead[] = [];

  constructor(node: SimNode, readEveryMs = READ_EVERY_MS) {
    this.#done = this.#run(node, readEveryMs);
  }

  /** Number of reads so far. */
  get reads(): number {
    return this.#reads;
  }

  /** Returns the reads that failed since the last call. */
  takeFailed(): readonly NodeRead[] {
    const failed = this.#failed;
    this.#failed = [];
    return failed;
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.#going = false;
    await this.#done;
  }

  async #run(node: SimNode, everyMs: number): Promise<void> {
    while (this.#going) {
      const reads = await node.readAll();
      this.#reads += reads.length;
      this.#failed.push(...reads.filter(({ ok }) => !ok));
      await pause(everyMs);
    }
  }
}

/** Polls the daemons' configuration files for unexpected changes, except of the credential. */
export class ConfigFiles implements AsyncDisposable {
  readonly #before = new Map<string, string>();
  readonly #done: Promise<void>;
  #going = true;
  #seen = new Set<string>();

  constructor(node: SimNode) {
    this.watchAlso(node);
    this.#done = this.#run();
  }

  /** Also watches the files of new mounts. */
  watchAlso(node: SimNode): void {
    for (const path of configPaths(node)) this.#before.set(path, withoutAuth(path));
  }

  /** Returns the breaches that were seen since the last call. */
  takeSeen(): readonly string[] {
    const seen = [...this.#seen];
    this.#seen = new Set();
    return seen;
  }

  /** Returns the current breaches: a file is missing, invalid, changed or readable by others. */
  breaches(): readonly string[] {
    const breaches: string[] = [];
    for (const [path, before] of this.#before) {
      try {
        const now = withoutAuth(path);
        if (now !== before) breaches.push(`${path} has changed beyond its credential`);
        const mode = Deno.lstatSync(path).mode ?? 0;
        if ((mode & 0o777) !== 0o600) breaches.push(`${path} is ${(mode & 0o777).toString(8)}`);
      } catch (error) {
        breaches.push(`${path}: ${error instanceof Error ? error.name : "unknown"}`);
      }
    }
    return breaches;
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.#going = false;
    await this.#done;
  }

  async #run(): Promise<void> {
    while (this.#going) {
      for (const breach of this.breaches()) this.#seen.add(breach);
      await pause(CHECK_EVERY_MS);
    }
  }

  /** Temporary files that a killed agent left; they must be removed by the end of the campaign. */
  readonly excused = new Set<string>();

  excuse(names: readonly string[]): void {
    for (const name of names) this.excused.add(name);
  }

  /** Returns the temporary files beside them; each rewrite creates one for a moment. */
  temporaries(): readonly string[] {
    return [...this.#before.keys()].flatMap((path) =>
      [...Deno.readDirSync(dirname(path))].map(({ name }) => name)
        .filter((name) => name.endsWith(".tmp"))
    );
  }
}

function configPaths(node: SimNode): readonly string[] {
  return [...node.daemons.values()].flatMap(({ instances }) =>
    instances.map(({ configPath }) => configPath)
  );
}

function withoutAuth(path: string): string {
  // Opening a pipe would block.
  if (!Deno.lstatSync(path).isFile) throw new TypeError("no file");
  const config = JSON.parse(Deno.readTextFileSync(path));
  delete config.device.backend.config.auth;
  return JSON.stringify(config);
}

/** Resource usage of a process. */
export interface ProcessResources {
  readonly pid: number;
  readonly descriptors: number;
  readonly children: number;
  readonly residentKb: number;
  /** Voluntary context switches of the main thread; leaked timers increase them. */
  readonly sleeps: number;
}

/** Returns the resources of a process from /proc; undefined when it no longer exists. */
export function resourcesOf(pid: number): ProcessResources | undefined {
  try {
    const status = Deno.readTextFileSync(`/proc/${pid}/status`);
    const number = (name: string) =>
      Number(new RegExp(`^${name}:\\s+(\\d+)`, "m").exec(status)?.[1]);
    return {
      pid,
      descriptors: [...Deno.readDirSync(`/proc/${pid}/fd`)].length,
      children: descendants(pid).length,
      residentKb: number("VmRSS"),
      sleeps: number("voluntary_ctxt_switches"),
    };
  } catch {
    return undefined;
  }
}
