import { join } from "@std/path";
import {
  defined,
  type DiscoverySource,
  type FileSystem,
  type ImageReference,
  messageOf,
  parseImageReference,
  type SnapshotterDaemon,
} from "../model/mod.ts";

/** A configured daemon: its socket (or a glob of sockets) and the image that it serves. */
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
      instances: valid.map(({ snapshotId, imageId }) => ({ snapshotId, ...imageOf(imageId) })),
    })];
  });
  return { daemons: listed, refused };
}

/** Returns the configured daemons, one for each socket of a glob. */
export async function listConfigured(
  daemons: readonly ConfiguredSocket[],
  files: FileSystem,
): Promise<readonly ListedDaemon[]> {
  const listed: ListedDaemon[] = [];
  for (const { id, socket, ref } of daemons) {
    for (const apiSocket of await expandSocket(socket, files)) {
      // The sockets of a glob need IDs of their own.
      const ownId = apiSocket === socket ? id : `${id}:${apiSocket}`;
      const instances = [{ snapshotId: ownId, ...imageOf(ref) }];
      listed.push({ id: ownId, apiSocket, source: "configured", instances });
    }
  }
  return listed;
}

function imageOf(ref: string): Pick<ListedInstance, "image" | "imageProblem"> {
  if (ref === "") return { imageProblem: "the snapshotter does not report the image" };
  try {
    return { image: parseImageReference(ref) };
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
  return {
    ...known,
    apiSocket,
    ...(olderSockets.length > 0 && { olderSockets }),
    instances: [...known.instances, ...more],
  };
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

const GLOB = /[*?[\]{}]/;
/** Matches per pattern; more are a mistake in the configuration. */
const MAX_MATCHES = 1_000;

/**
 * Returns the paths that match a glob, sorted. A path without wildcards is returned even if it does
 * not exist.
 */
export async function expandSocket(pattern: string, files: FileSystem): Promise<readonly string[]> {
  if (!GLOB.test(pattern)) return [pattern];
  const { minimatch } = await import("minimatch"); // large and rarely needed
  let found = ["/"];
  for (const segment of pattern.split("/").filter((part) => part !== "")) {
    const next: string[] = [];
    for (const folder of found) {
      if (!GLOB.test(segment)) next.push(join(folder, segment));
      else {
        const names = await files.list(folder).catch(() => []);
        next.push(...names.filter((name) => minimatch(name, segment)).map((n) => join(folder, n)));
      }
    }
    found = next.slice(0, MAX_MATCHES);
  }
  const existing: string[] = [];
  for (const path of found) {
    // A path that cannot be accessed counts as existing: the probe reports the reason.
    const stat = await files.stat(path).catch((error: unknown) => error);
    if (stat !== undefined) existing.push(path);
  }
  return existing.sort();
}

/**
 * Returns the folder to watch for the sockets of a glob, or the path itself without wildcards.
 * Undefined if that would be all folders below one as busy as `/run`: those are only polled.
 */
export function watchedPath(pattern: string): string | undefined {
  const segments = pattern.split("/").filter((part) => part !== "");
  const glob = segments.findIndex((segment) => GLOB.test(segment));
  if (glob < 0) return pattern;
  if (glob < 2 && glob < segments.length - 1) return undefined;
  return `/${segments.slice(0, glob).join("/")}`;
}
