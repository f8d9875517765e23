import {
  type Daemon,
  type DaemonStatus,
  decodeRegistryAuth,
  type InstanceKey,
  instanceKey,
  type RafsInstance,
  type Secret,
  subjectKey,
  subjectOf,
  tokenExpiryOf,
} from "../model/mod.ts";
import type { CredentialStore, StoreEntry } from "../credentials/mod.ts";
import type { Deliveries } from "./deliveries.ts";
import type { InstanceRecord } from "./mount_records.ts";

/** Delivery to these has been tried, and what they hold is what they go on with. */
const UNDELIVERABLE: readonly InstanceRecord["state"][] = [
  "refused",
  "unsupported",
  "file-only",
  "withheld",
];

/** What `status` shows of a daemon and its mounts. */
export function daemonStatus(
  daemon: Daemon,
  deliveries: Deliveries,
  store: CredentialStore,
  nowMs: number,
  failingSinceMs: (key: InstanceKey) => number | undefined,
): DaemonStatus {
  const { id, apiSocket, source, state, pid, stateDetail, version, mode } = daemon;
  return {
    id,
    apiSocket,
    source,
    state,
    ...(pid !== undefined && { pid }),
    ...(stateDetail !== undefined && { stateDetail }),
    ...(version !== undefined && { version }),
    ...(mode !== undefined && { mode }),
    instances: daemon.instances.map((instance) => {
      const { snapshotId, image, imageProblem, mountId, endpoint } = instance;
      const approvedBy = endpoint?.hosts.find(({ role }) => role === "registry")?.approvedBy;
      const key = instanceKey(id, snapshotId);
      const record = deliveries.book.get(key);
      const failing = failingSinceMs(key);
      const end = readsFailAtMs(daemon, record, entryOf(store, instance), nowMs);
      return {
        snapshotId,
        delivery: deliveries.stateOf(daemon, record),
        ...(record.provenReads !== undefined && { provenReads: record.provenReads }),
        ...(image && { image: image.text }),
        ...(imageProblem !== undefined && { imageProblem }),
        ...(mountId !== undefined && { mountId }),
        ...(endpoint && { host: endpoint.host }),
        ...(endpoint?.target && { endpoint: endpoint.target.text }),
        ...(approvedBy !== undefined && { hostApprovedBy: approvedBy }),
        ...(record.unapproved && { unapprovedHosts: record.unapproved.hosts }),
        ...(failing !== undefined && { readsFailingSinceMs: failing }),
        ...(record.detail !== undefined && { deliveryDetail: record.detail }),
        ...(record.deliveredAtMs !== undefined && { deliveredAtMs: record.deliveredAtMs }),
        ...(record.behindSinceMs !== undefined && { behindSinceMs: record.behindSinceMs }),
        ...(record.file && { file: record.file.kind }),
        ...(end !== undefined && { readsFailAtMs: end }),
      };
    }),
  };
}

/**
 * Until when one mount can read if every source is silent from now on. What the store has counts
 * as far as nydusd can still be given it; else what nydusd holds. Undefined: no end is known.
 */
export function readsFailAtMs(
  daemon: Daemon,
  record: InstanceRecord,
  entry: StoreEntry | undefined,
  nowMs: number,
): number | undefined {
  const stored = entry?.stored;
  if (stored === undefined) return undefined;
  const ours = stored.lifetime.expiresAtMs;
  const { currentAuth } = record;
  const canDeliver = daemon.state === "running" && !UNDELIVERABLE.includes(record.state);
  // One without a configuration API goes on with what it began with, and does not say what.
  if (currentAuth === undefined || currentAuth.isEmpty) return canDeliver ? ours : undefined;
  if (stored.registryAuth?.equals(currentAuth)) return ours;
  const theirs = expiryOfCurrentAuth(currentAuth, nowMs);
  if (!canDeliver) return theirs;
  if (ours === undefined || theirs === undefined) return ours;
  return theirs > ours ? theirs : ours; // the younger of the two stays
}

/** What the store has for a mount. */
function entryOf(store: CredentialStore, instance: RafsInstance): StoreEntry | undefined {
  const subject = subjectOf(instance);
  return subject && store.get(subjectKey(subject));
}

function expiryOfCurrentAuth(currentAuth: Secret, nowMs: number): number | undefined {
  try {
    const credential = decodeRegistryAuth(currentAuth.reveal());
    if (credential === undefined) return undefined;
    return tokenExpiryOf(credential, nowMs).expiresAtMs;
  } catch {
    return undefined; // nydusd takes any text
  }
}
