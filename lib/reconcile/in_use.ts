import {
  type Credential,
  type Daemon,
  decodeRegistryAuth,
  type ImageReference,
  instanceKey,
} from "../model/mod.ts";
import type { InstanceBook, InstanceRecord } from "./instance_book.ts";

/** What the mounts of an image do at this moment. */
export interface MountsInUse {
  /** What the first of them holds that holds anything. */
  readonly held?: Credential;
  /** Reads of one of them succeed with what it should hold. */
  readonly proven: boolean;
}

/** Looks at the mounts of an image. */
export function mountsInUse(
  image: ImageReference,
  daemons: readonly Daemon[],
  book: InstanceBook,
): MountsInUse {
  const records = daemons.flatMap(({ id, state, instances }) =>
    instances.filter((instance) => state === "running" && instance.image?.text === image.text)
      .map(({ snapshotId }) => book.get(instanceKey(id, snapshotId)))
  );
  const held = records.map(decoded).find((credential) => credential !== undefined);
  const proven = records.some(({ state, proven }) =>
    (state === "stored" || state === "adopted") && proven === true
  );
  return { proven, ...(held !== undefined && { held }) };
}

function decoded({ held }: InstanceRecord): Credential | undefined {
  try {
    return held && decodeRegistryAuth(held.reveal());
  } catch {
    return undefined; // nydusd takes any text
  }
}
