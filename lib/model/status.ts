import type { DaemonState, DeliveryState, DiscoveryProblem } from "./instance.ts";
import type { ProviderName, ReasonCode } from "./provider.ts";
import type { TapStatus } from "./tap.ts";

/** Where a credential is in its life; `unknown-life` when no hard clock is known. */
export type LifeWindow = "fresh" | "advisory" | "mandatory" | "expired" | "unknown-life";

/** The whole agent at one moment, without a secret: what `status` and the page show. */
export interface AgentStatus {
  readonly nowMs: number;
  readonly version: string;
  readonly startedAtMs: number;
  readonly configHash: string;
  /** Undefined until the first reconcile is done. */
  readonly firstReconcileAtMs?: number;
  readonly lastReconcileAtMs?: number;
  readonly lastReconcileMs?: number;
  /** Elapsed time since the last look ended, by the clock that never steps. */
  readonly loopAgeMs?: number;
  readonly images: readonly ImageStatus[];
  readonly daemons: readonly DaemonStatus[];
  readonly problems: readonly DiscoveryProblem[];
  /** Undefined while the CRI tap is not enabled. */
  readonly tap?: TapStatus;
}

/** One image that backs at least one mount, or did until lately. */
export interface ImageStatus {
  readonly image: string;
  /** Undefined when no provider has a credential; `adopted` when nydusd's own is kept. */
  readonly provider?: ProviderName | "adopted";
  readonly origin?: string;
  readonly pattern?: string;
  readonly plugin?: string;
  readonly fingerprint?: string;
  readonly window?: LifeWindow;
  readonly renewedAtMs?: number;
  readonly softExpiresAtMs?: number;
  readonly hardExpiresAtMs?: number;
  /** When the source is asked next; undefined when it is watched instead. */
  readonly nextAttemptAtMs?: number;
  /** Attempts that failed since the last success. */
  readonly failures: number;
  readonly lastFailure?: {
    readonly reason: ReasonCode;
    readonly detail: string;
    readonly atMs: number;
  };
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
  readonly delivery: DeliveryState;
  readonly deliveryDetail?: string;
  readonly deliveredAtMs?: number;
  readonly file?: string;
}
