import type { ConfigProblem } from "./errors.ts";
import type { DaemonState, DeliveryOutcome, DeliveryState } from "./instance.ts";
import type { ProviderName, ProviderNote, ReasonCode } from "./provider.ts";
import type { VerdictKind } from "./registry.ts";

/** What an execution of a plugin or helper came to. */
export type ExecutionResult = "success" | "none" | "failure" | "timeout";

/**
 * Everything that the stages tell the world. No event holds a secret or a user name. `endpoint` is
 * where an image is read from, where that is not its own registry.
 */
export type AgentEvent =
  | {
    readonly kind: "provider-queried";
    readonly provider: ProviderName;
    readonly image: string;
    readonly outcome: "found" | "none" | "failed";
    readonly reason: ReasonCode;
    readonly detail?: string;
    readonly durationMs: number;
    /** What its parts (plugins, helpers, files) did. */
    readonly notes?: readonly ProviderNote[];
  }
  | {
    readonly kind: "plugin-executed";
    readonly provider: ProviderName;
    readonly plugin: string;
    readonly result: ExecutionResult;
    readonly durationMs: number;
    readonly detail?: string;
  }
  | {
    readonly kind: "credential-renewed";
    readonly image: string;
    readonly endpoint?: string;
    readonly provider: ProviderName;
    readonly changed: boolean;
    readonly fingerprint: string;
    readonly refreshAtMs?: number;
    readonly expiresAtMs?: number;
    readonly dueAtMs?: number;
  }
  | {
    readonly kind: "renewal-failed";
    readonly image: string;
    readonly endpoint?: string;
    readonly provider?: ProviderName;
    readonly reason: ReasonCode;
    readonly detail: string;
    readonly expired: boolean;
    readonly nextAttemptAtMs: number;
  }
  | {
    /** The registry itself was asked what it thinks of a credential. */
    readonly kind: "registry-probed";
    readonly image: string;
    readonly host: string;
    readonly provider: ProviderName | "adopted";
    readonly origin: string;
    readonly fingerprint: string;
    readonly verdict: VerdictKind;
    readonly detail: string;
    readonly durationMs: number;
  }
  | {
    /** One of several credentials was chosen that does not come first, or another than before. */
    readonly kind: "candidate-selected";
    readonly image: string;
    readonly provider: ProviderName | "adopted";
    readonly origin: string;
    readonly fingerprint: string;
    readonly reason: string;
    readonly detail: string;
    /** How many others would fit. */
    readonly otherCandidates: number;
  }
  | { readonly kind: "credential-evicted"; readonly image: string; readonly endpoint?: string }
  | {
    readonly kind: "credential-adopted";
    readonly image: string;
    readonly endpoint?: string;
    readonly fingerprint: string;
    /** Where it comes from, such as `held by nydusd d1`. */
    readonly origin: string;
  }
  | {
    /** A mount shows its credential to a host that nobody named; once for each mount. */
    readonly kind: "unapproved-host";
    readonly daemonId: string;
    readonly snapshotId: string;
    readonly image: string;
    readonly hosts: readonly string[];
    readonly action: "delivered" | "withheld";
  }
  | {
    readonly kind: "delivery-attempted";
    readonly daemonId: string;
    readonly snapshotId: string;
    readonly image: string;
    readonly outcome: DeliveryOutcome;
    readonly durationMs: number;
  }
  | {
    readonly kind: "delivery-state-changed";
    readonly daemonId: string;
    readonly snapshotId: string;
    readonly image: string;
    readonly from: DeliveryState;
    readonly to: DeliveryState;
    readonly detail?: string;
  }
  | {
    readonly kind: "daemon-state-changed";
    readonly daemonId: string;
    readonly from?: DaemonState;
    readonly to: DaemonState | "gone";
    readonly detail?: string;
  }
  | {
    readonly kind: "discovery-problem";
    readonly source: string;
    readonly subject: string;
    readonly detail: string;
  }
  | { readonly kind: "discovery-recovered"; readonly source: string; readonly subject: string }
  | {
    readonly kind: "reconcile-finished";
    readonly trigger: string;
    readonly durationMs: number;
    readonly daemons: number;
    readonly instances: number;
    readonly images: number;
  }
  | { readonly kind: "source-changed"; readonly source: string; readonly path: string }
  | {
    readonly kind: "config-loaded";
    readonly hash: string;
    readonly files: readonly string[];
    readonly differences?: readonly string[];
  }
  | { readonly kind: "config-refused"; readonly problems: readonly ConfigProblem[] }
  | {
    readonly kind: "health-changed";
    readonly level: "ok" | "warning" | "critical";
    /** The kind of thing that the sentence is about. */
    readonly about: string;
    readonly summary: string;
  }
  | { readonly kind: "warning"; readonly code: string; readonly text: string };

/** Hears of everything. Must not throw, must not take long. */
export interface Observer {
  notify(event: AgentEvent): void;
}
