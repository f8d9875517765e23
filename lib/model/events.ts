import type { ConfigProblem } from "./errors.ts";
import type { DaemonState, DeliveryOutcome, DeliveryState } from "./instance.ts";
import type {
  ExecutionResult,
  ProviderName,
  ProviderNote,
  ProviderOutcome,
  ReasonCode,
} from "./provider.ts";
import type { VerdictKind } from "./registry.ts";

/** Code of a `warning` event, which has no further fields. */
export type WarningCode =
  | "api" // the local API is not served, or a request failed unexpectedly
  | "config" // a setting has no effect or is risky
  | "cri-proxy" // the CRI proxy is not serving, or lost or skipped data
  | "delivery-error" // unexpected error of a delivery
  | "notify" // failed to notify the service supervisor
  | "plugin-response" // a plugin's response has a problem, but is used
  | "provider-config" // a provider's configuration file has a problem, but is used
  | "reads-failing" // nydusd's reads fail although it has the current credential
  | "reconcile-failed" // unexpected error of a reconcile
  | "server" // the status server or the metrics server is not served
  | "temporary-files" // failed to remove temporary files of a previous run
  | "unhandled-error"; // unexpected error outside of any request

/**
 * Events of the agent, for logs, metrics and history. No event contains a secret or a user name.
 * `endpoint` is where an image is read from, if not from its registry.
 */
export type AgentEvent =
  | {
    readonly kind: "provider-queried";
    readonly provider: ProviderName;
    readonly image: string;
    readonly outcome: ProviderOutcome["kind"];
    readonly reason: ReasonCode;
    readonly detail?: string;
    readonly durationMs: number;
    /** Results of its parts (plugins, helpers, files). */
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
    /** The registry was probed with a credential. */
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
    /** A candidate other than the first, or other than before, was selected. */
    readonly kind: "candidate-selected";
    readonly image: string;
    readonly provider: ProviderName | "adopted";
    readonly origin: string;
    readonly fingerprint: string;
    readonly reason: string;
    readonly detail: string;
    /** Number of the other candidates. */
    readonly otherCandidates: number;
  }
  /** The credential of an image that is no longer in use was removed. */
  | { readonly kind: "credential-evicted"; readonly image: string; readonly endpoint?: string }
  | {
    /** No source has a credential, so the one that nydusd has is kept. */
    readonly kind: "credential-adopted";
    readonly image: string;
    readonly endpoint?: string;
    readonly fingerprint: string;
    /** Where it is from, such as `held by nydusd d1`. */
    readonly origin: string;
  }
  | {
    /** An unapproved host would receive the credential of a mount; once per mount. */
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
    /** Key of the finding that the summary is about. */
    readonly about: string;
    readonly summary: string;
  }
  | {
    readonly kind: "agent-started";
    readonly version: string;
    readonly commit: string;
    readonly files: readonly string[];
    /** Addresses and sockets that the agent listens on. */
    readonly listeners: readonly string[];
    readonly providers: readonly string[];
  }
  | { readonly kind: "agent-stopped"; readonly reason: string; readonly uptimeMs: number }
  /** The agent failed to start, or ends because of an error. */
  | { readonly kind: "agent-failed"; readonly detail: string }
  | { readonly kind: "warning"; readonly code: WarningCode; readonly text: string };

/** Receives every event. Must not throw and must return quickly. */
export interface Observer {
  notify(event: AgentEvent): void;
}
