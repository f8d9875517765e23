import type { DaemonState, DeliveryState, DiscoveryProblem } from "./instance.ts";
import type { ProviderName, ReasonCode } from "./provider.ts";
import type { CriProxyStatus } from "./cri_proxy_status.ts";

/** Where a credential is in its life; `unknown-life` when no hard clock is known. */
export type RenewalWindow = "fresh" | "advisory" | "mandatory" | "expired" | "unknown-lifetime";

/** The whole agent at one moment, without a secret: what `status` and the page show. */
export interface AgentStatus {
  readonly nowMs: number;
  /** The machine's own name, where it has one: whoever looks at several nodes needs it. */
  readonly hostname?: string;
  readonly version: string;
  readonly startedAtMs: number;
  readonly configHash: string;
  /** Problems of the configuration that the last reload refused; the previous one is in force. */
  readonly refusedConfig?: readonly string[];
  /** Undefined until the first reconcile is done. */
  readonly firstReconcileAtMs?: number;
  readonly lastReconcileAtMs?: number;
  readonly lastReconcileMs?: number;
  /** Elapsed time since the last look ended, by the clock that never steps. */
  readonly loopAgeMs?: number;
  readonly images: readonly ImageStatus[];
  readonly daemons: readonly DaemonStatus[];
  readonly problems: readonly DiscoveryProblem[];
  /** The providers that the configuration switches on; undefined where nobody knows. */
  readonly enabledProviders?: readonly ProviderName[];
  /** Every provider of the chain, as its questions went; undefined where nobody keeps count. */
  readonly providers?: readonly ProviderStatus[];
  /** What of the Kubernetes API is not followed now, though it should be. */
  readonly staleWatches?: readonly StaleWatch[];
  /** How often the node is compared, as configured. */
  readonly checkIntervalMs?: number;
  /** Every plugin and credential helper that has run. */
  readonly plugins?: readonly PluginStatus[];
  /** Undefined while the CRI proxy is not enabled. */
  readonly criProxy?: CriProxyStatus;
}

/** A part of the Kubernetes API that is not followed now: what was read last is used. */
export interface StaleWatch {
  /** `secrets of all namespaces, type …`, `pods of node a`, `secret ns/name`. */
  readonly subject: string;
  readonly reason: ReasonCode;
  readonly detail: string;
}

/** A provider of the chain since the agent started. */
export interface ProviderStatus {
  readonly name: ProviderName;
  readonly requests: number;
  readonly failures: number;
  /** Undefined until it is asked. */
  readonly last?: {
    readonly outcome: "found" | "none" | "failed";
    readonly reason: ReasonCode;
    readonly atMs: number;
  };
  readonly lastFailure?: FailureStatus;
}

/** What went wrong last, and when (wall time, ms). */
export interface FailureStatus {
  readonly reason: ReasonCode;
  readonly detail: string;
  readonly atMs: number;
}

/** A plugin or credential helper since the agent started. */
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

/** One image that backs at least one mount, or did until lately. */
export interface ImageStatus {
  readonly image: string;
  /** Where its mounts read it from, where that is not its own registry; another is another line. */
  readonly endpoint?: string;
  /** Whether the credential was found for `endpoint`, or for the image's own registry. */
  readonly foundFor?: "endpoint" | "registry";
  /** Undefined when no provider has a credential; `adopted` when nydusd's own is kept. */
  readonly provider?: ProviderName | "adopted";
  readonly origin?: string;
  readonly pattern?: string;
  readonly plugin?: string;
  readonly fingerprint?: string;
  /** Why this one of several was chosen. */
  readonly selectionReason?: string;
  readonly window?: RenewalWindow;
  readonly renewedAtMs?: number;
  readonly refreshAtMs?: number;
  readonly expiresAtMs?: number;
  /** When the source is asked next; undefined when it is watched instead. */
  readonly nextAttemptAtMs?: number;
  /** Attempts that failed since the last success. */
  readonly failures: number;
  readonly lastFailure?: FailureStatus;
  readonly renewals: { readonly success: number; readonly failure: number };
}

/** One nydusd and its mounts. */
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

/** One mount. */
export interface InstanceStatus {
  readonly snapshotId: string;
  readonly image?: string;
  readonly imageProblem?: string;
  readonly mountId?: string;
  /** {@linkcode ImageStatus.endpoint}. */
  readonly endpoint?: string;
  /** The host that nydusd calls, where that is not the image's own registry. */
  readonly host?: string;
  /** Who named that host, for people; undefined when nobody did. */
  readonly hostApprovedBy?: string;
  /** Hosts that see the credential and that nobody named. */
  readonly unapprovedHosts?: readonly string[];
  /** Set while its reads fail: wall time (ms) of the first failure in a row. */
  readonly readsFailingSinceMs?: number;
  readonly delivery: DeliveryState;
  /** Reads that succeeded since the credential came into use; set while none has failed. */
  readonly provenReads?: number;
  readonly deliveryDetail?: string;
  readonly deliveredAtMs?: number;
  /** Since when (wall time, ms) its nydusd goes on with an older credential than its file holds. */
  readonly behindSinceMs?: number;
  readonly file?: string;
  /** When reads would begin to fail if every source went silent now; undefined: no end is known. */
  readonly readsFailAtMs?: number;
}
