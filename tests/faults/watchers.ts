import { dirname } from "@std/path";
import type { NodeRead, SimNode } from "../../lib/simnode/mod.ts";
import { pause } from "../e2e/stage.ts";

const READ_EVERY_MS = 150;

/** Containers that read all the time, and what of it failed. */
export class Reader implements AsyncDisposable {
  readonly #done: Promise<void>;
  #going = true;
  #reads = 0;
  #failed: NodeRead[] = [];

  constructor(node: SimNode) {
    this.#done = this.#run(node);
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

  async #run(node: SimNode): Promise<void> {
    while (this.#going) {
      const reads = await node.readAll();
      this.#reads += reads.length;
      this.#failed.push(...reads.filter(({ ok }) => !ok));
      await pause(READ_EVERY_MS);
    }
  }
}

/** The daemons' configuration files as they were, but for the credential. */
export class ConfigFiles {
  readonly #before = new Map<string, string>();

  constructor(node: SimNode) {
    this.watchAlso(node);
  }

  /** Those of mounts that came later, too. */
  watchAlso(node: SimNode): void {
    for (const path of configPaths(node)) this.#before.set(path, withoutAuth(path));
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
        breaches.push(`${path}: ${error instanceof Error ? error.message : "unknown"}`);
      }
    }
    return breaches;
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
  const config = JSON.parse(Deno.readTextFileSync(path));
  delete config.device.backend.config.auth;
  return JSON.stringify(config);
}

/** What a process has open, and who its children are. */
export interface Holdings {
  readonly descriptors: number;
  readonly children: number;
  readonly residentKb: number;
}

/** Read from /proc. */
export function holdingsOf(pid: number): Holdings {
  const resident = /VmRSS:\s+(\d+)/.exec(Deno.readTextFileSync(`/proc/${pid}/status`))?.[1];
  const children = Deno.readTextFileSync(`/proc/${pid}/task/${pid}/children`).trim();
  return {
    descriptors: [...Deno.readDirSync(`/proc/${pid}/fd`)].length,
    children: children === "" ? 0 : children.split(" ").length,
    residentKb: Number(resident),
  };
}
