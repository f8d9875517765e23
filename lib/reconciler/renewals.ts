import {
  accountName,
  credentialFingerprint,
  type CredentialRequest,
  type CredentialSubject,
  defined,
  type ImageReference,
  messageOf,
  type ProviderAttempt,
  type RefusedCredential,
  Semaphore,
  subjectKey,
} from "../model/mod.ts";
import type { CredentialStore, Renewal, RenewalFailure, StoreEntry } from "../credentials/mod.ts";
import { candidateInUse, type Decision, resolveEntry } from "./candidate_selection.ts";
import type { RenewalContext } from "./context.ts";

/** Why an entry is renewed before it is due. */
interface RenewalCause {
  /** A source changed: its current answer counts, newer or not. */
  readonly recheck?: boolean;
  /** The current credential is refused: its source is requested past caches. */
  readonly refused?: RefusedCredential;
  /** A user requested it at this time (monotonic and wall). */
  readonly forced?: { readonly atMs: number; readonly wallMs: number };
}

/** Concurrent renewals. Plugins and helpers have a lower limit of their own. */
const MAX_PARALLEL = 32;

/**
 * Renews entries of the store in the background.
 *
 * Invariants: at most one renewal per entry is in flight; a cause that arrives meanwhile starts
 * another one after it, so that a change during a request is not lost; renewals only write to the
 * store, deliveries are the caller's.
 */
export class Renewals {
  readonly #context: RenewalContext;
  readonly #onCompleted: (key: string) => void;
  readonly #inFlight = new Map<string, Promise<void>>();
  /** Causes that arrived during the renewal in flight. */
  readonly #pending = new Map<string, RenewalCause>();
  readonly #semaphore = new Semaphore(MAX_PARALLEL);
  readonly #stop = new AbortController();

  /** @param onCompleted Called when the result of a renewal is in the store. */
  constructor(context: RenewalContext, onCompleted: (key: string) => void) {
    this.#context = context;
    this.#onCompleted = onCompleted;
  }

