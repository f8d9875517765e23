import { type Daemon, type DaemonStatus, type InstanceKey, instanceKey } from "../model/mod.ts";
import type { CredentialStore } from "../store/mod.ts";
import type { Deliveries } from "./deliveries.ts";
import { entryOf, readsEnd } from "./outlook.ts";

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
      const namedBy = endpoint?.hosts.find(({ role }) => role === "registry")?.namedBy;
      const key = instanceKey(id, snapshotId);
      const record = deliveries.book.get(key);
      const failing = failingSinceMs(key);
      const end = readsEnd(daemon, record, entryOf(store, instance), nowMs);
      return {
        snapshotId,
        delivery: deliveries.stateOf(daemon, record),
        ...(record.provenReads !== undefined && { provenReads: record.provenReads }),
        ...(image && { image: image.text }),
        ...(imageProblem !== undefined && { imageProblem }),
        ...(mountId !== undefined && { mountId }),
        ...(endpoint && { host: endpoint.host }),
        ...(endpoint?.target && { endpoint: endpoint.target.text }),
        ...(namedBy !== undefined && { hostNamedBy: namedBy }),
        ...(record.unnamed && { unnamedHosts: record.unnamed.hosts }),
        ...(failing !== undefined && { readsFailingSinceMs: failing }),
        ...(record.detail !== undefined && { deliveryDetail: record.detail }),
        ...(record.deliveredAtMs !== undefined && { deliveredAtMs: record.deliveredAtMs }),
        ...(record.behindSinceMs !== undefined && { behindSinceMs: record.behindSinceMs }),
        ...(record.file && { file: record.file.kind }),
        ...(end !== undefined && { readsEndAtMs: end }),
      };
    }),
  };
}
