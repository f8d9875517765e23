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
 * Lists the daemons of the snapshotter's root folder: `socket/<daemonID>/api.sock` (after upgrades
 * `api1.sock`, `api2.sock`, …), and `config/<daemonID>[/<snapshotID>]/config.json` for what they
 * serve.
 *
 * @throws {AgentError} `io` when a folder exists and cannot be read.
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
  // Shared: the file one level up is a template.
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
