import type { Credential } from "./credential.ts";
import type { Endpoint } from "./endpoint.ts";
import type { ImageReference } from "./image_reference.ts";
import type { RegistryBackend } from "./registry_backend.ts";
import type { Secret } from "./secret.ts";

/** How a nydusd serves: one RAFS instance at `/`, or many at `/<snapshotID>`. */
export type DaemonMode = "dedicated" | "shared";

/** Which of the three ways of discovery named a daemon. */
export type DiscoverySource = "system-api" | "root" | "configured";

/**
 * What a look at a daemon found. Only `running` counts; the others are ordinary and have names.
 * `starting`, `dying`, `stopped`: nydusd says so itself; `unresponsive`: its socket takes
 * connections but no answer comes in time (stopped by a signal, or busy); `no-listener`: the socket
 * file outlived its process; `no-socket`: there is no socket file (yet, or any more); `broken`: it
 * answers something that is not nydusd's API.
 */
export type DaemonState =
  | "running"
  | "starting"
  | "dying"
  | "stopped"
  | "unresponsive"
  | "no-listener"
  | "no-socket"
  | "broken";

/** Names one delivery target for its whole life: a RAFS instance in a daemon. */
export type InstanceKey = `${string}/${string}`;

/** The key of a RAFS instance. */
export function instanceKey(daemonId: string, snapshotId: string): InstanceKey {
  return `${daemonId}/${snapshotId}`;
}

/** One mounted nydus filesystem, serving one image. */
export interface RafsInstance {
  readonly daemonId: string;
  readonly snapshotId: string;
  /** Undefined when neither the snapshotter nor the configuration file tells the image. */
  readonly image?: ImageReference;
  /** Why there is no `image`, for people. */
  readonly imageProblem?: string;
  /** The id to `PUT` to, out of nydusd's own `backend_collection`; undefined until it told. */
  readonly mountId?: string;
  /** How nydusd reaches the registry of this mount, where known. */
  readonly backend?: RegistryBackend;
  /** Set where nydusd's credential goes elsewhere than to the image's own registry. */
  readonly endpoint?: Endpoint;
  /** Where the daemon's configuration file of this instance is, when there is a root folder. */
  readonly configPath?: string;
}

/** One nydusd with one API socket, as the last look found it. */
export interface Daemon {
  readonly id: string;
  readonly pid?: number;
  readonly apiSocket: string;
  readonly source: DiscoverySource;
  readonly state: DaemonState;
  /** More words about a state other than `running`. Never a body of nydusd's. */
  readonly stateDetail?: string;
  readonly mode?: DaemonMode;
  readonly version?: string;
  /** Whether its configuration API answered: `unsupported` is nydusd 2.4.0 and before. */
  readonly configApi: "supported" | "unsupported" | "unknown";
  /**
   * What each mount holds, by mount id: nydusd's `registry_auth` as it is, perhaps empty.
   * Undefined when the daemon could not be asked.
   */
  readonly currentAuth?: ReadonlyMap<string, Secret>;
  readonly instances: readonly RafsInstance[];
}

/** One look at the node. */
export interface NodeView {
  readonly daemons: readonly Daemon[];
  /** What went wrong on the way, for people; the daemons that were found are here all the same. */
  readonly problems: readonly DiscoveryProblem[];
}

/** A source of discovery that did not answer as it should. */
export interface DiscoveryProblem {
  readonly source: DiscoverySource;
  /** The socket, folder or entry. */
  readonly subject: string;
  readonly detail: string;
}

/** The snapshotter's drivers; they decide the shape of a daemon's configuration file. */
export type FsDriver = "fusedev" | "fscache" | "blockdev" | "nodev" | "proxy";

/**
 * Where one mount stands. `pending`: not tried yet; `stored`: read back equal; `in-use`: stored and
 * the version's delay has passed; `proven`: reads since then without new errors; `file-only`: the
 * configuration file has it and nydusd cannot be told while it runs; `adopted`: no source has a
 * credential, the one held stays; `refused`: nydusd answered with an error; `unreachable`: nydusd
 * did not answer; `unsupported`: this credential cannot be delivered; `withheld`: nydusd would show
 * it to a host that nobody named, and the configuration forbids that; `none`: no source has a
 * credential and nydusd holds none (a public image, or trouble).
 */
export type DeliveryState =
  | "pending"
  | "stored"
  | "in-use"
  | "proven"
  | "file-only"
  | "adopted"
  | "refused"
  | "unreachable"
  | "unsupported"
  | "withheld"
  | "none";

/** The outcome of one attempt to deliver to one mount. */
export type DeliveryOutcome =
  | { readonly kind: "delivered"; readonly file: FileOutcome }
  | { readonly kind: "unchanged"; readonly file: FileOutcome }
  | { readonly kind: "file-only"; readonly file: FileOutcome; readonly detail: string }
  | { readonly kind: "rejected"; readonly file: FileOutcome; readonly detail: string }
  | { readonly kind: "unreachable"; readonly file: FileOutcome; readonly detail: string }
  | { readonly kind: "unsupported"; readonly file: FileOutcome; readonly detail: string };

/** What became of the daemon's configuration file. */
export type FileOutcome =
  | { readonly kind: "written" | "unchanged" | "absent" | "secret-free" | "skipped" }
  | { readonly kind: "failed"; readonly detail: string };

/** What to deliver, and where to. */
export interface DeliveryOrder {
  readonly daemon: Daemon;
  readonly instance: RafsInstance;
  readonly credential: Credential;
}
