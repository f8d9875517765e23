import type { SnapshotterApi, UnixHttp } from "../model/mod.ts";
import { DaemonListReader } from "./daemon_list.ts";

/**
 * The snapshotter's system API (nydus-snapshotter `pkg/system/system.go`). While it answers, the
 * snapshotter asks every nydusd, and one that is stopped blocks it: the deadline is short. Its
 * `/daemons/<id>/backend` answers with the credential and is never called.
 */
export function createSnapshotterApi(
  http: UnixHttp,
  { timeoutMs = 2_000 }: { readonly timeoutMs?: number } = {},
): SnapshotterApi {
  const lists = new DaemonListReader();
  return {
    async daemons(socketPath, { before, ...options } = {}) {
      const request = { socketPath, method: "GET" as const, path: "/api/v1/daemons", timeoutMs };
      return lists.read(await http.request(request, options), before);
    },
  };
}
