import { join } from "@std/path";
import {
  defined,
  type DiscoverySource,
  type FileSystem,
  type ImageReference,
  messageOf,
  parseImageReference,
  readBackendOfFile,
  type RegistryBackend,
  repositoryReference,
  type SnapshotterDaemon,
} from "../model/mod.ts";

/** A configured daemon: its socket and the image that it serves. */
export interface ConfiguredSocket {
  readonly id: string;
  readonly socket: string;
  readonly ref: string;
}

/** A RAFS instance as a source lists it, before its nydusd is queried. */
export interface ListedInstance {
  readonly snapshotId: string;
  readonly image?: ImageReference;
  readonly imageProblem?: string;
}

/** A daemon as a source lists it, before it is queried. */
export interface ListedDaemon {
  readonly id: string;
  readonly pid?: number;
  readonly apiSocket: string;
  /** Sockets from before upgrades of the daemon, newest first; used if `apiSocket` fails. */
  readonly olderSockets?: readonly string[];
  readonly source: DiscoverySource;
  /** It serves one mount, whose configuration file may lack the snapshot ID. */
  readonly dedicated?: boolean;
  readonly instances: readonly ListedInstance[];
}

/** Whether an ID from another program is valid as one segment of a path. */
export function isSegment(id: string): boolean {
  return id !== "" && id !== "." && id !== ".." && id.length <= 255 && !/[/\0]/.test(id);
}

/** Returns the daemons of the system API; leaves out and reports IDs that are no path segment. */
export function listedBySystemApi(
  daemons: readonly SnapshotterDaemon[],
): { readonly daemons: readonly ListedDaemon[]; readonly refused: readonly string[] } {
  const refused: string[] = [];
  const listed = daemons.flatMap(({ id, pid, apiSocket, instances }): ListedDaemon[] => {
    if (!isSegment(id) || !apiSocket.startsWith("/")) {
      refused.push(`daemon ${JSON.stringify(id.slice(0, 80))} has an invalid ID or socket`);
      return [];
    }
    const valid = instances.filter(({ snapshotId }) => isSegment(snapshotId));
    for (let i = valid.length; i < instances.length; i++) {
      refused.push(`daemon ${id} lists a snapshot with an invalid ID`);
    }
    return [defined({
      id,
      pid: pid > 0 ? pid : undefined,
      apiSocket,
      source: "system-api" as const,
      instances: valid.map(({ snapshotId, imageId }) => {
        if (imageId === "") {
          return { snapshotId, imageProblem: "the snapshotter does not report the image" };
        }
        return { snapshotId, ...imageOf(() => parseImageReference(imageId)) };
      }),
    })];
  });
  return { daemons: listed, refused };
}

/** Returns the configured daemons: for a glob, one for each socket that exists. */
export async function listConfigured(
  daemons: readonly ConfiguredSocket[],
  files: FileSystem,
): Promise<readonly ListedDaemon[]> {
  const listed: ListedDaemon[] = [];
  for (const { id, socket, ref } of daemons) {
    for (const apiSocket of await expandGlob(socket, files)) {
      const ownId = apiSocket === socket ? id : `${id}:${apiSocket}`;
      const instances = [{ snapshotId: ownId, ...imageOf(() => parseImageReference(ref)) }];
      listed.push({ id: ownId, apiSocket, source: "configured", instances });
    }
  }
  return listed;
}

const WILDCARD = /[*?[\]{}]/;
/** Paths per glob; more are a mistake in the configuration. */
const MAX_PATHS = 1_000;

/** Returns the existing paths that match a glob; a path without wildcards even if it is missing. */
async function expandGlob(glob: string, files: FileSystem): Promise<readonly string[]> {
  if (!WILDCARD.test(glob)) return [glob];
  const { minimatch } = await import("minimatch"); // large and rarely needed
  let paths = ["/"];
  for (const segment of glob.split("/").filter((part) => part !== "")) {
    const next: string[] = [];
    for (const folder of paths) {
      const names = await files.list(folder).catch(() => []);
      next.push(...names.filter((name) => minimatch(name, segment)).map((n) => join(folder, n)));
    }
    paths = next.slice(0, MAX_PATHS);
  }
  return paths.sort();
}

/**
 * Returns the folder to watch for the sockets of a glob, or a path without wildcards. Undefined if
 * that would be everything below a folder as busy as `/run`: such a glob is only polled.
 */
export function watchedPath(glob: string): string | undefined {
  const segments = glob.split("/").filter((part) => part !== "");
  const wildcard = segments.findIndex((segment) => WILDCARD.test(segment));
  if (wildcard < 0) return glob;
  if (wildcard < 2 && wildcard < segments.length - 1) return undefined;
  return `/${segments.slice(0, wildcard).join("/")}`;
}

function imageOf(parse: () => ImageReference): Pick<ListedInstance, "image" | "imageProblem"> {
  try {
    return { image: parse() };
  } catch (error) {
    return { imageProblem: messageOf(error) };
  }
}

/**
 * Merges the lists of several sources. Daemons are the same if they have the same ID (except that
 * configured IDs are a namespace of their own) or a socket in common. The first source that lists a
 * daemon takes precedence; sockets and instances that only a later one lists are added.
 */
