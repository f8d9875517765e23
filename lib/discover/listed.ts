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
  /** The image in the source's own words. */
  readonly imageId?: string;
}

/** A daemon as a source names it, before it was asked. */
export interface ListedDaemon {
  readonly id: string;
  readonly pid?: number;
  readonly apiSocket: string;
  readonly source: DiscoverySource;
  /** It serves one mount, whose snapshot ID its file may not tell. */
  readonly dedicated?: boolean;
  readonly instances: readonly ListedInstance[];
  /** What the system API said of its mounts: the same again is the same object again. */
  readonly told?: SnapshotterDaemon["instances"];
}

/** Whether an id from outside may stand as one segment of a path. */
export function isSegment(id: string): boolean {
  return id !== "" && id !== "." && id !== ".." && id.length <= 255 && !/[/\0]/.test(id);
}

/**
 * What the system API lists; ids that are no single path segment are left out and told.
 *
 * @param before The last list: a daemon that is the same again is the same object again.
 */
export function listedBySystemApi(
  daemons: readonly SnapshotterDaemon[],
  before: readonly ListedDaemon[] = [],
): { readonly daemons: readonly ListedDaemon[]; readonly refused: readonly string[] } {
  const refused: string[] = [];
  const known = new Map(before.map((daemon) => [daemon.id, daemon]));
  const listed = daemons.flatMap(({ id, pid, apiSocket, instances }): ListedDaemon[] => {
    if (!isSegment(id) || !apiSocket.startsWith("/")) {
      refused.push(
        `daemon ${JSON.stringify(id.slice(0, 80))} has an id or a socket that is no name`,
      );
      return [];
    }
    const last = known.get(id);
    if (last !== undefined && last.apiSocket === apiSocket && (last.pid ?? 0) === pid) {
      if (last.told === instances) return [last];
      if (isSame(last.instances, instances)) return [{ ...last, told: instances }];
    }
    const named = instances.filter(({ snapshotId }) => {
      if (isSegment(snapshotId)) return true;
      refused.push(`daemon ${id} lists a snapshot whose id is no name`);
      return false;
    });
    return [{
      id,
      apiSocket,
      source: "system-api",
      ...(pid > 0 && { pid }),
      ...(named.length === instances.length && { told: instances }),
      instances: named.map(({ snapshotId, imageId }) => ({
        snapshotId,
        imageId,
        ...imageOf(imageId),
      })),
    }];
  });
  return { daemons: listed, refused };
}

/** Whether a daemon lists the same mounts as before; a list that had faults is read anew. */
function isSame(
  before: readonly ListedInstance[],
  now: SnapshotterDaemon["instances"],
): boolean {
  // A snapshotter names them in the order of their keys.
  return before.length === now.length &&
    now.every(({ snapshotId, imageId }, i) =>
      before[i]?.snapshotId === snapshotId && before[i]?.imageId === imageId
    );
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
 * One list out of several, by socket: the first that names a daemon wins, and takes in instances
 * that only a later one knows.
 */
export function mergeListed(lists: readonly (readonly ListedDaemon[])[]): readonly ListedDaemon[] {
  const merged = new Map<string, ListedDaemon>();
  for (const daemon of lists.flat()) {
    const known = merged.get(daemon.apiSocket);
    if (known === undefined) {
      merged.set(daemon.apiSocket, daemon);
      continue;
    }
    if (daemon.source === "configured") continue;
    // A dedicated daemon's one mount is known already, perhaps by another name.
    if (daemon.dedicated === true && known.instances.length > 0) continue;
    const ids = new Set(known.instances.map(({ snapshotId }) => snapshotId));
    const more = daemon.instances.filter(({ snapshotId }) => !ids.has(snapshotId));
    if (more.length === 0) continue;
    merged.set(daemon.apiSocket, { ...known, instances: [...known.instances, ...more] });
  }
  return [...merged.values()].sort((a, b) => a.id < b.id ? -1 : a.id > b.id ? 1 : 0);
}