  /** Starts a renewal of each entry, unless one is in flight and there is no cause for another. */
  start(entries: Iterable<StoreEntry>, cause: RenewalCause = {}): void {
    for (const entry of entries) {
      if (this.#stop.signal.aborted) return;
      const key = subjectKey(entry.image);
      if (!this.#inFlight.has(key)) this.#inFlight.set(key, this.#run(key, entry, cause));
      else if (cause.recheck || cause.refused || cause.forced) {
        this.#pending.set(key, { ...this.#pending.get(key), ...cause });
      }
    }
  }

  async #run(key: string, entry: StoreEntry, cause: RenewalCause): Promise<void> {
    await this.#semaphore.run(() => this.#renew(key, cause)).catch(() => {}); // only aborted
    this.#inFlight.delete(key);
    const pending = this.#pending.get(key);
    if (this.#pending.delete(key) && pending !== undefined) this.start([entry], pending);
    if (!this.#stop.signal.aborted) this.#onCompleted(key);
  }

  /** Renews all entries, or those of one image, because a source changed. */
  recheck(only?: ImageReference): void {
    const entries = [...this.#context.store.entries()];
    const affected = only ? entries.filter(({ image }) => isAffected(image, only)) : entries;
    this.start(affected, { recheck: true });
  }

  /** Renews an entry past caches and backoff on user request. Resolves when that has completed. */
  async force(image: CredentialSubject): Promise<void> {
    const { store, clock } = this.#context;
    const key = subjectKey(image);
    const forced = { atMs: clock.monotonicMs(), wallMs: clock.wallMs() };
    const entry = store.get(key);
    if (entry === undefined) return;
    const inFlight = this.#inFlight.get(key);
    this.start([entry], { forced });
    await inFlight;
    await this.#inFlight.get(key);
  }

  /** Returns the wall time of the next renewal, apart from those in flight, or `Infinity`. */
  nextDueAtMs(): number {
    const { store, clock } = this.#context;
    return store.nextDueAtMs(clock.wallMs(), this.#inFlight);
  }

  /** Resolves when no renewal is in flight. */
  async idle(): Promise<void> {
    while (this.#inFlight.size > 0) await Promise.all(this.#inFlight.values());
  }

  /** Aborts all renewals. */
  async stop(): Promise<void> {
    this.#stop.abort(new DOMException("renewals stopped", "AbortError"));
    await this.idle();
  }

  async #renew(key: string, initialCause: RenewalCause): Promise<void> {
    const { store, stages, clock } = this.#context;
    const { signal } = this.#stop;
    const entry = store.get(key);
    if (entry === undefined || signal.aborted) return;
    const cause = causeFor(initialCause, entry);
    if (cause === undefined) return;
    const inUse = candidateInUse(this.#context, entry);
    const request = defined({
      ...requestFor(entry, cause, store, clock.wallMs()),
      inUse: inUse && credentialFingerprint(inUse.candidate.credential),
    });
    /** Fingerprints of the credentials that turn out to be refused. */
    const refused = new Set<string>();
    try {
      const { resolution: { attempts }, decision } = await resolveEntry(this.#context, entry, {
        resolve: (all, change) => {
          const changed = { ...request, ...change };
          if (changed.refused !== undefined) refused.add(changed.refused.fingerprint);
          return stages().resolver.resolve(changed, { renewal: true, all, signal });
        },
        readsRefused: cause.refused !== undefined,
        signal,
      });
      this.#store(entry, attempts, decision);
    } catch (error) {
      if (signal.aborted) throw error;
      const { perServiceAccount = false } = entry.attempts;
      const detail = messageOf(error);
      this.#recordFailure(entry, { reason: "internal-error", detail, perServiceAccount });
      return;
    }
    const after = store.get(key)?.stored?.fingerprint;
    if (after === undefined || refused.has(after)) return;
    // A refused credential was replaced: the other entries that have it follow.
    const others = [...store.entries()].filter(({ image, stored }) =>
      stored !== undefined && refused.has(stored.fingerprint) &&
      !this.#inFlight.has(subjectKey(image))
    );
    this.start(others, { recheck: true });
  }

  #store(entry: StoreEntry, attempts: readonly ProviderAttempt[], decision?: Decision): void {
    if (decision?.kind === "use") return this.#recordSuccess(entry, decision);
    if (decision === undefined && isWithdrawn(entry, attempts)) {
      this.#context.store.withdraw(entry.image);
    }
    const failure = decision === undefined
      ? failureOf(attempts)
      : { reason: "registry-refused" as const, detail: decision.detail };
    this.#recordFailure(entry, { ...failure, perServiceAccount: isPerServiceAccount(attempts) });
  }

  #recordSuccess(entry: StoreEntry, renewal: Renewal): void {
    const { store, clock, observer } = this.#context;
    const { provider, candidate } = renewal;
    const nowMs = clock.wallMs();
    const outcome = store.put(entry.image, renewal, nowMs);
    const after = store.get(subjectKey(entry.image));
    if (outcome === "same" || after?.stored === undefined) return;
    if (store.window(after, nowMs) === "expired") {
      const detail = "the source returned the expired credential again";
      return this.#reportFailure(after, { provider, reason: "found", detail }, nowMs);
    }
    observer.notify(defined({
      kind: "credential-renewed" as const,
      ...subjectFields(entry.image),
      provider,
      changed: outcome === "new",
      fingerprint: after.stored.fingerprint,
      dueAtMs: store.nextAttemptAtMs(after, nowMs),
      refreshAtMs: candidate.refreshAtMs,
      expiresAtMs: candidate.expiresAtMs,
    }));
  }

  #recordFailure(entry: StoreEntry, failure: RenewalFailure): void {
    const { store, clock } = this.#context;
    const nowMs = clock.wallMs();
    store.recordFailure(entry.image, failure, nowMs);
    const after = store.get(subjectKey(entry.image)) ?? entry;
    // An image without a credential of any provider is public: that is no failure.
    if (failure.notFound && (after.stored?.provider ?? "adopted") === "adopted") return;
    this.#reportFailure(after, failure, nowMs);
  }

  #reportFailure(
    entry: StoreEntry,
    { provider, reason, detail }: RenewalFailure,
    nowMs: number,
  ): void {
    const { store, observer } = this.#context;
    observer.notify(defined({
      kind: "renewal-failed" as const,
      ...subjectFields(entry.image),
      provider,
      reason,
      detail,
      expired: store.window(entry, nowMs) === "expired",
      nextAttemptAtMs: store.nextAttemptAtMs(entry, nowMs) ?? nowMs,
    }));
  }
}

/**
 * Returns the request for an entry. One that is due needs a credential newer than the stored one;
 * after a change of a source any answer counts.
 */
export function requestFor(
  entry: StoreEntry,
  { recheck = false, refused, forced }: RenewalCause,
  store: CredentialStore,
  nowMs: number,
): CredentialRequest {
  const { image: { endpoint, ...image }, stored } = entry;
  const dueAtMs = store.nextAttemptAtMs(entry, nowMs) ?? Infinity;
  const window = store.window(entry, nowMs);
  const current = stored?.provider === "adopted" ? undefined : stored;
  const isDue = !recheck || refused !== undefined || dueAtMs <= nowMs;
  const newerThanDueMs = isDue ? current?.candidate.fetchedAtMs : undefined;
  const isUrgent = refused !== undefined || window === "mandatory" || window === "expired";
  return defined({
    image,
    endpoint,
    endpointInUse: endpoint && stored?.candidate.forEndpoint === true,
    labels: {},
    // A credential that another entry of the same user request fetched in this millisecond counts.
    newerThanMs: forced ? forced.wallMs - 1 : newerThanDueMs,
    forcedAtMs: forced?.atMs,
    urgent: isUrgent || undefined,
    waiting: current === undefined || undefined,
    refused,
  });
}

/**
 * Returns the part of a cause that still applies: a refused credential may have been replaced
 * meanwhile. Undefined when no renewal is necessary any more.
 */
export function causeFor(
  { refused, ...others }: RenewalCause,
  { stored }: StoreEntry,
): RenewalCause | undefined {
  if (refused === undefined) return others;
  if (refused.fingerprint === stored?.fingerprint) return { ...others, refused };
  return others.recheck === true || others.forced !== undefined ? others : undefined;
}

/** Whether a change of one image affects another. Of a mount only the repository may be known. */
export function isAffected(image: ImageReference, changed: ImageReference): boolean {
  return image.text === changed.text ||
    image.tag === undefined && image.digest === undefined &&
      image.registry === changed.registry && image.repository === changed.repository;
}

/** The fields by which events identify an entry. */
export function subjectFields({ text, endpoint }: CredentialSubject) {
  return defined({ image: text, endpoint: endpoint?.text });
}

/** Whether the source of a credential reports that its service account is no longer valid. */
export function isWithdrawn({ stored }: StoreEntry, attempts: readonly ProviderAttempt[]): boolean {
  const name = stored && accountName(stored.candidate);
  const attempt = attempts.find(({ provider, forEndpoint }) =>
    provider === stored?.provider && forEndpoint === stored.candidate.forEndpoint
  );
  if (name === undefined || attempt === undefined || attempt.outcome.kind === "found") return false;
  const { validAccounts = "unknown" } = attempt.outcome;
  return validAccounts !== "unknown" && !validAccounts.includes(name);
}

/** Whether a source returns credentials per service account. */
export function isPerServiceAccount(attempts: readonly ProviderAttempt[]): boolean {
  return attempts.some(({ outcome }) =>
    outcome.kind === "found"
      ? outcome.candidates.some(({ account }) => account !== undefined)
      : outcome.validAccounts !== undefined
  );
}

/** Returns the failure of the first provider that failed, else that none has a credential. */
export function failureOf(attempts: readonly ProviderAttempt[]): RenewalFailure {
  for (const { provider, outcome } of attempts) {
    if (outcome.kind !== "failed") continue;
    const { reason, detail, retryAtMs } = outcome;
    return defined({ provider, reason, detail, retryAtMs });
  }
  const reason = attempts.at(-1)?.outcome.reason ?? "not-enabled";
  return { reason, detail: "no provider has a credential for this image", notFound: true };
}
