import {
  type Candidate,
  type Credential,
  type CredentialSubject,
  encodeRegistryAuth,
  type ImageStatus,
  type ProviderName,
  type Random,
  type ReasonCode,
  type RenewalWindow,
  type Secret,
} from "../model/mod.ts";
import type { Attempts, Lifetime, RenewalSettings } from "./renewal_policy.ts";

/** A credential in the store, with its life and where it came from. */
export interface StoredCredential {
  readonly provider: ProviderName | "adopted";
  readonly candidate: Candidate;
  /** The others that would fit, best first. */
  readonly others: readonly Candidate[];
  /** Why it was chosen among several, for people. */
  readonly selectionReason?: string;
  readonly lifetime: Lifetime;
  readonly fingerprint: string;
  /** What nydusd should hold; undefined for a form that it cannot be told while it runs. */
  readonly registryAuth?: Secret;
}

/** Everything known of one image and where it is read from. Replaced whole at every change. */
export interface StoreEntry {
  readonly image: CredentialSubject;
  readonly stored?: StoredCredential;
  /** A credential that counts no more, but that a mount may still hold: never adopted. */
  readonly withdrawn?: Credential;
  readonly attempts: Attempts;
  /** Wall time of the next attempt; undefined when the source is watched. */
  readonly nextAttemptAtMs?: number;
  readonly lastFailure?: {
    readonly reason: ReasonCode;
    readonly detail: string;
    readonly atMs: number;
  };
  readonly renewals: { readonly success: number; readonly failure: number };
}

/** What a successful resolution brought. */
export interface Renewal {
  readonly provider: ProviderName;
  readonly candidates: readonly [Candidate, ...Candidate[]];
  /** Why the first of them was chosen, for people. */
  readonly selectionReason?: string;
}

/** What storing it meant. */
export type StoreOutcome =
  | "new" // another credential than before, or the first
  | "renewed" // the same credential, given anew by its source
  | "same"; // the same credential out of the provider's cache

/** What went wrong with an attempt. */
export interface RenewalFailure {
  readonly reason: ReasonCode;
  readonly detail: string;
  readonly retryAtMs?: number;
  /** Nothing failed: there is no credential. */
  readonly isNone?: boolean;
  /** A source goes by pods' accounts. */
  readonly perServiceAccount?: boolean;
}

/** How the store is made. */
export interface CredentialStoreOptions {
  readonly settings: RenewalSettings;
  /** The node's own seed (its machine-id), so that nodes differ and restarts do not. */
  readonly seed: string;
  readonly random: Random;
  /** Entries at the most; beyond it a new image is refused a place. Default 100,000. */
  readonly maxEntries?: number;
}

/** What `status` shows of an entry, without its secret. */
export function statusOf(entry: StoreEntry, window: RenewalWindow | undefined): ImageStatus {
  const { stored } = entry;
  const { text, endpoint } = entry.image;
  return {
    image: text,
    ...(endpoint && {
      endpoint: endpoint.text,
      ...(stored && stored.provider !== "adopted" && {
        foundFor: stored.candidate.forEndpoint ? "endpoint" as const : "registry" as const,
      }),
    }),
    ...(stored && {
      provider: stored.provider,
      origin: stored.candidate.origin,
      fingerprint: stored.fingerprint,
      renewedAtMs: stored.lifetime.fetchedAtMs,
      ...pick(stored, "selectionReason"),
      ...pick(stored.candidate, "pattern", "plugin", "refreshAtMs", "expiresAtMs"),
    }),
    ...(window !== undefined && { window }),
    ...pick(entry, "nextAttemptAtMs", "lastFailure"),
    failures: entry.attempts.unproductive,
    renewals: entry.renewals,
  };
}

/** When an entry's credential is dead, for ordering; what is unknown comes first. */
export function expiryOrder(entry: StoreEntry): number {
  return entry.stored?.lifetime.expiresAtMs ?? 0;
}

/** What nydusd should hold, encoded once for each credential. */
export function registryAuthOf(
  credential: Credential,
  before: StoredCredential | undefined,
): { readonly registryAuth?: Secret } {
  if (before?.registryAuth !== undefined) return { registryAuth: before.registryAuth };
  return credential.kind === "basic" ? { registryAuth: encodeRegistryAuth(credential) } : {};
}

/** Names who gave a credential: credentials of one source live and end alike. */
export function sourceOf(
  provider: StoredCredential["provider"],
  { plugin, pattern }: Candidate,
): string {
  return `${provider}\0${plugin ?? ""}\0${pattern ?? ""}`;
}

/** How many credentials of sources came before; one that was adopted tells nothing of its age. */
export function nextGeneration(before: StoredCredential | undefined): number {
  return before === undefined || before.provider === "adopted"
    ? 0
    : (before.lifetime.turn ?? 0) + 1;
}

/** The named properties that are set: optional properties must not be undefined. */
export function pick<T, K extends keyof T>(object: T, ...keys: K[]): Pick<T, K> {
  const picked: Partial<Pick<T, K>> = {};
  for (const key of keys) if (object[key] !== undefined) picked[key] = object[key];
  return picked as Pick<T, K>;
}
