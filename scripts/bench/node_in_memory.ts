import {
  type FileStat,
  type FileSystem,
  Secret,
  type UnixHttp,
  type UnixHttpRequest,
  type UnixHttpResult,
} from "../../lib/model/mod.ts";

/** How big a node is. */
export interface NodeSize {
  readonly daemons: number;
  readonly refs: number;
  /** How many registries the images are spread over. */
  readonly registries?: number;
}

interface MemoryDaemon {
  readonly id: string;
  /** Mount id → what it holds. */
  readonly currentAuth: Map<string, string>;
  /** The answer to "what do you hold", made anew after a change. */
  heldText: string | undefined;
  readonly infoText: string;
}

export const SYSTEM_SOCKET = "/run/bench/system.sock";
const ROOT = "/run/bench/root";

/**
 * A node whose nydusd and whose snapshotter answer out of memory, as JSON text and one turn of the
 * event loop later: everything of the agent runs, and nothing but the agent is measured.
 */
export class NodeInMemory implements UnixHttp {
  readonly root = ROOT;
  /** Requests by what they ask for. */
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

  /** The mounts of a daemon from now on, by number: other numbers are other images. */
  remount(d: number, numbers: readonly number[], currentAuth: string): void {
    const instances = numbers.map((i) => [`s${i}`, this.#image(i)] as const);
    const socket = `${ROOT}/socket/d${d}/api.sock`;
    this.#daemons.set(socket, daemonOf(`d${d}`, instances, currentAuth));
    this.#listed[d] = listedDaemon(`d${d}`, socket, d + 1, instances);
  }

  /** How many mounts there are. */
  get mounts(): number {
    return [...this.#daemons.values()].reduce((sum, { currentAuth }) => sum + currentAuth.size, 0);
  }

  #image(i: number): string {
    return `registry-${i % this.#registries}.example.com/team-${i % 50}/app-${i}:v1`;
  }

  /** How many mounts hold this value. */
  holding(auth: string): number {
    let count = 0;
    for (const { currentAuth } of this.#daemons.values()) {
      for (const value of currentAuth.values()) if (value === auth) count++;
    }
    return count;
  }

  async request(request: UnixHttpRequest): Promise<UnixHttpResult> {
    await new Promise<void>((resolve) => setImmediate(resolve));
    return this.#answer(request);
  }

  [Symbol.dispose](): void {}

  /** Sockets are there, and nothing else is. */
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

  #answer({ socketPath, method, path, body }: UnixHttpRequest): UnixHttpResult {
    if (socketPath === SYSTEM_SOCKET) {
      this.calls.list++;
      return answered(listText(this.#listed, this.calls.list));
    }
    const daemon = this.#daemons.get(socketPath);
    if (daemon === undefined) return { kind: "no-socket" };
    const [route = "", query] = path.split("?");
    if (route === "/api/v1/daemon") {
      this.calls.info++;
      return answered(daemon.infoText);
    }
    if (route === "/api/v1/metrics/backend") {
      this.calls.reads++;
      return answered('{"backend_type":"registry","read_count":1,"read_errors":0}');
    }
    const id = new URLSearchParams(query).get("id") ?? "";
    if (method === "PUT" && body !== undefined) {
      this.calls.put++;
      daemon.currentAuth.set(id, JSON.parse(body.reveal()).registry_auth);
      daemon.heldText = undefined;
      return { kind: "answered", status: 204, body: new Secret("") };
    }
    this.calls.currentAuth++;
    if (id !== "") return answered(JSON.stringify({ registry_auth: daemon.currentAuth.get(id) }));
    return answered(daemon.heldText ??= heldText(daemon.currentAuth));
  }
}

function answered(text: string): UnixHttpResult {
  return { kind: "answered", status: 200, body: new Secret(text) };
}

/** As a snapshotter's: in no order, and with figures that are never the same. */
function listText(daemons: readonly { readonly text: string }[], turn: number): string {
  const from = turn * 7 % daemons.length;
  const turned = [...daemons.slice(from), ...daemons.slice(0, from)];
  return `[${turned.map(({ text }) => `{"memory_rss_kb":${20_000 + turn},${text}`).join(",")}]`;
}

function heldText(currentAuth: ReadonlyMap<string, string>): string {
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
    heldText: undefined,
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
