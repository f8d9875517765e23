import type { Credential, Secret } from "./credential.ts";
import type { Endpoint, RegistryBackend } from "./endpoint.ts";
import type { ImageReference } from "./image_reference.ts";

/** Whether a nydusd serves one RAFS instance at `/`, or many at `/<snapshotID>`. */
export type DaemonMode = "dedicated" | "shared";

export const DISCOVERY_SOURCES = ["system-api", "root", "configured"] as const;
/** How a daemon was discovered. */
export type DiscoverySource = (typeof DISCOVERY_SOURCES)[number];

export const DAEMON_STATES = [
  ...["running", "starting", "terminating", "stopped"] as const,
  ...["unresponsive", "no-listener", "no-socket", "broken"] as const,
] as const;
/**
 * State of a daemon as of the last discovery. `starting`, `running`, `terminating`, `stopped`: as
 * reported by nydusd; `unresponsive`: the socket accepts connections but no response arrives in time
 * (the process is stopped by a signal, or busy); `no-listener`: the socket file exists but no
 * process listens; `no-socket`: there is no socket file; `broken`: the response is not nydusd's API.
 * Credentials are delivered only to daemons in state `running`.
 */
export type DaemonState = (typeof DAEMON_STATES)[number];

/** A mounted nydus file system, which serves one image. */
export interface RafsInstance {
  readonly snapshotId: string;
  /** Undefined if neither the snapshotter nor the configuration file has the image. */
  readonly image?: ImageReference;
  /** Why there is no `image`, for display. */
  readonly imageProblem?: string;
  /** The id to `PUT` to, from nydusd's `backend_collection`; undefined until nydusd reports it. */
  readonly mountId?: string;
  /** How nydusd connects to the registry of this mount, if known. */
  readonly backend?: RegistryBackend;
  /** Set if hosts other than the image's registry receive the credential. */
  readonly endpoint?: Endpoint;
  /** Path of this instance's configuration file, if there is a root folder. */
  readonly configPath?: string;
}

/** A nydusd with its API socket, as of the last discovery. */
export interface Daemon {
  readonly id: string;
  readonly pid?: number;
  readonly apiSocket: string;
  readonly source: DiscoverySource;
  readonly state: DaemonState;
  /** Detail of a state other than `running`. Never contains a response body. */
  readonly stateDetail?: string;
  readonly mode?: DaemonMode;
  readonly version?: string;
  /** Whether it has the configuration API; `unsupported` in nydusd up to 2.4.0. */
  readonly configApi: "supported" | "unsupported" | "unknown";
  /**
   * The credential currently configured for each mount, by mount id: nydusd's `registry_auth`, which
   * may be empty. Undefined if reading it failed.
   */
  readonly currentAuth?: ReadonlyMap<string, Secret>;
  readonly instances: readonly RafsInstance[];
}

/** The result of one discovery. */
export interface NodeView {
  readonly daemons: readonly Daemon[];
  /** Failures during discovery; `daemons` has those that were found nevertheless. */
  readonly problems: readonly DiscoveryProblem[];
}

/** A failure of a discovery source. */
export interface DiscoveryProblem {
  readonly source: DiscoverySource;
  /** The socket, folder or entry that failed. */
  readonly subject: string;
  readonly detail: string;
}

/** The snapshotter's drivers; they determine the format of a daemon's configuration file. */
export type FsDriver = "fusedev" | "fscache" | "blockdev" | "nodev" | "proxy";

export const DELIVERY_STATES = [
  ...["pending", "stored", "in-use", "proven", "file-only", "adopted"] as const,
  ...["refused", "unreachable", "unsupported", "withheld", "none"] as const,
] as const;
/**
 * Delivery state of a mount. `pending`: not attempted yet; `stored`: read back equal; `in-use`:
 * stored, and the activation delay of the nydusd version has passed; `proven`: reads since then had
 * no new errors; `file-only`: written to the configuration file, but this nydusd cannot be updated
 * while it runs; `adopted`: no source has a credential, so nydusd keeps its current one; `refused`:
 * nydusd returned an error; `unreachable`: nydusd did not respond; `unsupported`: this credential
 * cannot be delivered; `withheld`: an unapproved host would receive it, and the configuration
 * forbids that; `none`: neither a source nor nydusd has a credential.
 */
export type DeliveryState = (typeof DELIVERY_STATES)[number];

const SUCCESSFUL_DELIVERIES = ["delivered", "unchanged"] as const;
const INCOMPLETE_DELIVERIES = ["file-only", "rejected", "unreachable", "unsupported"] as const;
export const DELIVERY_RESULTS = [...SUCCESSFUL_DELIVERIES, ...INCOMPLETE_DELIVERIES] as const;
/** Outcome of one attempt to deliver to a mount. */
export type DeliveryOutcome =
  | { readonly kind: (typeof SUCCESSFUL_DELIVERIES)[number]; readonly file: FileOutcome }
  | {
    readonly kind: (typeof INCOMPLETE_DELIVERIES)[number];
    readonly file: FileOutcome;
    readonly detail: string;
  };

/** What happened to the configuration file of the daemon. */
export type FileOutcome =
  | { readonly kind: "written" | "unchanged" | "absent" | "secret-free" | "skipped" }
  | { readonly kind: "failed"; readonly detail: string };

/** A credential to deliver to a mount. */
export interface DeliveryRequest {
  readonly daemon: Daemon;
  readonly instance: RafsInstance;
  readonly credential: Credential;
}
