import { dirname } from "@std/path";
import type { NodeRead, SimNode } from "../../lib/simulator/mod.ts";
import { descendants } from "../canary/sinks.ts";
import { pause } from "../e2e/stage.ts";

const READ_EVERY_MS = 150;
const CHECK_EVERY_MS = 20;

/** Containers that read all the time, and what of it failed. */
export class Reader implements AsyncDisposable {
  readonly #done: Promise<void>;
  #going = true;
  #reads = 0;
  #failed: NodeRead[] = [];

  constructor(node: SimNode, readEveryMs = READ_EVERY_MS) {
    this.#done = this.#run(node, readEveryMs);
  }

  /** Reads that were done so far. */
  get reads(): number {
    return this.#reads;
  }

  /** What failed since the last call. */
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

/** The daemons' configuration files as they were, but for the credential; looked at all the time. */
export class ConfigFiles implements AsyncDisposable {
  readonly #before = new Map<string, string>();
  readonly #done: Promise<void>;
  #going = true;
  #looks = 0;
  #seen = new Set<string>();

  constructor(node: SimNode) {
    this.watchAlso(node);
    this.#done = this.#run();
  }

  /** Those of mounts that came later, too. */
  watchAlso(node: SimNode): void {
    for (const path of configPaths(node)) this.#before.set(path, withoutAuth(path));
  }

  /** How often all of them were looked at so far. */
  get looks(): number {
    return this.#looks;
  }

  /** What was wrong with them at any moment since the last call. */
  takeSeen(): readonly string[] {
    const seen = [...this.#seen];
    this.#seen = new Set();
    return seen;
  }

  /** What is wrong with them now: gone, unparsable, a field lost, open to others. */
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
      this.#looks++;
      await pause(CHECK_EVERY_MS);
    }
  }

  /** Temporary files that are there for a reason; they have to go in the end all the same. */
  readonly excused = new Set<string>();

  excuse(names: readonly string[]): void {
    for (const name of names) this.excused.add(name);
  }

  /** Temporary files beside them; one is there for a moment whenever a file is rewritten. */
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
  // A pipe that somebody put there would never let go of us.
  if (!Deno.lstatSync(path).isFile) throw new TypeError("no file");
  const config = JSON.parse(Deno.readTextFileSync(path));
  delete config.device.backend.config.auth;
  return JSON.stringify(config);
}

/** What a process has open, and who its children are. */
export interface Holdings {
  readonly pid: number;
  readonly descriptors: number;
  readonly children: number;
  readonly residentKb: number;
  /** How often its main thread has gone to sleep so far: timers that are left wake it. */
  readonly sleeps: number;
}

/** Read from /proc; undefined when there is no such process any more. */
export function holdingsOf(pid: number): Holdings | undefined {
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
