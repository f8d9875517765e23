import {
  type NydusdApi,
  type NydusdInfo,
  type NydusdMount,
  readRegistryBackend,
  Secret,
  type UnixHttp,
} from "../model/mod.ts";
import { peerResult, record, string } from "./peer.ts";

const KEY = ":registry_auth";

/**
 * nydusd's HTTP API (dragonflyoss/nydus `docs/nydusd.md`, `api/src/http_endpoint_v1.rs`; what it
 * really answers was seen on 2.4.4).
 */
export function createNydusdApi(
  http: UnixHttp,
  { timeoutMs = 1_500 }: { readonly timeoutMs?: number } = {},
): NydusdApi {
  const get = (socketPath: string, path: string, options: { readonly signal?: AbortSignal }) =>
    http.request({ socketPath, method: "GET", path, timeoutMs }, options);
  return {
    async info(socketPath, options = {}) {
      return peerResult(await get(socketPath, "/api/v1/daemon", options), readInfo);
    },
    async readAuths(socketPath, { mountId, ...options } = {}) {
      if (mountId === undefined) {
        return peerResult(await get(socketPath, "/api/v1/config", options), readAuths);
      }
      const path = `/api/v1/config?id=${encodeURIComponent(mountId)}`;
      return peerResult(await get(socketPath, path, options), (body) => readAuth(mountId, body));
    },
    async putAuth(socketPath, mountId, auth, options = {}) {
      if (auth.isEmpty) throw new TypeError("put registry_auth: an empty value would clear it");
      const path = `/api/v1/config?id=${encodeURIComponent(mountId)}`;
      // Alone: beside an unknown key nydusd answers 500, and may have stored it all the same.
      const body = new Secret(JSON.stringify({ registry_auth: auth.reveal() }));
      const request = { socketPath, method: "PUT" as const, path, body, timeoutMs };
      const result = peerResult(await http.request(request, options), () => true);
      return result.kind === "ok" ? { kind: "ok", value: undefined } : result;
    },
    async backendReads(socketPath, { mountId, ...options } = {}) {
      const query = mountId === undefined ? "" : `?id=${encodeURIComponent(mountId)}`;
      const path = `/api/v1/metrics/backend${query}`;
      return peerResult(await get(socketPath, path, options), readReads);
    },
  };
}

function readInfo(body: unknown): NydusdInfo | undefined {
  const daemon = record(body);
  const state = string(daemon?.["state"]);
  if (daemon === undefined || state === undefined) return undefined;
  const version = string(record(daemon["version"])?.["package_ver"]) ?? "";
  const collection = record(daemon["backend_collection"]) ?? {};
  const mounts = Object.entries(collection).map(([id, mount]) => readMount(id, mount));
  return { version, state, mounts };
}

function readMount(mountId: string, body: unknown): NydusdMount {
  const mount = record(body);
  const backend = record(record(mount?.["config"])?.["backend"]);
  const backendType = string(backend?.["type"]) ?? string(mount?.["backend_type"]) ?? "";
  // Version 2 of the configuration names its section after the type; version 1 calls it config.
  const registry = readRegistryBackend(backend?.["registry"] ?? backend?.["config"]);
  return { mountId, backendType, ...(registry !== undefined && { backend: registry }) };
}

function readAuths(body: unknown): ReadonlyMap<string, Secret> | undefined {
  const keys = record(body);
  if (keys === undefined) return undefined;
  const currentAuth = new Map<string, Secret>();
  for (const [key, value] of Object.entries(keys)) {
    if (!key.endsWith(KEY)) continue;
    if (typeof value !== "string") return undefined;
    currentAuth.set(key.slice(0, -KEY.length), new Secret(value));
  }
  return currentAuth;
}

/** One mount's keys; nothing for a mount that nothing was stored for, or that is not there. */
function readAuth(mountId: string, body: unknown): ReadonlyMap<string, Secret> | undefined {
  const keys = record(body);
  if (keys === undefined) return undefined;
  const value = keys["registry_auth"];
  if (value === undefined) return new Map();
  return typeof value === "string" ? new Map([[mountId, new Secret(value)]]) : undefined;
}

function readReads(body: unknown): { readonly reads: number; readonly errors: number } | undefined {
  const counters = record(body);
  const reads = counters?.["read_count"];
  const errors = counters?.["read_errors"];
  return typeof reads === "number" && typeof errors === "number" ? { reads, errors } : undefined;
}
