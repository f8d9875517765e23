import {
  type Candidate,
  credentialFingerprint,
  credentialsEqual,
  type CredentialSubject,
  type ImageStatus,
  type RenewalWindow,
  subjectKey,
} from "../model/mod.ts";
import { EntryTable } from "./entry_table.ts";
import {
  type Attempts,
  jitterFor,
  nextAttemptAtMs,
  type RenewalSettings,
  renewalWindow,
} from "./renewal_policy.ts";
import {
  type CredentialStoreOptions,
  nextGeneration,
  pick,
  registryAuthOf,
  type Renewal,
  type RenewalFailure,
  sourceOf,
  statusOf,
  type StoredCredential,
  type StoreEntry,
  type StoreOutcome,
} from "./store_entry.ts";

const MAX_ENTRIES = 100_000;

/**
 * The credentials of the images that live on this node, by normalized reference and by where they
 * are read from. Nothing in it dies of age: the last good credential stays until another replaces
 * it or its image is gone.
 */
export class CredentialStore {
  readonly #entries = new EntryTable();
  /** Images without a mount, and since when (wall); renewals do not make them younger. */
  readonly #goneSinceMs = new Map<string, number>();
  #options: CredentialStoreOptions;

  constructor(options: CredentialStoreOptions) {
    this.#options = options;
  }

  get size(): number {
    return this.#entries.size;
  }

  /** The settings that its schedule follows. */
  get settings(): RenewalSettings {
    return this.#options.settings;
  }

  /** Follows other settings from now on; what is stored stays, its schedule is drawn anew. */
  reconfigure(settings: RenewalSettings, nowMs: number): void {
    this.#options = { ...this.#options, settings };
    for (const entry of this.#entries.values()) {
      this.#set(entry, { attempts: entry.attempts, ...pick(entry, "lastFailure") }, nowMs);
    }
  }

  /** By {@linkcode subjectKey}: an image's text, where it is read from its own registry. */
  get(key: string): StoreEntry | undefined {
    return this.#entries.get(key);
  }

  entries(): Iterable<StoreEntry> {
    return this.#entries.values();
  }

  /** Makes sure that an image with a mount has an entry. False when the store is full. */
  ensure(image: CredentialSubject, nowMs: number): boolean {
    if (this.#goneSinceMs.size > 0) this.#goneSinceMs.delete(subjectKey(image));
    return this.#ensure(image, nowMs);
  }

  #ensure(image: CredentialSubject, nowMs: number): boolean {
    if (this.#entries.get(subjectKey(image)) !== undefined) return true;
    if (this.#entries.size >= (this.#options.maxEntries ?? MAX_ENTRIES)) return false;
    this.#entries.set(subjectKey(image), {
      image,
      attempts: { unproductive: 0, draw: 0 },
      nextAttemptAtMs: nowMs,
      renewals: { success: 0, failure: 0 },
    });
    return true;
  }

