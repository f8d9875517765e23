import type { DaemonState, DeliveryState, DiscoveryProblem } from "./instance.ts";
import type { ProviderName, ReasonCode } from "./provider.ts";

export const RENEWAL_WINDOWS = [
  ...["fresh", "advisory", "mandatory", "expired", "unknown-lifetime"] as const,
] as const;
/** Part of its lifetime that a credential is in; `unknown-lifetime` without a known expiry. */
export type RenewalWindow = (typeof RENEWAL_WINDOWS)[number];

/** Status of the agent, without secrets, as shown by `status` and the status page. */
export interface AgentStatus {
  readonly nowMs: number;
  /** Host name of the node, if it has one. */
  readonly hostname?: string;
  readonly version: string;
  readonly startedAtMs: number;
  readonly configHash: string;
  /** Problems of the configuration that the last reload rejected; the previous one is in effect. */
  readonly refusedConfig?: readonly string[];
  /** Undefined until the first reconcile has finished. */
  readonly firstReconcileAtMs?: number;
  readonly lastReconcileAtMs?: number;
  readonly lastReconcileMs?: number;
  /** Monotonic time since the last reconcile finished. */
  readonly loopAgeMs?: number;
  readonly images: readonly ImageStatus[];
  readonly daemons: readonly DaemonStatus[];
  readonly problems: readonly DiscoveryProblem[];
  /** The providers that are enabled in the configuration; undefined if not known. */
  readonly enabledProviders?: readonly ProviderName[];
  /** Request counts of every provider of the chain; undefined if not recorded. */
  readonly providers?: readonly ProviderStatus[];
  /** Watches of the Kubernetes API that are currently not up to date. */
  readonly staleWatches?: readonly StaleWatch[];
  /** Configured interval between two reconciles. */
  readonly checkIntervalMs?: number;
  /** Every plugin and credential helper that was executed. */
  readonly plugins?: readonly PluginStatus[];
  /** Undefined if the CRI proxy is not enabled. */
  readonly criProxy?: CriProxyStatus;
}

/** A watch of the Kubernetes API that is not up to date; the last known objects are used. */
export interface StaleWatch {
  /** `secrets of all namespaces, type …`, `pods of node a`, `secret ns/name`. */
  readonly subject: string;
  readonly reason: ReasonCode;
  readonly detail: string;
}

/** Statistics of a provider since the agent started. */
export interface ProviderStatus {
  readonly name: ProviderName;
  readonly requests: number;
  readonly failures: number;
  /** Undefined until the first request. */
  readonly last?: {
    readonly outcome: "found" | "none" | "failed";
    readonly reason: ReasonCode;
    readonly atMs: number;
  };
  readonly lastFailure?: FailureStatus;
}

/** The last failure, with its wall time (ms). */
export interface FailureStatus {
  readonly reason: ReasonCode;
  readonly detail: string;
  readonly atMs: number;
}

/** Statistics of a plugin or credential helper since the agent started. */
export interface PluginStatus {
  readonly name: string;
  readonly provider: ProviderName;
  readonly executions: number;
  readonly failures: number;
  readonly lastAtMs: number;
  readonly lastResult: "success" | "none" | "failure" | "timeout";
  readonly lastDurationMs: number;
  readonly longestDurationMs: number;
  readonly lastFailure?: { readonly detail: string; readonly atMs: number };
}

/** Status of an image that is in use by a mount, or was until recently. */
export interface ImageStatus {
  readonly image: string;
  /** Where its mounts read it from, if not from its registry. */
  readonly endpoint?: string;
  /** Whether the credential was found for `endpoint`, or for the image's own registry. */
  readonly foundFor?: "endpoint" | "registry";
  /** Undefined if no provider has a credential; `adopted` if nydusd keeps its current one. */
  readonly provider?: ProviderName | "adopted";
  readonly origin?: string;
  readonly pattern?: string;
  readonly plugin?: string;
  readonly fingerprint?: string;
  /** Why this one of several candidates was selected. */
  readonly selectionReason?: string;
  readonly window?: RenewalWindow;
  readonly renewedAtMs?: number;
  readonly refreshAtMs?: number;
  readonly expiresAtMs?: number;
  /** When the source is queried next; undefined if it is watched. */
  readonly nextAttemptAtMs?: number;
  /** Failed attempts since the last success. */
  readonly failures: number;
  readonly lastFailure?: FailureStatus;
  readonly renewals: { readonly success: number; readonly failure: number };
}

/** Status of a nydusd and its mounts. */
export interface DaemonStatus {
  readonly id: string;
  readonly pid?: number;
  readonly apiSocket: string;
  readonly source: string;
  readonly state: DaemonState;
  readonly stateDetail?: string;
  readonly version?: string;
  readonly mode?: string;
  readonly instances: readonly InstanceStatus[];
}

/** Status of a mount. */
export interface InstanceStatus {
  readonly snapshotId: string;
  readonly image?: string;
  readonly imageProblem?: string;
  readonly mountId?: string;
  /** {@linkcode ImageStatus.endpoint}. */
  readonly endpoint?: string;
  /** The host that nydusd connects to, if it is not the image's registry. */
  readonly host?: string;
  /** What approves that host, for display; undefined if nothing does. */
  readonly hostApprovedBy?: string;
  /** Unapproved hosts that receive the credential. */
  readonly unapprovedHosts?: readonly string[];
  /** Wall time (ms) of the first failed read in a row; undefined while reads succeed. */
  readonly readsFailingSinceMs?: number;
  readonly delivery: DeliveryState;
  /** Successful reads since the credential is in use; undefined after a failure. */
  readonly provenReads?: number;
  readonly deliveryDetail?: string;
  readonly deliveredAtMs?: number;
  /** Wall time (ms) since which nydusd uses an older credential than its configuration file has. */
  readonly behindSinceMs?: number;
  readonly file?: string;
  /** Wall time (ms) at which reads would fail without renewal; undefined without a known expiry. */
  readonly readsFailAtMs?: number;
}

export const CRI_PROXY_STATES = [
  "in-path", // the CRI socket symlink points to the proxy
  "switched-off", // a user switched it off; the symlink points to the container runtime
  "bypassed", // the proxy is serving, but the symlink points elsewhere
  "not-serving", // the proxy failed to start
] as const;
/** Whether CRI clients are connected through the CRI proxy. */
export type CriProxyState = (typeof CRI_PROXY_STATES)[number];

/** Status of the CRI proxy, if it is enabled. */
export interface CriProxyStatus {
  readonly state: CriProxyState;
  /** Why it is not serving, or where the symlink points instead. */
  readonly detail?: string;
  readonly socket: string;
  /** The symlink that clients connect to; undefined if they connect to `socket`. */
  readonly link?: string;
  /** Target of the symlink. */
  readonly linkTarget?: string;
  /** Wall time since which no client has been connected; undefined while one is. */
  readonly idleSinceMs?: number;
  /** Images whose pull credential was restored from a previous run of the agent. */
  readonly restoredImages: number;
  readonly openConnections: number;
  readonly connections: number;
  readonly refusedConnections: number;
  readonly bytesToRuntime: number;
  readonly bytesToClients: number;
  /** Observed `PullImage` requests, with or without a credential. */
  readonly pulls: number;
  /** Directions of connections that could not be parsed to the end. */
  readonly lostReadings: number;
  /** Skipped messages and skipped credentials in messages. */
  readonly skippedMessages: number;
}
