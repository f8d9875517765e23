import type { Credential } from "./credential.ts";
import type { ImageReference } from "./image_reference.ts";
import type { CallOptions } from "./ports.ts";
import type { RefusedUse } from "./refusals.ts";

/** The providers of the chain, in its order. */
export const PROVIDER_NAMES = ["labels", "cri", "docker", "kubelet", "kubesecret"] as const;
/** The name of a provider in the chain. */
export type ProviderName = (typeof PROVIDER_NAMES)[number];

/** Every reason that a provider can give, with its meaning. Closed: no branch without a code. */
export const REASON_CODES = {
  // found
  "found": "a credential was found",
  "found-in-cache": "a credential was found in the provider's own cache",
  "shared-execution": "another caller's execution of the same plugin and scope answered",
  // none
  "no-labels": "the request carries no pull labels",
  "incomplete-labels": "only one of the two pull labels is set",
  "not-enabled": "the provider is not enabled in the configuration",
  "no-pull-observed": "no pull of this image was seen",
  "no-config-file": "the provider's configuration file does not exist",
  "no-entry-for-registry": "the configuration has no entry for this registry",
  "anonymous-entry": "the entry has neither user name nor password: anonymous access",
  "incomplete-entry": "the entry has a user name but no password",
  "helper-not-found": "the credential helper has no credential for this registry",
  "helper-is-agent": "the credential helper named is this agent",
  "plugin-not-matched": "no matchImages pattern of the plugin matches the image",
  "plugin-no-credential": "the plugin answered that it has no credential for this image",
  "no-pattern-matched": "no pattern in the plugin's answer matches the image",
  "no-secret-matched": "no pull secret has an entry for this image",
  "no-service-account": "no pod with a service account uses the image, and the plugin wants one",
  "annotation-missing": "the service account lacks an annotation that the plugin requires",
  // failed
  "invalid-config": "the provider's configuration file cannot be used",
  "unreadable": "the provider's configuration file cannot be read",
  "invalid-entry": "the entry for this registry cannot be decoded",
  "helper-missing": "the credential helper is not installed",
  "helper-failed": "the credential helper failed",
  "helper-timeout": "the credential helper did not end in time",
  "helper-invalid-response": "the credential helper's answer cannot be used",
  "plugin-missing": "the plugin is not in the plugin directory",
  "plugin-not-executable": "the plugin cannot be executed",
  "plugin-failed": "the plugin exited with an error",
  "plugin-timeout": "the plugin did not end in time and was stopped",
  "plugin-too-much-output": "the plugin printed more than the limit and was stopped",
  "plugin-invalid-response": "the plugin's answer breaks its protocol",
  "plugin-backing-off": "the plugin failed lately and is not run again yet",
  "deadline-exceeded": "no answer within `providers.timeout`; it is used when it arrives",
  "source-unreachable": "the source did not answer",
  "source-refused": "the source does not accept who we say we are",
  "token-unavailable": "no token of the pod's service account could be had",
  "forbidden-by-rbac": "the Kubernetes API forbids a call: a rule is missing",
  "registry-refused": "the registry refuses what the source gave: what is in use stays",
  "internal-error": "the provider failed in a way that it does not know; please report it",
} as const;
/** A code out of {@linkcode REASON_CODES}. */
export type ReasonCode = keyof typeof REASON_CODES;

/** What is asked of a provider. */
export interface CredentialRequest {
  readonly image: ImageReference;
  /**
   * The image as the registry that nydusd really calls serves it, where that is another one: asked
   * for first.
   */
  readonly endpoint?: ImageReference;
  /** What is in use was found for `endpoint`: an outage is no reason to fall back from it. */
  readonly endpointInUse?: boolean;
  /** The image that pods name, where `image` is where it is read from. */
  readonly podImage?: ImageReference;
  readonly labels: Readonly<Record<string, string>>;
  /**
   * Wall time (ms) that the credential must outlive, where the provider knows lifetimes: a cached
   * one that does not is fetched anew; a fresh one is returned however short it lives.
   */
  readonly validUntilMs?: number;
  /** Wall time (ms): an answer fetched at or before it is not new enough; ask the source again. */
  readonly newerThanMs?: number;
  /** The credential in use is about to die: a backoff is shortened to a few seconds. */
  readonly urgent?: boolean;
  /** No source has given a credential yet: a backoff stays short for the first minutes. */
  readonly waiting?: boolean;
  /** The registry refuses this credential, or so its reader says: it is no answer. */
  readonly refused?: RefusedCredential;
  /** Fingerprint of the credential in use: no limit on the number of candidates drops it. */
  readonly inUse?: string;
  /** All that other sources offer is refused: what every service account has may be of use. */
  readonly everyAccount?: boolean;
  /** Monotonic time (ms) at which a person asked: a failure before it is no reason to wait. */
  readonly forcedAtMs?: number;
}

