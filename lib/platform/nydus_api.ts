import {
  fieldsOf,
  type NydusdApi,
  type NydusdInfo,
  type NydusdMount,
  type PeerResult,
  readRegistryBackend,
  Secret,
  type SnapshotterApi,
  type SnapshotterDaemon,
  type UnixHttp,
  type UnixHttpResult,
} from "../model/mod.ts";

const KEY = "registry_auth";

/**
 * Creates a client for the HTTP API of nydusd (dragonflyoss/nydus `docs/nydusd.md`,
 * `api/src/http_endpoint_v1.rs`). Undocumented behavior was observed on version 2.4.4.
 */
export function createNydusdApi(
  http: UnixHttp,
  { timeoutMs = 1_500 }: { readonly timeoutMs?: number } = {},
): NydusdApi {
  const get = (socketPath: string, path: string, options: { readonly signal?: AbortSignal }) =>
    http.request({ socketPath, method: "GET", path, timeoutMs }, options);
  return {
    async info(socketPath, options = {}) {
      const info = peerResult(await get(socketPath, "/api/v1/daemon", options), readInfo);
      if (info.kind !== "refused" || info.status !== 404) return info;
      const metrics = await get(socketPath, "/metrics", options);
      const isV3 = metrics.kind === "answered" && metrics.status === 200;
      return isV3 ? { kind: "ok", value: { version: "v3", state: "RUNNING", mounts: [] } } : info;
    },
    async readAuths(socketPath, { mountId, ...options } = {}) {
      const path = `/api/v1/config${queryOf(mountId)}`;
      return peerResult(await get(socketPath, path, options), (body) => readAuths(body, mountId));
    },
    async putAuth(socketPath, mountId, auth, options = {}) {
      if (auth.isEmpty) throw new TypeError("an empty registry_auth would clear the credential");
      const path = `/api/v1/config${queryOf(mountId)}`;
      // No other keys: for an unknown one nydusd responds with 500 although it stores the rest.
      const body = new Secret(JSON.stringify({ registry_auth: auth.reveal() }));
      const request = { socketPath, method: "PUT" as const, path, body, timeoutMs };
      const result = peerResult(await http.request(request, options), () => true);
      return result.kind === "ok" ? { kind: "ok", value: undefined } : result;
    },
    async backendReads(socketPath, { mountId, ...options } = {}) {
      const path = `/api/v1/metrics/backend${queryOf(mountId)}`;
      return peerResult(await get(socketPath, path, options), readReads);
    },
  };
}

function queryOf(mountId: string | undefined): string {
  return mountId === undefined ? "" : `?id=${encodeURIComponent(mountId)}`;
}

function readInfo(body: unknown): NydusdInfo | undefined {
  const daemon = fieldsOf(body);
  const state = string(daemon?.["state"]);
  if (daemon === undefined || state === undefined) return undefined;
  const version = string(fieldsOf(daemon["version"])?.["package_ver"]) ?? "";
  const collection = fieldsOf(daemon["backend_collection"]) ?? {};
  const mounts = Object.entries(collection).map(([id, mount]) => readMount(id, mount));
  return { version, state, mounts };
}

function readMount(mountId: string, body: unknown): NydusdMount {
  const mount = fieldsOf(body);
  const backend = fieldsOf(fieldsOf(mount?.["config"])?.["backend"]);
  const backendType = string(backend?.["type"]) ?? string(mount?.["backend_type"]) ?? "";
  // Version 2 of the configuration names the section after the type, version 1 `config`.
  const registry = readRegistryBackend(backend?.["registry"] ?? backend?.["config"]);
  return { mountId, backendType, ...(registry !== undefined && { backend: registry }) };
}

/** Reads the keys of all mounts, or of one. An unknown mount has none. */
function readAuths(body: unknown, mountId?: string): ReadonlyMap<string, Secret> | undefined {
  const keys = fieldsOf(body);
  if (keys === undefined) return undefined;
  const auths = new Map<string, Secret>();
  for (const [key, value] of Object.entries(keys)) {
    if (mountId === undefined ? !key.endsWith(`:${KEY}`) : key !== KEY) continue;
    if (typeof value !== "string") return undefined;
    auths.set(mountId ?? key.slice(0, -KEY.length - 1), new Secret(value));
  }
  return auths;
}

function readReads(body: unknown): { readonly reads: number; readonly errors: number } | undefined {
  const counters = fieldsOf(body);
  const reads = counters?.["read_count"];
  const errors = counters?.["read_errors"];
  return typeof reads === "number" && typeof errors === "number" ? { reads, errors } : undefined;
}

/**
 * Creates a client for the system API of nydus-snapshotter (`pkg/system/system.go`). The snapshotter
 * queries every nydusd for each response and a stopped nydusd blocks it, so the deadline is short.
 * The agent never calls `/daemons/<id>/backend`, which returns the credential.
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
  if (body === null) return []; // an empty slice of Go
  if (!Array.isArray(body)) return undefined;
  const daemons = body.map(readDaemon);
  return daemons.every((daemon) => daemon !== undefined) ? daemons : undefined;
}

function readDaemon(body: unknown): SnapshotterDaemon | undefined {
  const daemon = fieldsOf(body);
  const id = string(daemon?.["id"]);
  const apiSocket = string(daemon?.["api_socket"]);
  if (daemon === undefined || id === undefined || apiSocket === undefined) return undefined;
  const { pid, instances } = daemon;
  return {
    id,
    apiSocket,
    pid: typeof pid === "number" ? pid : 0,
    instances: Object.entries(fieldsOf(instances) ?? {}).map(([key, value]) => {
      const instance = fieldsOf(value);
      return {
        snapshotId: string(instance?.["snapshot_id"]) ?? key,
        imageId: string(instance?.["image_id"]) ?? "",
      };
    }),
  };
}

/** Parses a response with `read`, which returns undefined for unexpected content. */
function peerResult<T>(
  result: UnixHttpResult,
  read: (body: unknown) => T | undefined,
): PeerResult<T> {
  if (result.kind !== "answered") return result;
  if (result.status < 200 || result.status > 299) {
    // Without the body: nydusd echoes the request in errors.
    const detail = `it responded with status ${result.status}`;
    return { kind: "refused", status: result.status, detail };
  }
  let body: unknown;
  try {
    const text = result.body.reveal();
    body = text === "" ? undefined : JSON.parse(text);
  } catch {
    return { kind: "broken", detail: "the response is not JSON" };
  }
  const value = read(body);
  return value === undefined
    ? { kind: "broken", detail: "the response does not match this API" }
    : { kind: "ok", value };
}

/** Returns a string, or undefined for other values. */
function string(value: unknown): string | undefined {
  return typeof value === "string" ? value : undefined;
}
