import {
  type FileStat,
  type FileSystem,
  Secret,
  type UnixHttp,
  type UnixHttpRequest,
  type UnixHttpResult,
} from "../../lib/model/mod.ts";

/** The size of a node. */
export interface NodeSize {
  readonly daemons: number;
  readonly refs: number;
  /** Number of registries that serve the images. */
  readonly registries?: number;
}

interface MemoryDaemon {
  readonly id: string;
  /** Mount id → currently configured credential. */
  readonly currentAuth: Map<string, string>;
  /** Cached response with all credentials; cleared by a change. */
  authText: string | undefined;
  readonly infoText: string;
}

export const SYSTEM_SOCKET = "/run/bench/system.sock";
const ROOT = "/run/bench/root";

/**
 * A node whose nydusd and snapshotter respond from memory with JSON text, one event loop iteration
 * later. The whole agent runs, and only the agent is measured.
 */
export class NodeInMemory implements UnixHttp {
  readonly root = ROOT;
  /** Number of requests by kind. */
  readonly calls = { list: 0, currentAuth: 0, info: 0, put: 0, reads: 0 };
  readonly #daemons = new Map<string, MemoryDaemon>();
  readonly #listed: ReturnType<typeof listedDaemon>[] = [];
  readonly #registries: number;

  constructor({ daemons, refs, registries = 4 }: NodeSize, currentAuth: string) {
    this.#registries = registries;
    for (let d = 0; d < daemons; d++) {
      const numbers: number[] = [];
      for (let i = d; i < refs; i += daemons) numbers.push(i);
      this.remount(d, numbers, currentAuth);
    }
  }

  /** Replaces the mounts of a daemon. Each number is a different image. */
  remount(d: number, numbers: readonly number[], currentAuth: string): void {
    const instances = numbers.map((i) => [`s${i}`, this.#image(i)] as const);
    const socket = `${ROOT}/socket/d${d}/api.sock`;
    this.#daemons.set(socket, daemonOf(`d${d}`, instances, currentAuth));
    this.#listed[d] = listedDaemon(`d${d}`, socket, d + 1, instances);
  }

  /** Number of mounts. */
  get mounts(): number {
    return [...this.#daemons.values()].reduce((sum, { currentAuth }) => sum + currentAuth.size, 0);
  }

  #image(i: number): string {
    return `registry-${i % this.#registries}.example.com/team-${i % 50}/app-${i}:v1`;
  }

  /** Returns the number of mounts with this credential. */
  countWithAuth(auth: string): number {
    let count = 0;
    for (const { currentAuth } of this.#daemons.values()) {
      for (const value of currentAuth.values()) if (value === auth) count++;
    }
    return count;
  }

  async request(request: UnixHttpRequest): Promise<UnixHttpResult> {
    await new Promise<void>((resolve) => setImmediate(resolve));
    return this.#respond(request);
  }

  [Symbol.dispose](): void {}

  /** Returns a file system in which only sockets exist. */
  files(): FileSystem {
    const socket: FileStat = { kind: "socket", stamp: "1", size: 0, mode: 0o600, uid: 0, gid: 0 };
    return {
      readText: () => Promise.resolve(undefined),
      stat: (path) => Promise.resolve(path.endsWith(".sock") ? socket : undefined),
      list: () => Promise.resolve([]),
      writeAtomic: () => Promise.resolve(),
      watch: () => ({ [Symbol.dispose]() {} }),
    };
  }

  #respond({ socketPath, method, path, body }: UnixHttpRequest): UnixHttpResult {
    if (socketPath === SYSTEM_SOCKET) {
      this.calls.list++;
      return response(listText(this.#listed, this.calls.list));
    }
    const daemon = this.#daemons.get(socketPath);
    if (daemon === undefined) return { kind: "no-socket" };
    const [route = "", query] = path.split("?");
    if (route === "/api/v1/daemon") {
      this.calls.info++;
      return response(daemon.infoText);
    }
    if (route === "/api/v1/metrics/backend") {
      this.calls.reads++;
      return response('{"backend_type":"registry","read_count":1,"read_errors":0}');
    }
    const id = new URLSearchParams(query).get("id") ?? "";
    if (method === "PUT" && body !== undefined) {
      this.calls.put++;
      daemon.currentAuth.set(id, JSON.parse(body.reveal()).registry_auth);
      daemon.authText = undefined;
      return { kind: "answered", status: 204, body: new Secret("") };
    }
    this.calls.currentAuth++;
    if (id !== "") return response(JSON.stringify({ registry_auth: daemon.currentAuth.get(id) }));
    return response(daemon.authText ??= authText(daemon.currentAuth));
  }
}

function response(text: string): UnixHttpResult {
  return { kind: "answered", status: 200, body: new Secret(text) };
}

/** Returns a list like the snapshotter's: unordered, with figures that always change. */
function listText(daemons: readonly { readonly text: string }[], call: number): string {
  const from = call * 7 % daemons.length;
  const rotated = [...daemons.slice(from), ...daemons.slice(0, from)];
  return `[${rotated.map(({ text }) => `{"memory_rss_kb":${20_000 + call},${text}`).join(",")}]`;
}

function authText(currentAuth: ReadonlyMap<string, string>): string {
  return JSON.stringify(
    Object.fromEntries([...currentAuth].map(([id, auth]) => [`${id}:registry_auth`, auth])),
  );
}

function daemonOf(
  id: string,
  instances: readonly (readonly [string, string])[],
  currentAuth: string,
): MemoryDaemon {
  const mounts = instances.map(([snapshot, image]) => {
    const [host = "", ...repo] = image.replace(/:[^:/]*$/, "").split("/");
    const backend = { type: "registry", registry: { scheme: "https", host, repo: repo.join("/") } };
    return [`/${snapshot}`, { backend_type: "Rafs", config: { backend } }] as const;
  });
  const info = {
    id: null,
    version: { package_ver: "v2.4.4" },
    state: "RUNNING",
    backend_collection: Object.fromEntries(mounts),
  };
  return {
    id,
    currentAuth: new Map(instances.map(([snapshot]) => [`/${snapshot}`, currentAuth])),
    authText: undefined,
    infoText: JSON.stringify(info),
  };
}

function listedDaemon(
  id: string,
  socket: string,
  pid: number,
  instances: readonly (readonly [string, string])[],
) {
  const mounts = instances.map(([snapshot, image]) => [snapshot, {
    snapshot_id: snapshot,
    snapshot_dir: `${ROOT}/snapshots/${snapshot}`,
    mountpoint: `${ROOT}/mnt/${snapshot}`,
    image_id: image,
  }]);
  const daemon = { id, pid, api_socket: socket, instances: Object.fromEntries(mounts) };
  return { text: JSON.stringify(daemon).slice(1) };
}
