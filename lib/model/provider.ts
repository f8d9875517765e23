import { type Credential, credentialFingerprint, type Secret } from "./credential.ts";
import type { ImageReference } from "./image_reference.ts";
import type { Clock } from "./ports.ts";

/** The providers, in the order of the chain. */
export const PROVIDER_NAMES = ["labels", "cri", "docker", "kubelet", "kubesecret"] as const;
/** The name of a provider in the chain. */
export type ProviderName = (typeof PROVIDER_NAMES)[number];
/** The name by which the kubelet finds the agent's program as a credential provider plugin. */
export const CREDENTIAL_PROVIDER = "nydus-credential-provider";
/** The only version of the plugin API that the kubelet and the agent support. */
export const PLUGIN_API_VERSION = "credentialprovider.kubelet.k8s.io/v1";

/** How a request to a provider ends. */
export const PROVIDER_OUTCOMES = ["found", "none", "failed"] as const;
/** How an execution of a plugin or credential helper ends. */
export const EXECUTION_RESULTS = ["success", "none", "failure", "timeout"] as const;
/** One of {@linkcode EXECUTION_RESULTS}. */
export type ExecutionResult = (typeof EXECUTION_RESULTS)[number];

const FOUND_REASONS = {
  "found": "a credential was found",
  "found-in-cache": "a credential was found in the provider's cache",
  "shared-execution": "a credential was returned by a concurrent execution of the same plugin",
} as const;
const NONE_REASONS = {
  "no-labels": "the request has no pull labels",
  "incomplete-labels": "only one of the two pull labels is set",
  "not-enabled": "the provider is not enabled in the configuration",
  "no-pull-observed": "no pull of this image was observed",
  "no-config-file": "the provider's configuration file does not exist",
  "no-entry-for-registry": "the configuration has no entry for this registry",
  "anonymous-entry": "the entry has neither user name nor password (anonymous access)",
  "incomplete-entry": "the entry has a user name but no password",
  "helper-no-credential": "the credential helper has no credential for this registry",
  "helper-is-agent": "the configured credential helper is this agent",
  "plugin-not-matched": "no matchImages pattern of the plugin matches the image",
  "plugin-no-credential": "the plugin has no credential for this image",
  "no-pattern-matched": "no pattern in the plugin's response matches the image",
  "no-secret-matched": "no pull secret has an entry for this image",
  "no-service-account": "the plugin requires a service account, and no pod with one uses the image",
  "annotation-missing": "the service account lacks an annotation that the plugin requires",
} as const;
const FAILURE_REASONS = {
  "invalid-config": "the provider's configuration file is invalid",
  "unreadable": "the provider's configuration file cannot be read",
  "invalid-entry": "the entry for this registry cannot be decoded",
  "helper-missing": "the credential helper is not installed",
  "helper-failed": "the credential helper failed",
  "helper-timeout": "the credential helper exceeded its timeout and was stopped",
  "helper-invalid-response": "the credential helper returned an invalid response",
  "plugin-missing": "the plugin is not in the plugin directory",
  "plugin-not-executable": "the plugin is not executable",
  "plugin-failed": "the plugin exited with an error",
  "plugin-timeout": "the plugin exceeded its timeout and was stopped",
  "plugin-too-much-output": "the plugin exceeded the output limit and was stopped",
  "plugin-invalid-response": "the plugin returned an invalid response",
  "plugin-backing-off": "the plugin failed recently and is in backoff",
  "deadline-exceeded": "no answer within `providers.timeout`; a late answer is still used",
  "source-unreachable": "the source did not respond",
  "source-refused": "the source rejected the agent's own credential",
  "token-unavailable": "no token for the pod's service account could be obtained",
  "forbidden-by-rbac": "the Kubernetes API denied the request: an RBAC rule is missing",
  "registry-refused": "the registry refuses the source's credential; the current one is kept",
  "internal-error": "unexpected error in the provider; please report it",
} as const;
/** Every reason for the outcome of a provider, with its meaning for operators. */
export const REASON_CODES = { ...FOUND_REASONS, ...NONE_REASONS, ...FAILURE_REASONS } as const;
/** A key of {@linkcode REASON_CODES}. */
export type ReasonCode = keyof typeof REASON_CODES;