/** A credential that was refused, and what is known of it. */
export interface RefusedCredential extends RefusedUse {
  readonly fingerprint: string;
}

/** One credential that would fit, with what is known of its life and where it came from. */
export interface Candidate {
  readonly credential: Credential;
  /** For people: the file and key, plugin, helper or secret that gave it. Never a secret. */
  readonly origin: string;
  /** The pattern or key that matched the image, where there is one. */
  readonly pattern?: string;
  /** The exec plugin or helper that answered, where there is one. */
  readonly plugin?: string;
  /** The service account in whose name it was got: nobody else may use it. */
  readonly account?: string;
  /** Wall time at which the source was asked. */
  readonly fetchedAtMs: number;
  /** Soft clock: until when the source lets us cache it. Not the token's life. */
  readonly refreshAtMs?: number;
  /** Hard clock: when the token is dead. */
  readonly expiresAtMs?: number;
  /** The source tells us by itself when it changes (a watched file, a watched secret). */
  readonly watched: boolean;
  /** It was found for the registry that nydusd calls, not for the image's. */
  readonly forEndpoint?: true;
}

/** What one part of a provider (a plugin, a helper, a file) did, for `explain`. */
export interface ProviderNote {
  readonly subject: string;
  readonly reason: ReasonCode;
  /** More words. Never a secret, never a child's raw output. */
  readonly detail?: string;
}

/** A provider's answer. `none` is an ordinary answer, never an error. */
export type ProviderOutcome =
  | {
    readonly kind: "found";
    readonly reason: ReasonCode;
    /** Best first, never empty. */
    readonly candidates: readonly [Candidate, ...Candidate[]];
    readonly notes: readonly ProviderNote[];
  }
  | {
    readonly kind: "none";
    readonly reason: ReasonCode;
    readonly notes: readonly ProviderNote[];
    readonly validAccounts?: ValidAccounts;
  }
  | {
    readonly kind: "failed";
    readonly reason: ReasonCode;
    readonly detail: string;
    readonly notes: readonly ProviderNote[];
    /** Wall time before which asking again is of no use. */
    readonly retryAtMs?: number;
    readonly validAccounts?: ValidAccounts;
  };

/**
 * Names of all whose credentials for the image, got in their name before, still count
 * ({@linkcode accountName}): no other's does. Not set where nothing is got in anyone's name.
 */
export type ValidAccounts = readonly string[] | "unknown";

/** The name under which a candidate stands; undefined for one that is nobody's. */
export function accountName({ plugin, account }: Candidate): string | undefined {
  return account === undefined ? undefined : `${plugin ?? ""} ${account}`;
}

/** A source of credentials. `provide` never fails but for `signal`. */
export interface CredentialProvider {
  readonly name: ProviderName;
  /** Whether it can be asked again long after the pull. */
  readonly renewable: boolean;
  provide(request: CredentialRequest, options?: CallOptions): Promise<ProviderOutcome>;
}

/** One provider's part in a resolution. */
export interface ProviderAttempt {
  readonly provider: ProviderName;
  readonly outcome: ProviderOutcome;
  /** How long the answer was waited for. */
  readonly durationMs: number;
  /** It was asked for the registry that nydusd calls, not for the image's. */
  readonly forEndpoint?: true;
}

/** What the chain found for one image: every provider asked, in order, and the one that won. */
export interface Resolution {
  readonly image: ImageReference;
  readonly attempts: readonly ProviderAttempt[];
  /** Undefined when no provider has a credential. */
  readonly winner?: {
    readonly provider: ProviderName;
    readonly renewable: boolean;
    readonly candidates: readonly [Candidate, ...Candidate[]];
  };
}