  /** Stores what a renewable provider gave. */
  put(image: CredentialSubject, renewal: Renewal, nowMs: number): StoreOutcome {
    this.#ensure(image, nowMs);
    const entry = this.#entries.get(subjectKey(image));
    if (entry === undefined) return "same";
    const [candidate, ...others] = renewal.candidates;
    const before = entry.stored;
    const equal = before !== undefined &&
      credentialsEqual(before.candidate.credential, candidate.credential);
    const outcome: StoreOutcome = !equal
      ? "new"
      : candidate.fetchedAtMs > before.candidate.fetchedAtMs
      ? "renewed"
      : "same";
    const known = equal ? before : undefined;
    const stored = {
      ...this.#stored(renewal.provider, candidate, others, known, nextGeneration(before)),
      ...pick(renewal, "selectionReason"),
    };
    // The same dead token once more is no success, whatever its source says.
    const isExpired = renewalWindow(stored.lifetime, nowMs, this.#options.settings) === "expired";
    this.#set(entry, {
      stored,
      attempts: this.#attemptsAfter(entry, stored, outcome, nowMs),
      success: outcome === "same" || isExpired ? 0 : 1,
      failure: isExpired ? 1 : 0,
    }, nowMs);
    return outcome;
  }

  /** Keeps what a nydusd holds, where no source gives a credential. Says whether that is new. */
  adopt(image: CredentialSubject, candidate: Candidate, nowMs: number): boolean {
    this.#ensure(image, nowMs);
    const entry = this.#entries.get(subjectKey(image));
    if (entry === undefined) return false;
    const before = entry.stored;
    if (before !== undefined && before.provider !== "adopted") return false;
    if (before && credentialsEqual(before.candidate.credential, candidate.credential)) return false;
    const { withdrawn } = entry;
    if (withdrawn && credentialsEqual(withdrawn, candidate.credential)) return false;
    // The attempts go on as they were: an adopted credential is nobody's success.
    const stored = this.#stored("adopted", candidate, [], undefined);
    this.#entries.set(subjectKey(image), { ...entry, stored });
    return true;
  }

  /** Records an attempt that brought nothing. The last good credential stays. */
  recordFailure(image: CredentialSubject, failure: RenewalFailure, nowMs: number): void {
    const entry = this.#entries.get(subjectKey(image));
    if (entry === undefined) return;
    this.#set(entry, {
      attempts: {
        unproductive: entry.attempts.unproductive + 1,
        lastAtMs: nowMs,
        draw: this.#options.random.next(),
        ...pick(failure, "retryAtMs", "isNone", "perServiceAccount"),
      },
      lastFailure: { reason: failure.reason, detail: failure.detail, atMs: nowMs },
      failure: 1,
    }, nowMs);
  }

  /**
   * Forgets a credential that its source has taken back: nobody is given it any more. What a mount
   * holds it keeps, because nydusd cannot be told to forget without its reads failing.
   */
  withdraw(image: CredentialSubject): void {
    const entry = this.#entries.get(subjectKey(image));
    if (entry?.stored === undefined) return;
    const { stored, ...rest } = entry;
    this.#entries.set(subjectKey(image), { ...rest, withdrawn: stored.candidate.credential });
  }

  /** Entries to ask for now, the most urgent first. */
  due(nowMs: number): StoreEntry[] {
    return this.#entries.due(nowMs);
  }

  /** The earliest time at which something is due; undefined when nothing ever is. */
  nextDueAtMs(): number | undefined {
    return this.#entries.nextDueAtMs();
  }

  /**
   * Forgets images that have backed no live RAFS instance for at least `minAgeMs`, counted from
   * when that was first seen here (a pull stores a credential before its mount exists, and a pod
   * that starts anew mounts the same image). Returns what was forgotten.
   */
  evict(
    live: { has(key: string): boolean },
    nowMs: number,
    minAgeMs: number,
  ): CredentialSubject[] {
    const evicted: CredentialSubject[] = [];
    for (const [key, entry] of this.#entries) {
      if (live.has(key)) continue;
      const sinceMs = this.#goneSinceMs.get(key) ?? nowMs;
      this.#goneSinceMs.set(key, Math.min(sinceMs, nowMs)); // a clock that stepped back
      if (nowMs - sinceMs < minAgeMs) continue;
      this.#entries.delete(key);
      this.#goneSinceMs.delete(key);
      evicted.push(entry.image);
    }
    return evicted;
  }

  /** Where an entry is in its life. */
  window(entry: StoreEntry, nowMs: number): RenewalWindow | undefined {
    return entry.stored && renewalWindow(entry.stored.lifetime, nowMs, this.#options.settings);
  }

  /** What `status` shows of an entry. */
  status(entry: StoreEntry, nowMs: number): ImageStatus {
    const window = this.window(entry, nowMs);
    return statusOf(entry, window);
  }

  #stored(
    provider: StoredCredential["provider"],
    candidate: Candidate,
    others: readonly Candidate[],
    before: StoredCredential | undefined,
    turn = 0,
  ): StoredCredential {
    const { credential } = candidate;
    const source = sourceOf(provider, candidate);
    return {
      provider,
      candidate,
      others,
      lifetime: {
        firstSeenAtMs: before?.lifetime.firstSeenAtMs ?? candidate.fetchedAtMs,
        fetchedAtMs: candidate.fetchedAtMs,
        watched: candidate.watched,
        jitter: before?.lifetime.jitter ?? jitterFor(this.#options.seed, source),
        turn: before?.lifetime.turn ?? turn,
        ...pick(candidate, "refreshAtMs", "expiresAtMs"),
      },
      fingerprint: before?.fingerprint ?? credentialFingerprint(credential),
      ...registryAuthOf(credential, before),
    };
  }

  /** A source that repeats a dying credential has not helped: its next turn is a retry. */
  #attemptsAfter(
    entry: StoreEntry,
    stored: StoredCredential,
    outcome: StoreOutcome,
    nowMs: number,
  ): Attempts {
    const fresh: Attempts = { unproductive: 0, lastAtMs: nowMs, draw: 0 };
    if (outcome === "new") return fresh;
    const due = nextAttemptAtMs(stored.lifetime, fresh, nowMs, this.#options.settings);
    if (due === undefined || due > nowMs) return fresh;
    const draw = this.#options.random.next();
    return { unproductive: entry.attempts.unproductive + 1, lastAtMs: nowMs, draw };
  }

  #set(
    entry: StoreEntry,
    change: {
      readonly stored?: StoredCredential;
      readonly attempts: Attempts;
      readonly lastFailure?: NonNullable<StoreEntry["lastFailure"]>;
      readonly success?: number;
      readonly failure?: number;
    },
    nowMs: number,
  ): void {
    const stored = change.stored ?? entry.stored;
    const renewable = stored?.provider === "adopted" ? undefined : stored?.lifetime;
    const next = nextAttemptAtMs(renewable, change.attempts, nowMs, this.#options.settings);
    const lastFailure = change.lastFailure;
    this.#entries.set(subjectKey(entry.image), {
      image: entry.image,
      attempts: change.attempts,
      renewals: {
        success: entry.renewals.success + (change.success ?? 0),
        failure: entry.renewals.failure + (change.failure ?? 0),
      },
      ...pick(entry, "withdrawn"),
      ...(stored && { stored }),
      ...(next !== undefined && { nextAttemptAtMs: next }),
      ...(lastFailure && { lastFailure }),
    });
  }
}
