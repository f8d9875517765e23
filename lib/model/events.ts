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
import type { Immutable } from "./status.ts";

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

/** An image; `endpoint` is where it is read from, if not from its registry. */
interface ImageFields {
  image: string;
  endpoint?: string;
}

interface MountFields {
  daemonId: string;
  snapshotId: string;
  image: string;
}

/** A credential of an image. `origin` is its source, such as `held by nydusd d1`. */
interface CredentialFields {
  image: string;
  provider: ProviderName | "adopted";
  origin: string;
  fingerprint: string;
}

/** The fields of each kind of event. */
interface EventFields {
  "provider-queried": {
    provider: ProviderName;
    image: string;
    outcome: ProviderOutcome["kind"];
    reason: ReasonCode;
    detail?: string;
    durationMs: number;
    /** Results of its parts (plugins, helpers, files). */
    notes?: readonly ProviderNote[];
  };
  "plugin-executed": {
    provider: ProviderName;
    plugin: string;
    result: ExecutionResult;
    durationMs: number;
    detail?: string;
  };
  "credential-renewed": ImageFields & {
    provider: ProviderName;
    changed: boolean;
    fingerprint: string;
    refreshAtMs?: number;
    expiresAtMs?: number;
    dueAtMs?: number;
  };
  "renewal-failed": ImageFields & {
    provider?: ProviderName;
    reason: ReasonCode;
    detail: string;
    expired: boolean;
    nextAttemptAtMs: number;
  };
  /** The registry was probed with a credential. */
  "registry-probed": CredentialFields & {
    host: string;
    verdict: VerdictKind;
    detail: string;
    durationMs: number;
  };
  /** A candidate other than the first, or other than before, was selected. */
  "candidate-selected": CredentialFields & {
    reason: string;
    detail: string;
    /** Number of the other candidates. */
    otherCandidates: number;
  };
  /** The credential of an image that is no longer in use was removed. */
  "credential-evicted": ImageFields;
  /** No source has a credential, so the one that nydusd has is kept. */
  "credential-adopted": ImageFields & { fingerprint: string; origin: string };
  /** An unapproved host would receive the credential of a mount; once per mount. */
  "unapproved-host": MountFields & {
    hosts: readonly string[];
    action: "delivered" | "withheld";
  };
  "delivery-attempted": MountFields & { outcome: DeliveryOutcome; durationMs: number };
  "delivery-state-changed": MountFields & {
    from: DeliveryState;
    to: DeliveryState;
    detail?: string;
  };
  "daemon-state-changed": {
    daemonId: string;
    from?: DaemonState;
    to: DaemonState | "gone";
    detail?: string;
  };
  "discovery-problem": { source: string; subject: string; detail: string };
  "discovery-recovered": { source: string; subject: string };
  "reconcile-finished": {
    trigger: string;
    durationMs: number;
    daemons: number;
    instances: number;
    images: number;
  };
  "source-changed": { source: string; path: string };
  "config-loaded": {
    hash: string;
    files: readonly string[];
    differences?: readonly string[];
  };
  "config-refused": { problems: readonly ConfigProblem[] };
  /** `about` is the key of the finding that the summary is about. */
  "health-changed": { level: "ok" | "warning" | "critical"; about: string; summary: string };
  "agent-started": {
    version: string;
    commit: string;
    files: readonly string[];
    /** Addresses and sockets that the agent listens on. */
    listeners: readonly string[];
    providers: readonly string[];
  };
  "agent-stopped": { reason: string; uptimeMs: number };
  /** The agent failed to start, or ends because of an error. */
  "agent-failed": { detail: string };
  "warning": { code: WarningCode; text: string };
}

/**
 * Events of the agent, for logs, metrics and history. No event contains a secret or a user name.
 */
export type AgentEvent = {
  [Kind in keyof EventFields]: Immutable<{ kind: Kind } & EventFields[Kind]>;
}[keyof EventFields];

/** Receives every event. Must not throw and must return quickly. */
export interface Observer {
  notify(event: AgentEvent): void;
}
