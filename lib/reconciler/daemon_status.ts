import {
  type Daemon,
  type DaemonStatus,
  defined,
  type InstanceKey,
  type InstanceStatus,
  type RafsInstance,
  tokenExpiryOf,
} from "../model/mod.ts";
import type { CredentialStore, StoreEntry } from "../credentials/mod.ts";
import type { Deliveries } from "./deliveries.ts";
import { decodeCurrentAuth, type InstanceRecord, recordKeyOf, storeKeyOf } from "./mounts.ts";

/** States in which a mount keeps the credential that nydusd has. */
const UNDELIVERABLE: readonly InstanceRecord["state"][] = [
  "refused",
  "unsupported",
  "file-only",
  "withheld",
];

/** What the status of daemons is derived from. */
interface StatusSources {
  readonly deliveries: Deliveries;
  readonly store: CredentialStore;
  readonly nowMs: number;
  readonly failingSinceMs: (key: InstanceKey) => number | undefined;
}

/** Returns the status of a daemon and its mounts. */
export function daemonStatus(daemon: Daemon, sources: StatusSources): DaemonStatus {
  const { id, apiSocket, source, state, pid, stateDetail, version, mode } = daemon;
  const instances = daemon.instances.map((instance) => instanceStatus(daemon, instance, sources));
  return defined({ id, pid, apiSocket, source, state, stateDetail, version, mode, instances });
}

function instanceStatus(
  daemon: Daemon,
  instance: RafsInstance,
  { deliveries, store, nowMs, failingSinceMs }: StatusSources,
): InstanceStatus {
  const { snapshotId, image, imageProblem, mountId, endpoint } = instance;
  const key = recordKeyOf(instance);
  const record = deliveries.records.get(key);
  const storeKey = storeKeyOf(instance);
  const entry = storeKey === undefined ? undefined : store.get(storeKey);
  return defined({
    snapshotId,
    image: image?.text,
    imageProblem,
    mountId,
    endpoint: endpoint?.target?.text,
    host: endpoint?.host,
    hostApprovedBy: endpoint?.hosts.find(({ role }) => role === "registry")?.approvedBy,
    unapprovedHosts: record.unapproved?.hosts,
    readsFailingSinceMs: failingSinceMs(key),
    delivery: deliveries.stateOf(daemon, record),
    provenReads: record.provenReads,
    deliveryDetail: record.detail,
    deliveredAtMs: record.deliveredAtMs,
    behindSinceMs: record.behindSinceMs,
    file: record.file?.kind,
    readsFailAtMs: readsFailAtMs(daemon, record, entry, nowMs),
  });
}

/**
 * Returns until when a mount can read if no source answers from now on: the expiry of the stored
 * credential if it can be delivered, else of the one in nydusd. Undefined if no expiry is known.
 */
export function readsFailAtMs(
  daemon: Daemon,
  { state, currentAuth }: InstanceRecord,
  entry: StoreEntry | undefined,
  nowMs: number,
): number | undefined {
  const stored = entry?.stored;
  if (stored === undefined) return undefined;
  const ours = stored.lifetime.expiresAtMs;
  const canDeliver = daemon.state === "running" && !UNDELIVERABLE.includes(state);
  // A nydusd without a configuration API does not report the credential that it started with.
  if (currentAuth === undefined || currentAuth.isEmpty) return canDeliver ? ours : undefined;
  if (stored.registryAuth?.equals(currentAuth)) return ours;
  const credential = decodeCurrentAuth(currentAuth);
  const theirs = credential && tokenExpiryOf(credential, nowMs).expiresAtMs;
  if (!canDeliver) return theirs;
  // A credential that expires later is not replaced.
  return ours === undefined || theirs === undefined ? ours : Math.max(ours, theirs);
}
