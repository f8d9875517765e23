import {
  type DiscoverySource,
  type ImageReference,
  messageOf,
  parseImageReference,
  type SnapshotterDaemon,
} from "../model/mod.ts";

/** A daemon that the operator lists: its socket (or a glob of sockets) and the image it serves. */
export interface ConfiguredSocket {
  readonly id: string;
  readonly socket: string;
  readonly ref: string;
}

/** A RAFS instance as a source names it, before its nydusd was asked. */
export interface ListedInstance {
  readonly snapshotId: string;
  readonly image?: ImageReference;
  readonly imageProblem?: string;
}

/** A daemon as a source names it, before it was asked. */
export interface ListedDaemon {
  readonly id: string;
  readonly pid?: number;
  readonly apiSocket: string;
  /** Sockets of the same daemon before its upgrades, newest first: used if `apiSocket` is dead. */
  readonly olderSockets?: readonly string[];
  readonly source: DiscoverySource;
  /** It serves one mount, whose snapshot ID its file may not tell. */
  readonly dedicated?: boolean;
  readonly instances: readonly ListedInstance[];
}

/** Whether an id from outside may stand as one segment of a path. */
export function isSegment(id: string): boolean {
  return id !== "" && id !== "." && id !== ".." && id.length <= 255 && !/[/\0]/.test(id);
}

/** What the system API lists, without the ids that are no single path segment, and those. */
export function listedBySystemApi(
  daemons: readonly SnapshotterDaemon[],
): { readonly daemons: readonly ListedDaemon[]; readonly refused: readonly string[] } {
  const refused: string[] = [];
  const listed = daemons.flatMap(({ id, pid, apiSocket, instances }): ListedDaemon[] => {
    if (!isSegment(id) || !apiSocket.startsWith("/")) {
      refused.push(
        `daemon ${JSON.stringify(id.slice(0, 80))} has an id or a socket that is no name`,
      );
      return [];
    }
    const valid = instances.filter(({ snapshotId }) => isSegment(snapshotId));
    for (let i = valid.length; i < instances.length; i++) {
      refused.push(`daemon ${id} lists a snapshot whose id is no name`);
    }
    return [{
      id,
      apiSocket,
      source: "system-api",
      ...(pid > 0 && { pid }),
      instances: valid.map(({ snapshotId, imageId }) => ({ snapshotId, ...imageOf(imageId) })),
    }];
  });
  return { daemons: listed, refused };
}

/** The daemon that an entry of `[[daemons]]` stands for at one socket. */
export function listedByHand({ id, ref }: ConfiguredSocket, socket: string): ListedDaemon {
  return {
    id,
    apiSocket: socket,
    source: "configured",
    instances: [{ snapshotId: id, ...imageOf(ref) }],
  };
}

/** A reference out of another program's words. */
export function imageOf(ref: string): Pick<ListedInstance, "image" | "imageProblem"> {
  if (ref === "") return { imageProblem: "the snapshotter does not say which image it serves" };
  try {
    return { image: parseImageReference(ref) };
  } catch (error) {
    return { imageProblem: messageOf(error) };
  }
}

/**
 * Merges the lists of several sources. A daemon is the same if it has the same id (the operator's
 * ids are names of their own) or a socket in common. The first source that lists a daemon wins, and
 * takes over sockets and instances that only a later one knows.
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
  const [apiSocket = known.apiSocket, ...olderSockets] = newestFirst([
    ...new Set([...socketsOf(known), ...socketsOf(other)]),
  ]);
  // A dedicated daemon's one mount is known already, perhaps under another id.
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
 * Sockets by the number of the upgrade in their names: `api.sock`, then `api1.sock`, `api2.sock`, …
 * (nydus-snapshotter's `buildNextAPISocket`). Other names come last.
 */
export function newestFirst(sockets: readonly string[]): readonly string[] {
  return sockets.toSorted((a, b) => upgradeOf(b) - upgradeOf(a));
}

/** How often a daemon was upgraded before it had this socket; -1 for a name of another kind. */
export function upgradeOf(socket: string): number {
  const match = /(?:^|\/)api(\d{0,9})\.sock$/.exec(socket);
  return match === null ? -1 : Number(match[1]);
}
