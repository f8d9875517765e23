import type { RawAnswer } from "./nydusd_http.ts";
import type { RawRequest } from "./nydusd_http.ts";
import {
  type Backend,
  isOlder,
  type Mount,
  readThrough,
  type SimMountSpec,
  type SimRead,
} from "./sim_read.ts";

/** Start parameters of a simulated nydusd, without credentials. */
export interface SimNydusdSpec {
  readonly id: string;
  /**
   * Determines when a new value is used: 2.4.0 has no configuration API, 2.4.1 uses it for the next
   * read, later versions after the next poll.
   */
  readonly version: string;
  /** Poll interval for new values from version 2.4.2 on; 5 s in real ones. */
  readonly pollMs: number;
  readonly apiSocket: string;
  readonly controlSocket: string;
  readonly mounts: readonly SimMountSpec[];
  /** Whether to ignore the credentials of the configuration files. */
  readonly startsEmpty?: boolean;
  /** File to which all received credentials are appended. */
  readonly putsPath?: string;
  /** Addresses of hosts that are not on loopback, as in `/etc/hosts`: name → host with port. */
  readonly hosts?: Readonly<Record<string, string>>;
}

/** A received credential. */
export interface SimPut {
  readonly mountId: string;
  /** Base64 of `user:password`. */
  readonly value: string;
}

const KEYS = ["registry_auth", "proxy_url", "dragonfly_scheduler_endpoint"];

/** The state of one nydusd and the responses of its API (as observed on nydusd 2.4.4). */
export class SimNydusd {
  readonly #spec: SimNydusdSpec;
  /** By `<mount>:<key>`, also for unknown mounts. */
  readonly #stored = new Map<string, string>();
  readonly #mounts = new Map<string, Mount>();
  readonly #onPut: (put: SimPut) => void;

  /** @param onPut Called for every received credential. */
  constructor(spec: SimNydusdSpec, onPut: (put: SimPut) => void = () => {}) {
    this.#spec = spec;
    this.#onPut = onPut;
  }

  /** Whether this version polls for new values. */
  get polls(): boolean {
    return this.#hasConfigApi && this.#spec.version !== "2.4.1";
  }

