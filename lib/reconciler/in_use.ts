import { type Credential, decodeRegistryAuth, instanceKey } from "../model/mod.ts";
import type { InstanceRecord, MountRecords } from "./mount_records.ts";
import type { Mount } from "./mounts.ts";

/** What the mounts of an image do at this moment. */
export interface MountsInUse {
  /** What the first of them holds that holds anything. */
  readonly currentAuth?: Credential;
  /** Reads of one of them succeed with what it should hold. */
  readonly proven: boolean;
}

/** Looks at the mounts of one subject. */
export function mountsInUse(mounts: readonly Mount[], book: MountRecords): MountsInUse {
  const records = mounts.filter(({ daemon }) => daemon.state === "running")
    .map(({ daemon, instance }) => book.get(instanceKey(daemon.id, instance.snapshotId)));
  const currentAuth = records.map(decoded).find((credential) => credential !== undefined);
  const proven = records.some(({ state, proven }) =>
    (state === "stored" || state === "adopted") && proven === true
  );
  return { proven, ...(currentAuth !== undefined && { currentAuth }) };
}

function decoded({ currentAuth }: InstanceRecord): Credential | undefined {
  try {
    return currentAuth && decodeRegistryAuth(currentAuth.reveal());
  } catch {
    return undefined; // nydusd takes any text
  }
}
