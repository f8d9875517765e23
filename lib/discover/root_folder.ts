import { join } from "@std/path";
import { type FileSystem, messageOf, repositoryReference } from "../model/mod.ts";
import {
  isSegment,
  type ListedDaemon,
  type ListedInstance,
  newestFirst,
  upgradeOf,
} from "./listed.ts";

/** Sockets of one daemon that are tried: each upgrade removes the one before it. */
const MAX_SOCKETS = 4;

/** What a daemon's configuration file tells of its mount. */
interface FileFacts {
  readonly host?: string;
  readonly repo?: string;
  /** Snapshot ID out of the device's id, which newer snapshotters write. */
  readonly snapshotId?: string;
}

/**
 * Reads which daemons there are from the snapshotter's root folder: `socket/<daemonID>/api.sock`
 * (after upgrades `api1.sock`, `api2.sock`, …), and `config/<daemonID>[/<snapshotID>]/config.json` for what they serve. A file is parsed again
 * only when it has changed.
 */
export class RootFolder {
  readonly #root: string;
  readonly #files: FileSystem;
  #facts = new Map<string, { readonly stamp: string; readonly facts: FileFacts }>();

  constructor(root: string, files: FileSystem) {
    this.#root = root;
    this.#files = files;
  }

  /**
   * @throws {AgentError} `io` when a folder is there and cannot be read.
   */
  async list(): Promise<readonly ListedDaemon[]> {
    const ids = (await this.#files.list(join(this.#root, "socket"))).filter(isSegment);
    const seen = new Set<string>();
    const daemons: ListedDaemon[] = [];
    for (const id of ids) {
      daemons.push({
        id,
        ...await this.#sockets(join(this.#root, "socket", id)),
        source: "root",
        ...await this.#instances(id, seen),
      });
    }
    for (const path of this.#facts.keys()) if (!seen.has(path)) this.#facts.delete(path);
    return daemons;
  }

  async #sockets(
    folder: string,
  ): Promise<Pick<ListedDaemon, "apiSocket" | "olderSockets">> {
    const names = (await this.#files.list(folder)).filter((name) => upgradeOf(name) >= 0);
    const newest = newestFirst(names.map((name) => join(folder, name))).slice(0, MAX_SOCKETS);
    const [apiSocket = join(folder, "api.sock"), ...olderSockets] = newest;
    return { apiSocket, ...(olderSockets.length > 0 && { olderSockets }) };
  }

  async #instances(
    id: string,
    seen: Set<string>,
  ): Promise<Pick<ListedDaemon, "instances" | "dedicated">> {
    const folder = join(this.#root, "config", id);
    const names = (await this.#files.list(folder)).filter(isSegment);
    const instances: ListedInstance[] = [];
    for (const name of names) {
      const facts = await this.#read(join(folder, name, "config.json"), seen);
      if (facts !== undefined) instances.push({ snapshotId: name, ...imageOf(facts) });
    }
    // Shared: the file one level up is a template.
    if (instances.length > 0) return { instances };
    const facts = await this.#read(join(folder, "config.json"), seen);
    if (facts?.host === undefined) return { instances: [] };
    const instance = { snapshotId: facts.snapshotId ?? id, ...imageOf(facts) };
    return { instances: [instance], dedicated: true };
  }

  async #read(path: string, seen: Set<string>): Promise<FileFacts | undefined> {
    const found = await this.#files.stat(path).catch(() => undefined);
    if (found?.kind !== "file") return undefined;
    seen.add(path);
    const known = this.#facts.get(path);
    if (known?.stamp === found.stamp) return known.facts;
    const text = await this.#files.readText(path).catch(() => undefined);
    const facts = text === undefined ? {} : readFacts(text);
    this.#facts.set(path, { stamp: found.stamp, facts });
    return facts;
  }
}

function imageOf({ host, repo }: FileFacts): Pick<ListedInstance, "image" | "imageProblem"> {
  if (host === undefined || repo === undefined) {
    return { imageProblem: "its configuration file names no registry and repository" };
  }
  try {
    return { image: repositoryReference(host, repo) };
  } catch (error) {
    return { imageProblem: messageOf(error) };
  }
}

/** Facts out of either driver's file (`device.backend.config`, or `config.backend_config`). */
function readFacts(text: string): FileFacts {
  let file: unknown;
  try {
    file = JSON.parse(text);
  } catch {
    return {}; // half-written, perhaps: it changes again then
  }
  const fuse = at(file, "device", "backend", "config") ?? at(file, "config", "backend_config");
  const host = at(fuse, "host");
  const repo = at(fuse, "repo");
  const id = at(file, "device", "id");
  const snapshotId = typeof id === "string" ? id.replace(/^\//, "") : "";
  return {
    ...(typeof host === "string" && host !== "" && { host }),
    ...(typeof repo === "string" && repo !== "" && { repo }),
    ...(isSegment(snapshotId) && { snapshotId }),
  };
}

function at(value: unknown, ...names: readonly string[]): unknown {
  let here = value;
  for (const name of names) {
    if (typeof here !== "object" || here === null || !Object.hasOwn(here, name)) return undefined;
    here = (here as Record<string, unknown>)[name];
  }
  return here;
}