  get #hasConfigApi(): boolean {
    return this.#spec.version !== "2.4.0" && !isOlder(this.#spec.version);
  }

  /** Mounts an image. Without a credential in its configuration, the API has no key for the mount. */
  mount(spec: SimMountSpec, configText: string): void {
    const { auth = "", ...backend } = JSON.parse(configText).device.backend.config;
    const inUse = this.#spec.startsEmpty ? "" : auth;
    this.#mounts.set(spec.mountId, { spec, backend, inUse, reads: 0, errors: 0 });
    if (inUse !== "") this.#stored.set(`${spec.mountId}:registry_auth`, inUse);
  }

  /** Unmounts an image. The stored values of the mount are kept, as in nydusd. */
  unmount(mountId: string): void {
    this.#mounts.delete(mountId);
  }

  /** Applies the stored values. An empty value removes the credential. */
  poll(): void {
    for (const [mountId, mount] of this.#mounts) {
      mount.inUse = this.#stored.get(`${mountId}:registry_auth`) ?? mount.inUse;
    }
  }

  /** Reads a blob through every mount, with the credential that it uses. */
  async readAll(): Promise<readonly SimRead[]> {
    if (this.#spec.version === "2.4.1") this.poll();
    const { hosts = {}, version } = this.#spec;
    const reads = await Promise.all(
      [...this.#mounts.values()].map((mount) => readThrough(mount, { hosts, version })),
    );
    // After a 401, versions that poll apply the stored value immediately (observed).
    if (this.polls && reads.some(({ status }) => status === 401)) this.poll();
    return reads;
  }

  handle(request: RawRequest): RawAnswer {
    if (this.#spec.version.startsWith("3.")) {
      const isKnown = request.path === "/metrics" || request.path === "/trace";
      return isKnown ? { status: 200, body: "" } : NO_ROUTE;
    }
    switch (request.path) {
      case "/api/v1/daemon":
        return this.#daemon(request);
      case "/api/v1/config":
        return this.#hasConfigApi ? this.#config(request) : NO_ROUTE;
      case "/api/v1/metrics/backend":
        return this.#metrics(request);
      default:
        return NO_ROUTE;
    }
  }

  #daemon({ method, body }: RawRequest): RawAnswer {
    if (method === "GET" && body === "") return ok(this.#describe());
    if (method !== "PUT" || body === "") return BAD_REQUEST;
    return "log_level" in (stringMap(body) ?? {}) ? { status: 204 } : notParsed();
  }

  #config({ method, query, body }: RawRequest): RawAnswer {
    const id = query.get("id");
    if (method === "GET" && body === "") return ok(id === null ? this.#all() : this.#of(id));
    if (method !== "PUT" || body === "") return BAD_REQUEST;
    const values = stringMap(body);
    if (values === undefined) return notParsed();
    let unknown = false;
    for (const [key, value] of Object.entries(values)) {
      if (key === "registry_auth") this.#onPut({ mountId: id ?? "", value });
      if (KEYS.includes(key)) this.#stored.set(`${id ?? ""}:${key}`, value);
      else unknown = true;
    }
    return unknown ? failure(500, "Configure(ResponsePayloadType)") : { status: 204 };
  }

  #all(): Record<string, string> {
    return Object.fromEntries(this.#stored);
  }

  #of(id: string): Record<string, string> {
    const own = [...this.#stored].filter(([key]) => key.startsWith(`${id}:`));
    return Object.fromEntries(own.map(([key, value]) => [key.slice(id.length + 1), value]));
  }

  /** Returns the metrics of a mount; without an id, of the only mount. */
  #metrics({ method, query, body }: RawRequest): RawAnswer {
    if (method !== "GET" || body !== "") return BAD_REQUEST;
    const id = query.get("id");
    const only = this.#mounts.size === 1 ? [...this.#mounts.values()][0] : undefined;
    const mount = id === null ? only : this.#mounts.get(id);
    if (mount === undefined) return failure(404, "BackendMetrics(Metrics(Stats(NoCounter)))");
    return ok({
      backend_type: "registry",
      read_count: mount.reads,
      read_errors: mount.errors,
      read_amount_total: 0,
      read_cumulative_latency_millis_total: 0,
    });
  }

  #describe() {
    const mounts = [...this.#mounts].map(([mountId, { spec, backend }]) => [mountId, {
      backend_type: "Rafs",
      mountpoint: mountId,
      mounted_time: "2026-01-01 00:00:00.000000000 +00:00:00",
      config: {
        version: 2,
        id: `/${spec.snapshotId}`,
        backend: {
          type: "registry",
          localdisk: null,
          registry: { ...described(backend), auth: null, registry_token: null },
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

/** Returns the fields of a backend that nydusd reports, with its defaults. */
function described({ scheme = "https", host, repo, mirrors, proxy }: Backend) {
  return { scheme, host, repo, ...(mirrors && { mirrors }), ...(proxy && { proxy }) };
}

/** Parses a JSON object of strings. Returns undefined for other values. */
function stringMap(text: string): Record<string, string> | undefined {
  let value: unknown;
  try {
    value = JSON.parse(text);
  } catch {
    return undefined;
  }
  if (typeof value !== "object" || value === null || Array.isArray(value)) return undefined;
  if (Object.values(value).some((item) => typeof item !== "string")) return undefined;
  return value as Record<string, string>;
}

function ok(value: unknown): RawAnswer {
  return { status: 200, body: JSON.stringify(value) };
}

function failure(status: number, message: string): RawAnswer {
  return { status, body: JSON.stringify({ code: "UNDEFINED", message }) };
}

function notParsed(): RawAnswer {
  return failure(400, 'ParseBody(Error("invalid type", line: 1, column: 0))');
}

const NO_ROUTE = failure(404, "NoRoute");
const BAD_REQUEST = failure(400, "BadRequest");