/** Returns the outcome of a provider that gives a reason. */
export function reasonOutcome(reason: ReasonCode): ProviderOutcome["kind"] {
  return reason in FOUND_REASONS ? "found" : reason in NONE_REASONS ? "none" : "failed";
}

/** A request for the credential of an image. */
export interface CredentialRequest {
  readonly image: ImageReference;
  /** The image at the registry that nydusd connects to, if that differs; it is queried first. */
  readonly endpoint?: ImageReference;
  /** The current credential was found for `endpoint`, so an outage causes no fallback to `image`. */
  readonly endpointInUse?: boolean;
  /** The image in the pods' specs, if `image` is the place that it is read from. */
  readonly podImage?: ImageReference;
  readonly labels: Readonly<Record<string, string>>;
  /**
   * Wall time (ms) until which the credential must be valid, if its lifetime is known. A cached one
   * that expires earlier is fetched again; a fresh one is returned regardless of its lifetime.
   */
  readonly validUntilMs?: number;
  /** Wall time (ms): a result fetched at or before it is not used, and the source is queried again. */
  readonly newerThanMs?: number;
  /** The current credential expires shortly: a backoff is limited to a few seconds. */
  readonly urgent?: boolean;
  /** No source has returned a credential yet: a backoff stays short for the first minutes. */
  readonly waiting?: boolean;
  /** The registry or the reader of the image refused this credential: it is not a valid result. */
  readonly refused?: RefusedCredential;
  /** Fingerprint of the current credential, which no limit on the number of candidates drops. */
  readonly inUse?: string;
  /** All candidates of other sources are refused: query every service account. */
  readonly allAccounts?: boolean;
  /** Monotonic time (ms) of a user's request: a failure before it causes no backoff. */
  readonly forcedAtMs?: number;
}

/** A credential that was refused. */
export interface RefusedCredential {
  readonly fingerprint: string;
  /** Whether reads with it succeeded before, so that this refusal has a new cause. */
  readonly worked?: boolean;
}

/** A credential that matches an image, with its origin and lifetime. */
export interface Candidate {
  readonly credential: Credential;
  /** The file and key, plugin, helper or secret that it is from, for display. Never a secret. */
  readonly origin: string;
  /** The pattern or key that matched the image, if any. */
  readonly pattern?: string;
  /** The exec plugin or helper that returned it, if any. */
  readonly plugin?: string;
  /** The service account that it was issued for; only pods of that account may use it. */
  readonly account?: string;
  /** Wall time at which the source was queried. */
  readonly fetchedAtMs: number;
  /** Wall time until which the source allows caching; not the expiry of the token. */
  readonly refreshAtMs?: number;
  /** Wall time at which the token expires. */
  readonly expiresAtMs?: number;
  /** Whether changes of the source are observed (a watched file or secret). */
  readonly watched: boolean;
  /** Set if it was found for the registry that nydusd connects to, not for the image's. */
  readonly forEndpoint?: true;
}

/** The result of one part of a provider (a plugin, a helper, a file), for `explain`. */
export interface ProviderNote {
  readonly subject: string;
  readonly reason: ReasonCode;
  /** Never contains a secret or the raw output of a child process. */
  readonly detail?: string;
}

/** The outcome of a request. `none` is an expected outcome, not an error. */
export type ProviderOutcome =
  & { readonly reason: ReasonCode; readonly notes: readonly ProviderNote[] }
  & (
    | {
      readonly kind: "found";
      /** Best first, never empty. */
      readonly candidates: readonly [Candidate, ...Candidate[]];
    }
    | { readonly kind: "none"; readonly validAccounts?: ValidAccounts }
    | {
      readonly kind: "failed";
      readonly detail: string;
      /** Wall time before which a retry cannot succeed. */
      readonly retryAtMs?: number;
      readonly validAccounts?: ValidAccounts;
    }
  );

