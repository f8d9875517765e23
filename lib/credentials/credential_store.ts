import {
  type Candidate,
  type Credential,
  credentialFingerprint,
  credentialsEqual,
  type CredentialSubject,
  defined,
  encodeRegistryAuth,
  type FailureStatus,
  type ImageStatus,
  type ProviderName,
  type Random,
  type ReasonCode,
  type RenewalWindow,
  type Secret,
  subjectKey,
} from "../model/mod.ts";
import {
  type Attempts,
  jitterFor,
  type Lifetime,
  nextAttemptAtMs,
  type RenewalSettings,
  renewalWindow,
} from "./renewal_policy.ts";

/** A stored credential, its lifetime and its source. */
interface StoredCredential {
  /** `adopted`: no source has a credential; it was found in a nydusd or seen in a pull. */
  readonly provider: ProviderName | "adopted";
  readonly candidate: Candidate;
  /** Why it was selected among several candidates, for users. */
  readonly selectionReason?: string;
  readonly lifetime: Lifetime;
  readonly fingerprint: string;
  /** The `registry_auth` for nydusd; undefined for kinds that a running nydusd does not accept. */
  readonly registryAuth?: Secret;
}

/** The state of one image and the registry that it is read from. Immutable; replaced on change. */
export interface StoreEntry {
  readonly image: CredentialSubject;
  readonly stored?: StoredCredential;
  /** A credential that its source withdrew. Mounts may still have it, but it is not adopted. */
  readonly withdrawn?: Credential;
  readonly attempts: Attempts;
  readonly lastFailure?: FailureStatus;
  readonly renewals: { readonly success: number; readonly failure: number };
}

/** A credential that a provider returned. */
export interface Renewal {
  readonly provider: ProviderName;
  readonly candidate: Candidate;
  readonly selectionReason?: string;
}

/** How a stored credential differs from the one before. */
type StoreOutcome =
  | "new" // another credential, or the first
  | "renewed" // the same credential, fetched again from its source
  | "same"; // the same credential from the provider's cache

/** An attempt that returned no credential. */
export interface RenewalFailure {
  readonly reason: ReasonCode;
  readonly detail: string;
  readonly retryAtMs?: number;
  /** No source failed; none has a credential. */
  readonly notFound?: boolean;
  /** A source returns credentials per service account. */
  readonly perServiceAccount?: boolean;
  /** The source that failed. */
  readonly provider?: ProviderName;
}

interface CredentialStoreOptions {
  readonly settings: RenewalSettings;
  /** Unique for the node and constant over restarts (the machine ID): the seed of the jitter. */
  readonly seed: string;
  readonly random: Random;
}

/**
 * Stores the credentials of the images on this node, by image and the registry that it is read
 * from. A credential is not removed when it expires: the last good one stays until another replaces
 * it, its source withdraws it, or its image has no mount.
 */
export class CredentialStore {
  readonly #entries = new Map<string, StoreEntry>();
  /** When an entry was first seen without a mount (wall time). Renewals do not reset it. */
  readonly #unmountedSinceMs = new Map<string, number>();
  readonly #options: CredentialStoreOptions;
  /** A reload replaces them. */
  settings: RenewalSettings;

  constructor(options: CredentialStoreOptions) {
    this.#options = options;
    this.settings = options.settings;
  }

  /** Returns the entry of a {@linkcode subjectKey}. */
  get(key: string): StoreEntry | undefined {
    return this.#entries.get(key);
  }

  entries(): Iterable<StoreEntry> {
    return this.#entries.values();
  }

  /** Adds an entry for a mounted image unless there is one. */
  ensure(image: CredentialSubject): void {
    this.#unmountedSinceMs.delete(subjectKey(image));
    this.#set(this.#entryOf(image));
  }