export function mergeListed(lists: readonly (readonly ListedDaemon[])[]): readonly ListedDaemon[] {
  const merged: ListedDaemon[] = [];
  for (const daemon of lists.flat()) {
    const i = merged.findIndex((known) => isSameDaemon(known, daemon));
    const known = merged[i];
    if (known === undefined) merged.push(daemon);
    else if (daemon.source !== "configured") merged[i] = mergeDaemon(known, daemon);
  }
  return merged.sort((a, b) => a.id < b.id ? -1 : a.id > b.id ? 1 : 0);
}

function isSameDaemon(a: ListedDaemon, b: ListedDaemon): boolean {
  const sockets = socketsOf(a);
  if (socketsOf(b).some((socket) => sockets.includes(socket))) return true;
  return a.id === b.id && a.source !== "configured" && b.source !== "configured";
}

function mergeDaemon(known: ListedDaemon, other: ListedDaemon): ListedDaemon {
  const sockets = newestFirst([...new Set([...socketsOf(known), ...socketsOf(other)])]);
  const [apiSocket = known.apiSocket, ...olderSockets] = sockets;
  // The one mount of a dedicated daemon may be known under another ID.
  const isKnown = other.dedicated === true && known.instances.length > 0;
  const ids = new Set(known.instances.map(({ snapshotId }) => snapshotId));
  const more = isKnown ? [] : other.instances.filter(({ snapshotId }) => !ids.has(snapshotId));
  return { ...known, apiSocket, olderSockets, instances: [...known.instances, ...more] };
}

function socketsOf({ apiSocket, olderSockets = [] }: ListedDaemon): readonly string[] {
  return [apiSocket, ...olderSockets];
}

/**
 * Sorts sockets by the upgrade number in the file name: `api.sock`, `api1.sock`, `api2.sock`,
 * … (nydus-snapshotter `buildNextAPISocket`). Other names come last.
 */
export function newestFirst(sockets: readonly string[]): readonly string[] {
  return sockets.toSorted((a, b) => upgradeOf(b) - upgradeOf(a));
}

/** Returns the number of upgrades before a daemon had this socket; -1 for another kind of name. */
export function upgradeOf(socket: string): number {
  const match = /(?:^|\/)api(\d{0,9})\.sock$/.exec(socket);
  return match === null ? -1 : Number(match[1]);
}

/** Sockets per daemon; each upgrade removes the previous one. */
const MAX_SOCKETS = 4;

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
    const folder = join(root, "socket", id);
    const names = (await files.list(folder)).filter((name) => upgradeOf(name) >= 0);
    const newest = newestFirst(names.map((name) => join(folder, name))).slice(0, MAX_SOCKETS);
    const [apiSocket = join(folder, "api.sock"), ...olderSockets] = newest;
    const found = await instancesIn(join(root, "config", id), id, files);
    daemons.push({ id, apiSocket, olderSockets, source: "root", ...found });
  }
  return daemons;
}

async function instancesIn(
  folder: string,
  daemonId: string,
  files: FileSystem,
): Promise<Pick<ListedDaemon, "instances" | "dedicated">> {
  const instances: ListedInstance[] = [];
  for (const name of (await files.list(folder)).filter(isSegment)) {
    const file = await readDaemonFile(join(folder, name, "config.json"), files);
    if (file !== undefined) instances.push({ snapshotId: name, ...imageInFile(file) });
  }
  // A shared daemon: the file one level up is a template.
  if (instances.length > 0) return { instances };
  const file = await readDaemonFile(join(folder, "config.json"), files);
  if (file?.backend?.host === undefined) return { instances: [] };
  const instance = { snapshotId: file.snapshotId ?? daemonId, ...imageInFile(file) };
  return { instances: [instance], dedicated: true };
}

function imageInFile({ backend }: DaemonFile): Pick<ListedInstance, "image" | "imageProblem"> {
  const { host, repo } = backend ?? {};
  if (host === undefined || repo === undefined) {
    return { imageProblem: "the configuration file contains no registry and repository" };
  }
  return imageOf(() => repositoryReference(host, repo));
}

/** What a daemon's configuration file contains about its mount. */
interface DaemonFile {
  readonly backend?: RegistryBackend;
  /** The snapshot ID in `device.id`, which newer snapshotters write. */
  readonly snapshotId?: string;
}

/** Reads a daemon's configuration file; undefined if there is none, empty if it is half-written. */
export async function readDaemonFile(
  path: string,
  files: FileSystem,
): Promise<DaemonFile | undefined> {
  const stat = await files.stat(path).catch(() => undefined);
  if (stat?.kind !== "file") return undefined;
  try {
    const file = JSON.parse(await files.readText(path) ?? "");
    const id = file?.device?.id;
    const snapshotId = typeof id === "string" ? id.replace(/^\//, "") : "";
    return defined({
      backend: readBackendOfFile(file),
      snapshotId: isSegment(snapshotId) ? snapshotId : undefined,
    });
  } catch {
    return {};
  }
}
