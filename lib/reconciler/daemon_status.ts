import {
  type Daemon,
  type DaemonStatus,
  defined,
  type DeliveryState,
  type InstanceStatus,
  type RafsInstance,
  tokenExpiryOf,
} from "../model/mod.ts";
import type { StoreEntry } from "../credentials/mod.ts";
import type { ReconcilerContext } from "./context.ts";
import { decodeCurrentAuth, type InstanceRecord, recordKeyOf, storeKeyOf } from "./mounts.ts";
import type { ReadMonitor } from "./reads.ts";

/** States in which a mount keeps the credential that nydusd has. */
const UNDELIVERABLE: readonly InstanceRecord["state"][] = [
  "refused",
  "unsupported",
  "file-only",
  "withheld",
];

/** Returns the status of a daemon and its mounts. */
export function daemonStatus(
  daemon: Daemon,
  context: ReconcilerContext,
  reads: ReadMonitor,
): DaemonStatus {
  const { id, apiSocket, source, state, pid, stateDetail, version, mode } = daemon;
  const instances = daemon.instances.map((instance) =>
    instanceStatus(daemon, instance, context, reads)
  );
  return defined({ id, pid, apiSocket, source, state, stateDetail, version, mode, instances });
}

function instanceStatus(
  daemon: Daemon,
  instance: RafsInstance,
  { records, store, clock, inUseDelayMs }: ReconcilerContext,
  reads: ReadMonitor,
): InstanceStatus {
  const { snapshotId, image, imageProblem, mountId, endpoint } = instance;
  const key = recordKeyOf(instance);
  const record = records.get(key);
  const nowMs = clock.wallMs();
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
    readsFailingSinceMs: reads.failingSinceMs(key),
    delivery: stateOf(record, nowMs, inUseDelayMs(daemon.version ?? "")),
    provenReads: record.provenReads,
    deliveryDetail: record.detail,
    deliveredAtMs: record.deliveredAtMs,
    behindSinceMs: record.behindSinceMs,
    file: record.file?.kind,
    readsFailAtMs: readsFailAtMs(daemon, record, entry, nowMs),
  });
}

/** Returns the state of a record; `stored` becomes `in-use` when the delay of nydusd is over. */
function stateOf(
  { state, storedAtMs, proven }: InstanceRecord,
  nowMs: number,
  delayMs = Infinity,
): DeliveryState {
  if (state !== "stored" || storedAtMs === undefined) return state;
  if (nowMs - storedAtMs < delayMs) return "stored";
  return proven === true ? "proven" : "in-use";
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
