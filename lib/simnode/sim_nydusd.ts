import type { RawAnswer, RawRequest } from "./raw_http.ts";

/** What a simulated nydusd is told when it starts; never a credential. */
export interface SimNydusdSpec {
  readonly id: string;
  readonly version: string;
  /** How often versions from 2.4.2 on look for a new value; the real ones every 5 s. */
  readonly pollMs: number;
  readonly apiSocket: string;
  readonly controlSocket: string;
  readonly mounts: readonly SimMountSpec[];
}

/** One mount of a simulated nydusd. */
export interface SimMountSpec {
  /** `/` or `/<snapshotID>`. */
  readonly mountId: string;
  readonly snapshotId: string;
  readonly configPath: string;
  /** Digest of the blob that its reads ask for. */
  readonly blob: string;
}

/** What one read through a mount came to. */
export interface SimRead {
  readonly mountId: string;
  readonly snapshotId: string;
  readonly ok: boolean;
  /** The registry's status; 0 when it was not reached. */
  readonly status: number;
}

interface Mount {
  readonly spec: SimMountSpec;
  readonly host: string;
  readonly repo: string;
  /** What the backend really uses, which lags behind what is stored. */
  inUse: string;
}

const KEYS = ["registry_auth", "proxy_url", "dragonfly_scheduler_endpoint"];

/** The state of one nydusd, and its API's answers (as seen on nydusd 2.4.4). */
export class SimNydusd {
  readonly #spec: SimNydusdSpec;
  readonly #stored = new Map<string, string>();
  readonly #mounts = new Map<string, Mount>();
  #reads = 0;
  #errors = 0;

  constructor(spec: SimNydusdSpec, readText: (path: string) => string) {
    this.#spec = spec;
    for (const mount of spec.mounts) this.mount(mount, readText(mount.configPath));
  }

  /** Mounts an image: what its configuration file holds is what is used at first. */
  mount(spec: SimMountSpec, configText: string): void {
    const { host, repo, auth = "" } = JSON.parse(configText).device.backend.config;
    this.#mounts.set(spec.mountId, { spec, host, repo, inUse: auth });
    if (auth !== "") this.#stored.set(`${spec.mountId}:registry_auth`, auth);
  }

  unmount(mountId: string): void {
    this.#mounts.delete(mountId);
  }

  /** What the backend's thread does now and then in versions from 2.4.2 on. */
  poll(): void {
    for (const [mountId, mount] of this.#mounts) {
      mount.inUse = this.#stored.get(`${mountId}:registry_auth`) ?? mount.inUse;
    }
  }

  /** Reads a blob through every mount, with the credential that is in use. */
  async readAll(): Promise<readonly SimRead[]> {
    if (this.#spec.version === "2.4.1") this.poll();
    return await Promise.all([...this.#mounts.values()].map((mount) => this.#read(mount)));
  }

  async #read({ spec, host, repo, inUse }: Mount): Promise<SimRead> {
    let status = 0;
    try {
      const response = await fetch(`http://${host}/v2/${repo}/blobs/${spec.blob}`, {
        headers: inUse === "" ? {} : { authorization: `Basic ${inUse}` },
        signal: AbortSignal.timeout(5_000),
      });
      await response.body?.cancel();
      status = response.status;
    } catch {
      // Not reached: an error like any other.
    }
    this.#reads++;
    if (status !== 200) this.#errors++;
    const { mountId, snapshotId } = spec;
    return { mountId, snapshotId, status, ok: status === 200 };
  }

  handle(request: RawRequest): RawAnswer {
    switch (request.path) {
      case "/api/v1/daemon":
        return { status: 200, body: JSON.stringify(this.#describe()) };
      case "/api/v1/config":
        return this.#spec.version === "2.4.0" ? notFound() : this.#config(request);
      case "/api/v1/metrics/backend":
        return this.#metrics(request);
      default:
        return notFound();
    }
  }

  #config({ method, query, body }: RawRequest): RawAnswer {
    const id = query.get("id");
    if (method === "GET") {
      return { status: 200, body: JSON.stringify(id === null ? this.#all() : this.#of(id)) };
    }
    if (method !== "PUT") return badRequest();
    let values: unknown;
    try {
      values = JSON.parse(body);
    } catch {
      return badRequest();
    }
    if (typeof values !== "object" || values === null || Array.isArray(values)) return badRequest();
    if (Object.values(values).some((value) => typeof value !== "string")) return badRequest();
    let unknown = false;
    for (const [key, value] of Object.entries(values)) {
      if (KEYS.includes(key)) this.#stored.set(`${id ?? ""}:${key}`, value);
      else unknown = true;
    }
    return unknown ? { status: 500, body: '{"error":"unknown key"}' } : { status: 204 };
  }

  #all(): Record<string, string> {
    return Object.fromEntries(this.#stored);
  }

  #of(id: string): Record<string, string> {
    const own = [...this.#stored].filter(([key]) => key.startsWith(`${id}:`));
    return Object.fromEntries(own.map(([key, value]) => [key.slice(id.length + 1), value]));
  }

  #metrics({ query }: RawRequest): RawAnswer {
    const id = query.get("id");
    if (id !== null && !this.#mounts.has(id)) {
      return { status: 404, body: '{"error":"Stats(NoCounter)"}' };
    }
    return {
      status: 200,
      body: JSON.stringify({
        backend_type: "registry",
        read_count: this.#reads,
        read_errors: this.#errors,
      }),
    };
  }

  #describe() {
    const mounts = [...this.#mounts].map(([mountId, { spec, host, repo }]) => [mountId, {
      backend_type: "Rafs",
      mountpoint: mountId,
      mounted_time: "2026-01-01 00:00:00 +00:00:00",
      config: {
        version: 2,
        id: `/${spec.snapshotId}`,
        backend: {
          type: "registry",
          registry: { scheme: "http", host, repo, auth: null, registry_token: null },
        },
      },
    }]);
    return {
      version: { package_ver: `v${this.#spec.version}`, git_commit: "", profile: "release" },
      id: null,
      supervisor: null,
      state: "RUNNING",
      backend_collection: Object.fromEntries(mounts),
    };
  }
}

function notFound(): RawAnswer {
  return { status: 404, body: '{"error":"not found"}' };
}

function badRequest(): RawAnswer {
  return { status: 400, body: '{"error":"bad request"}' };
}