/**
 * The service accounts whose earlier credentials for the image remain valid, as returned by
 * {@linkcode accountName}; those of other accounts are withdrawn. Not set if the provider does not
 * use service accounts.
 */
export type ValidAccounts = readonly string[] | "unknown";

/** Returns the plugin and service account of a candidate; undefined without an account. */
export function accountName({ plugin, account }: Candidate): string | undefined {
  return account === undefined ? undefined : `${plugin ?? ""} ${account}`;
}

/** A source of credentials. `provide` rejects only on a defect. */
export interface CredentialProvider {
  readonly name: ProviderName;
  /** Whether it can return credentials long after the pull. */
  readonly renewable: boolean;
  provide(request: CredentialRequest): Promise<ProviderOutcome>;
}

/** The outcome of one provider of the chain. */
export interface ProviderAttempt {
  readonly provider: ProviderName;
  readonly outcome: ProviderOutcome;
  /** How long the chain waited for the outcome. */
  readonly durationMs: number;
  /** Set if it was queried for the registry that nydusd connects to, not for the image's. */
  readonly forEndpoint?: true;
}

/** The result of the chain for one image: every provider that was queried, in order. */
export interface Resolution {
  readonly image: ImageReference;
  readonly attempts: readonly ProviderAttempt[];
  /** The first provider with a credential; undefined if none has one. */
  readonly winner?: {
    readonly provider: ProviderName;
    readonly renewable: boolean;
    readonly candidates: readonly [Candidate, ...Candidate[]];
  };
}

/**
 * How long concurrent callers share one execution: a result that must not be cached, and a result
 * without a credential, are used for this time.
 */
export const SHARED_EXECUTION_MS = 10_000;

/** Returns whether a result that was fetched at a wall time is recent enough for a request. */
export function isNewEnough(
  fetchedAtMs: number,
  { newerThanMs }: CredentialRequest,
  clock: Clock,
): boolean {
  if (newerThanMs === undefined) return true;
  const nowMs = clock.wallMs();
  // A time in the future means that the wall clock was set back: no result could ever be newer.
  return fetchedAtMs > (newerThanMs > nowMs ? nowMs - SHARED_EXECUTION_MS : newerThanMs);
}

/** Returns whether a cached credential is the one that was refused. */
export function isRefused(
  { credential }: Pick<Candidate, "credential">,
  { refused }: CredentialRequest,
): boolean {
  return refused !== undefined && credentialFingerprint(credential) === refused.fingerprint;
}

/** A pod and its service account. */
export interface PodIdentity {
  readonly namespace: string;
  readonly name: string;
  readonly uid: string;
  /** Empty if the pod has none, such as a static pod. */
  readonly serviceAccount: string;
}

/** Why the API server returned no result. */
export interface AccountProblem {
  readonly kind: "failed";
  readonly reason: ReasonCode;
  readonly detail: string;
}

/** The pods of this node that currently use an image. */
export type PodsResult =
  | {
    readonly kind: "pods";
    readonly pods: readonly PodIdentity[];
    /** Possible reason for an empty list. */
    readonly detail?: string;
  }
  | AccountProblem;

/** The current state of a service account. */
export type AccountResult =
  | {
    readonly kind: "account";
    readonly uid: string;
    readonly annotations: Readonly<Record<string, string>>;
  }
  | { readonly kind: "gone" }
  | AccountProblem;

/** A token bound to a pod. */
export type TokenResult =
  | { readonly kind: "token"; readonly token: Secret; readonly expiresAtMs?: number }
  | { readonly kind: "gone" }
  | AccountProblem;

/** Pods and service accounts for plugins that need tokens. Never rejects. */
export interface PodAccounts {
  podsOf(image: ImageReference): Promise<PodsResult>;
  /** Returns the service account of a pod that {@linkcode PodAccounts.podsOf} returned. */
  account(pod: PodIdentity): Promise<AccountResult>;
  /** @param accountUid Expected UID of the account; `gone` if it has changed. */
  token(pod: PodIdentity, audience: string, accountUid: string): Promise<TokenResult>;
}
