import { join } from "@std/path";
import { defined, type FileSystem, messageOf, repositoryReference } from "../model/mod.ts";
import {
  isSegment,
  type ListedDaemon,
  type ListedInstance,
  newestFirst,
  upgradeOf,
} from "./listed.ts";

/** Sockets per daemon; each upgrade removes the previous one. */
const MAX_SOCKETS = 4;

/** What a configuration file contains about its mount. */
interface FileFacts {
  readonly host?: string;
  readonly repo?: string;
  /** The snapshot ID in `device.id`, which newer snapshotters write. */
  readonly snapshotId?: string;
}

/**
 * Lists the daemons of the snapshotter's root folder: `socket/<daemonID>/api.sock` (after upgrades
 * `api1.sock`, `api2.sock`, …), with the images in
 * `config/<daemonID>[/<snapshotID>]/config.json`.
 *
 * @throws {AgentError} `io` when a folder exists but cannot be read.
 */
export async function listRootFolder(
  root: string,
  files: FileSystem,
): Promise<readonly ListedDaemon[]> {
  const daemons: ListedDaemon[] = [];
  for (const id of (await files.list(join(root, "socket"))).filter(isSegment)) {
    daemons.push({
      id,
      ...await socketsIn(join(root, "socket", id), files),
      source: "root",
      ...await instancesIn(join(root, "config", id), id, files),
    });
  }
  return daemons;
}

async function socketsIn(
  folder: string,
  files: FileSystem,
): Promise<Pick<ListedDaemon, "apiSocket" | "olderSockets">> {
  const names = (await files.list(folder)).filter((name) => upgradeOf(name) >= 0);
  const newest = newestFirst(names.map((name) => join(folder, name))).slice(0, MAX_SOCKETS);
  const [apiSocket = join(folder, "api.sock"), ...olderSockets] = newest;
  return { apiSocket, ...(olderSockets.length > 0 && { olderSockets }) };
}

async function instancesIn(
  folder: string,
  daemonId: string,
  files: FileSystem,
): Promise<Pick<ListedDaemon, "instances" | "dedicated">> {
  const instances: ListedInstance[] = [];
  for (const name of (await files.list(folder)).filter(isSegment)) {
    const facts = await factsOf(join(folder, name, "config.json"), files);
    if (facts !== undefined) instances.push({ snapshotId: name, ...imageOf(facts) });
  }
  // A shared daemon: the file one level up is a template.
  if (instances.length > 0) return { instances };
  const facts = await factsOf(join(folder, "config.json"), files);
  if (facts?.host === undefined) return { instances: [] };
  const instance = { snapshotId: facts.snapshotId ?? daemonId, ...imageOf(facts) };
  return { instances: [instance], dedicated: true };
}

async function factsOf(path: string, files: FileSystem): Promise<FileFacts | undefined> {
  const stat = await files.stat(path).catch(() => undefined);
  if (stat?.kind !== "file") return undefined;
  const text = await files.readText(path).catch(() => undefined);
  return text === undefined ? {} : readFacts(text);
}

function imageOf({ host, repo }: FileFacts): Pick<ListedInstance, "image" | "imageProblem"> {
  if (host === undefined || repo === undefined) {
    return { imageProblem: "the configuration file contains no registry and repository" };
  }
  try {
    return { image: repositoryReference(host, repo) };
  } catch (error) {
    return { imageProblem: messageOf(error) };
  }
}

/** Reads the file of either driver (`device.backend.config`, or `config.backend_config`). */
function readFacts(text: string): FileFacts {
  let file: unknown;
  try {
    file = JSON.parse(text);
  } catch {
    return {}; // possibly half-written: it is read again after the next change
  }
  const fuse = at(file, "device", "backend", "config") ?? at(file, "config", "backend_config");
  const host = at(fuse, "host");
  const repo = at(fuse, "repo");
  const id = at(file, "device", "id");
  const snapshotId = typeof id === "string" ? id.replace(/^\//, "") : "";
  return defined({
    host: typeof host === "string" && host !== "" ? host : undefined,
    repo: typeof repo === "string" && repo !== "" ? repo : undefined,
    snapshotId: isSegment(snapshotId) ? snapshotId : undefined,
  });
}

function at(value: unknown, ...names: readonly string[]): unknown {
  let here = value;
  for (const name of names) {
    if (typeof here !== "object" || here === null || !Object.hasOwn(here, name)) return undefined;
    here = (here as Record<string, unknown>)[name];
  }
  return here;
}