  #entryOf(image: CredentialSubject): StoreEntry {
    return this.#entries.get(subjectKey(image)) ?? {
      image,
      attempts: { unproductive: 0, jitter: 0 },
      renewals: { success: 0, failure: 0 },
    };
  }

  #set(entry: StoreEntry): void {
    this.#entries.set(subjectKey(entry.image), entry);
  }

  /** Stores the credential that a provider returned. */
  put(image: CredentialSubject, renewal: Renewal, nowMs: number): StoreOutcome {
    const entry = this.#entryOf(image);
    const stored = this.#storedFrom(renewal, entry.stored);
    const outcome = outcomeOf(entry.stored, renewal.candidate);
    // A source that returns the expired credential again has not succeeded.
    const isExpired = renewalWindow(stored.lifetime, nowMs, this.settings) === "expired";
    const productive: Attempts = { unproductive: 0, lastAtMs: nowMs, jitter: 0 };
    const dueMs = nextAttemptAtMs(stored.lifetime, productive, nowMs, this.settings) ?? Infinity;
    // Nor has one that returns the same credential although that is due.
    const isRepeated = outcome !== "new" && dueMs <= nowMs;
    const unproductive = entry.attempts.unproductive + 1;
    const { lastFailure: _, ...rest } = entry;
    this.#set({
      ...rest,
      stored,
      attempts: isRepeated
        ? { unproductive, lastAtMs: nowMs, jitter: this.#options.random.next() }
        : productive,
      renewals: {
        success: entry.renewals.success + (outcome === "same" || isExpired ? 0 : 1),
        failure: entry.renewals.failure + (isExpired ? 1 : 0),
      },
    });
    return outcome;
  }

  /**
   * Stores a credential found in a nydusd, where no source has one. Returns whether it is new.
   * Attempts continue as scheduled: adopting is not a successful renewal.
   */
  adopt(image: CredentialSubject, candidate: Candidate): boolean {
    const entry = this.#entryOf(image);
    const { stored: before, withdrawn } = entry;
    if (before !== undefined && before.provider !== "adopted") return false;
    const { credential } = candidate;
    if (before && credentialsEqual(before.candidate.credential, credential)) return false;
    if (withdrawn && credentialsEqual(withdrawn, credential)) return false;
    const stored = this.#storedFrom({ provider: "adopted", candidate }, undefined);
    this.#set({ ...entry, stored });
    return true;
  }

  /** Records an attempt that returned no credential. The last good credential stays. */
  recordFailure(image: CredentialSubject, failure: RenewalFailure, nowMs: number): void {
    const entry = this.#entries.get(subjectKey(image));
    if (entry === undefined) return;
    const { reason, detail, retryAtMs, notFound, perServiceAccount } = failure;
    this.#set({
      ...entry,
      attempts: defined({
        unproductive: entry.attempts.unproductive + 1,
        lastAtMs: nowMs,
        jitter: this.#options.random.next(),
        retryAtMs,
        notFound,
        perServiceAccount,
      }),
      lastFailure: { reason, detail, atMs: nowMs },
      renewals: { ...entry.renewals, failure: entry.renewals.failure + 1 },
    });
  }

  /**
   * Removes a credential that its source withdrew: it is no longer served. Mounts keep it, because
   * removing it from nydusd would make their reads fail.
   */
  withdraw(image: CredentialSubject): void {
    const entry = this.#entries.get(subjectKey(image));
    if (entry?.stored === undefined) return;
    const { stored, ...rest } = entry;
    this.#set({ ...rest, withdrawn: stored.candidate.credential });
  }

  /** Returns the wall time of the next attempt; undefined when the source is watched. */
  nextAttemptAtMs({ stored, attempts }: StoreEntry, nowMs: number): number | undefined {
    const lifetime = stored?.provider === "adopted" ? undefined : stored?.lifetime;
    return nextAttemptAtMs(lifetime, attempts, nowMs, this.settings);
  }

  /** Returns the entries that are due for an attempt, those that expire first in front. */
  due(nowMs: number): StoreEntry[] {
    const expiryOf = ({ stored }: StoreEntry) => stored?.candidate.expiresAtMs ?? 0;
    return [...this.#entries.values()]
      .filter((entry) => (this.nextAttemptAtMs(entry, nowMs) ?? Infinity) <= nowMs)
      .sort((a, b) => expiryOf(a) - expiryOf(b));
  }

  /** Returns when the next attempt is due, leaving out the keys in `except`; `Infinity` if none. */
  nextDueAtMs(nowMs: number, except: { has(key: string): boolean } = new Set()): number {
    let earliestMs = Infinity;
    for (const [key, entry] of this.#entries) {
      const nextMs = except.has(key) ? Infinity : this.nextAttemptAtMs(entry, nowMs) ?? Infinity;
      earliestMs = Math.min(earliestMs, nextMs);
    }
    return earliestMs;
  }

  /**
   * Removes entries that have had no mount for at least `minAgeMs` since that was first seen, and
   * returns them. A pull stores its credential before the mount exists, and a restarted pod mounts
   * its image again, so that entries are not removed immediately.
   */
  evict(
    mounted: { has(key: string): boolean },
    nowMs: number,
    minAgeMs: number,
  ): CredentialSubject[] {
    const evicted: CredentialSubject[] = [];
    for (const [key, entry] of this.#entries) {
      if (mounted.has(key)) continue;
      const sinceMs = this.#unmountedSinceMs.get(key) ?? nowMs;
      this.#unmountedSinceMs.set(key, Math.min(sinceMs, nowMs)); // the clock may be set back
      if (nowMs - sinceMs < minAgeMs) continue;
      this.#entries.delete(key);
      this.#unmountedSinceMs.delete(key);
      evicted.push(entry.image);
    }
    return evicted;
  }

  /** Returns the renewal window of an entry; undefined without a credential. */
  window({ stored }: StoreEntry, nowMs: number): RenewalWindow | undefined {
    return stored && renewalWindow(stored.lifetime, nowMs, this.settings);
  }

  /** Returns the status of an entry, without its secret. */
  status(entry: StoreEntry, nowMs: number): ImageStatus {
    const { image: { text, endpoint }, stored, lastFailure } = entry;
    const candidate = stored?.candidate;
    return defined({
      image: text,
      endpoint: endpoint?.text,
      foundFor: endpoint && stored && stored.provider !== "adopted"
        ? stored.candidate.forEndpoint ? "endpoint" as const : "registry" as const
        : undefined,
      provider: stored?.provider,
      origin: candidate?.origin,
      pattern: candidate?.pattern,
      plugin: candidate?.plugin,
      fingerprint: stored?.fingerprint,
      selectionReason: stored?.selectionReason,
      window: this.window(entry, nowMs),
      renewedAtMs: stored?.lifetime.fetchedAtMs,
      refreshAtMs: candidate?.refreshAtMs,
      expiresAtMs: candidate?.expiresAtMs,
      nextAttemptAtMs: this.nextAttemptAtMs(entry, nowMs),
      failures: entry.attempts.unproductive,
      lastFailure,
      renewals: entry.renewals,
    });
  }

  /** @param before The credential that it replaces, if that is from a provider or was adopted. */
  #storedFrom(
    { provider, candidate, selectionReason }: Pick<
      StoredCredential,
      "provider" | "candidate" | "selectionReason"
    >,
    before: StoredCredential | undefined,
  ): StoredCredential {
    const { credential, fetchedAtMs } = candidate;
    const isSame = before && credentialsEqual(before.candidate.credential, credential);
    const { firstSeenAtMs, jitter } = isSame ? before.lifetime : {
      firstSeenAtMs: fetchedAtMs,
      jitter: jitterFor(this.#options.seed, sourceOf(provider, candidate)),
    };
    return defined({
      provider,
      candidate,
      selectionReason,
      lifetime: { ...candidate, firstSeenAtMs, jitter },
      fingerprint: credentialFingerprint(credential),
      registryAuth: credential.kind === "basic" ? encodeRegistryAuth(credential) : undefined,
    });
  }
}

function outcomeOf(before: StoredCredential | undefined, candidate: Candidate): StoreOutcome {
  if (!before || !credentialsEqual(before.candidate.credential, candidate.credential)) return "new";
  return candidate.fetchedAtMs > before.candidate.fetchedAtMs ? "renewed" : "same";
}

/** Identifies a source: its credentials are issued and expire together, so they share a jitter. */
function sourceOf(provider: ProviderName | "adopted", { plugin, pattern }: Candidate): string {
  return `${provider}\0${plugin ?? ""}\0${pattern ?? ""}`;
}
