import type { SnapshotterApi, SnapshotterDaemon, UnixHttp } from "../model/mod.ts";
import { peerResult, record, string } from "./peer.ts";

/**
 * The snapshotter's system API (nydus-snapshotter `pkg/system/system.go`). While it answers, the
 * snapshotter asks every nydusd, and one that is stopped blocks it: the deadline is short. Its
 * `/daemons/<id>/backend` answers with the credential and is never called.
 */
export function createSnapshotterApi(
  http: UnixHttp,
  { timeoutMs = 2_000 }: { readonly timeoutMs?: number } = {},
): SnapshotterApi {
  return {
    async daemons(socketPath, options = {}) {
      const request = { socketPath, method: "GET" as const, path: "/api/v1/daemons", timeoutMs };
      return peerResult(await http.request(request, options), readDaemons);
    },
  };
}

function readDaemons(body: unknown): readonly SnapshotterDaemon[] | undefined {
  if (body === null) return []; // Go's empty list
  if (!Array.isArray(body)) return undefined;
  const daemons = body.map(readDaemon);
  return daemons.every((daemon) => daemon !== undefined) ? daemons : undefined;
}

function readDaemon(body: unknown): SnapshotterDaemon | undefined {
  const daemon = record(body);
  const id = string(daemon?.["id"]);
  const apiSocket = string(daemon?.["api_socket"]);
  if (daemon === undefined || id === undefined || apiSocket === undefined) return undefined;
  const { pid, instances } = daemon;
  return {
    id,
    apiSocket,
    pid: typeof pid === "number" ? pid : 0,
    instances: Object.entries(record(instances) ?? {}).map(([key, value]) => {
      const instance = record(value);
      return {
        snapshotId: string(instance?.["snapshot_id"]) ?? key,
        imageId: string(instance?.["image_id"]) ?? "",
      };
    }),
  };
}
