import {
  type CallOptions,
  type Clock,
  credentialFingerprint,
  type CredentialRequest,
  type CredentialSubject,
  EventLoopYielder,
  type ImageReference,
  messageOf,
  type Observer,
  type Resolution,
  Semaphore,
  subjectKey,
} from "../model/mod.ts";
import type { CredentialStore, StoreEntry } from "../credentials/mod.ts";
import { failureOf, isPerServiceAccount, isWithdrawn } from "./renewal_failure.ts";
import {
  accountsOf,
  concerns,
  newerThan,
  requestFor,
  stillTrue,
  type Why,
} from "./renewal_request.ts";
import type { Decision, Selections } from "./candidate_selection.ts";

/** Asks the renewable providers for an image (the chain, seen from here). */
export interface Resolver {
  resolve(
    request: CredentialRequest,
    options?: CallOptions & { readonly renewal?: boolean; readonly all?: boolean },
  ): Promise<Resolution>;
}

/** What renewals need. */
export interface RenewalsOptions {
  readonly store: CredentialStore;
  readonly resolver: () => Resolver;
  readonly selections: Selections;
  readonly observer: Observer;
  readonly clock: Clock;
  /** Called when the answer for a store's key, good or bad, is in the store. */
  readonly inSync: (key: string) => void;
}

/** Images asked for side by side; what runs plugins has a tighter bound of its own. */
const MAX_PARALLEL = 32;

/** Brings the store up to date: one question per image at a time, in the background. */
export class Renewals {
  readonly #options: RenewalsOptions;
  readonly #inFlight = new Map<string, Promise<void>>();
  /** What has happened to an image while its source was being asked. */
  readonly #again = new Map<string, Why>();
  readonly #gate = new Semaphore(MAX_PARALLEL);
  readonly #turns: EventLoopYielder;
  readonly #stop = new AbortController();

  constructor(options: RenewalsOptions) {
    this.#options = options;
    this.#turns = new EventLoopYielder(options.clock);
  }

  /** Whether an answer for this key of the store is awaited. */
  isQuerying(key: string): boolean {
    return this.#inFlight.has(key);
  }

  /** Starts a question for every entry that is not being asked for already. */
  start(entries: Iterable<StoreEntry>, why: Why = {}): void {
    for (const entry of entries) {
      const key = subjectKey(entry.image);
      if (this.#stop.signal.aborted) return;
      if (this.#inFlight.has(key)) {
        const mustCome = why.recheck || why.refused || why.forced;
        if (mustCome) this.#again.set(key, { ...this.#again.get(key), ...why });
        continue;
      }
      const work = this.#gate.run(() => this.#ask(key, why))
        .catch(() => {}) // only an abort comes this far
        .finally(() => {
          this.#inFlight.delete(key);
          const again = this.#again.get(key);
          if (this.#again.delete(key) && again !== undefined) this.start([entry], again);
          if (!this.#stop.signal.aborted) this.#options.inSync(key);
        });
      this.#inFlight.set(key, work);
    }
  }

  /** A source has changed, for one image or for all: what it says now counts. */
  recheck(only?: ImageReference): void {
    const entries = [...this.#options.store.entries()];
    const meant = only ? entries.filter(({ image }) => concerns(image, only)) : entries;
    this.start(meant, { recheck: true });
  }

  /**
   * Asks for an entry past caches and backoffs, because a person wants it. Resolves when that is
   * answered, or given up.
   */
  async force(image: CredentialSubject): Promise<void> {
    const { store, clock } = this.#options;
    const key = subjectKey(image);
    const forced = { atMs: clock.monotonicMs(), wallMs: clock.wallMs() };
    const entry = store.get(key);
    if (entry === undefined) return;
    const open = this.#inFlight.get(key);
    this.start([entry], { forced }); // after the open one, where there is one
    await open;
    await this.#inFlight.get(key);
  }

  /** When the next question is due (wall); what is being asked already is not due again. */
  nextDueAtMs(): number | undefined {
    const { store } = this.#options;
    if (this.#inFlight.size === 0) return store.nextDueAtMs();
    let soonest: number | undefined;
    for (const { image, nextAttemptAtMs: next } of store.entries()) {
      if (next === undefined || (soonest !== undefined && next >= soonest)) continue;
      if (!this.isQuerying(subjectKey(image))) soonest = next;
    }
    return soonest;
  }

  /** Resolves when no question is open. */
  async idle(): Promise<void> {
    while (this.#inFlight.size > 0) await Promise.all(this.#inFlight.values());
  }

  /** Gives up every open question. */
  async stop(): Promise<void> {
    this.#stop.abort(new DOMException("renewals stopped", "AbortError"));
    await this.idle();
  }

  async #ask(key: string, asked: Why): Promise<void> {
    const { store, resolver } = this.#options;
    if (this.#turns.isDue) await this.#turns.yield();
    const entry = store.get(key);
    if (entry === undefined || this.#stop.signal.aborted) return;
    const why = stillTrue(asked, entry);
    if (why === undefined) return;
    const refused = why.refused !== undefined;
    const { signal } = this.#stop;
    const queriedAtMs = this.#options.clock.wallMs();
    const inUse = this.#options.selections.inUse(entry);
    const request = {
      ...requestFor(entry, why, store, queriedAtMs),
      ...(inUse && { inUse: credentialFingerprint(inUse.candidate.credential) }),
    };
    const resolve = (all: boolean, more: Partial<CredentialRequest> = {}) =>
      resolver().resolve({ ...request, ...more }, { renewal: true, all, signal });
    const refusedOnes = new Set(why.refused === undefined ? [] : [why.refused.fingerprint]);
    let resolution: Resolution;
    let decision: Decision | undefined;
    try {
      resolution = await resolve(refused);
      decision = await this.#options.selections.decide(entry, resolution, {
        readsRefused: refused,
        queriedAtMs,
        signal,
        queryNewer: (than) => {
          const newer = newerThan(than);
          refusedOnes.add(newer.refused.fingerprint);
          return resolve(true, newer);
        },
        ...(!refused && { queryAll: () => resolve(true, { allAccounts: true }) }),
      });
    } catch (error) {
      if (this.#stop.signal.aborted) throw error;
      const detail = messageOf(error);
      const failure = {
        failed: true,
        provider: undefined,
        reason: "internal-error",
        detail,
      } as const;
      this.#failed(entry, failure, entry.attempts.perServiceAccount);
      return;
    }
    if (decision === undefined) this.#noAnswer(entry, resolution);
    else if (decision.kind === "keep") this.#kept(entry, decision.detail, resolution);
    else if (resolution.winner?.renewable !== false) this.#answer(entry, decision);
    const after = store.get(key)?.stored?.fingerprint;
    if (after === undefined || refusedOnes.has(after)) return;
    for (const fingerprint of refusedOnes) this.#spread(fingerprint);
  }

  /** What was refused for one image is looked up again, in the cache, for the others with it. */
  #spread(fingerprint: string): void {
    const { store } = this.#options;
    const others = [...store.entries()].filter(({ image, stored }) =>
      stored?.fingerprint === fingerprint && !this.#inFlight.has(subjectKey(image))
    );
    this.start(others, { recheck: true });
  }

  #answer(entry: StoreEntry, winner: Extract<Decision, { readonly kind: "take" }>): void {
    const { store, clock, observer } = this.#options;
    const nowMs = clock.wallMs();
    const outcome = store.put(entry.image, winner, nowMs);
    const after = store.get(subjectKey(entry.image));
    if (outcome === "same" || after?.stored === undefined) return;
    if (store.window(after, nowMs) === "expired") {
      observer.notify({
        kind: "renewal-failed",
        ...accountsOf(entry),
        provider: winner.provider,
        reason: "found",
        detail: "the source gave the expired credential again",
        expired: true,
        nextAttemptAtMs: after.nextAttemptAtMs ?? nowMs,
      });
      return;
    }
    const [candidate] = winner.candidates;
    observer.notify({
      kind: "credential-renewed",
      ...accountsOf(entry),
      provider: winner.provider,
      changed: outcome === "new",
      fingerprint: after.stored.fingerprint,
      ...(after.nextAttemptAtMs !== undefined && { dueAtMs: after.nextAttemptAtMs }),
      ...(candidate.refreshAtMs !== undefined &&
        { refreshAtMs: candidate.refreshAtMs }),
      ...(candidate.expiresAtMs !== undefined &&
        { expiresAtMs: candidate.expiresAtMs }),
    });
  }

  /** The source has something, and the registry refuses it: what is in use stays. */
  #kept(entry: StoreEntry, detail: string, { attempts }: Resolution): void {
    const { store, clock, observer } = this.#options;
    const nowMs = clock.wallMs();
    const reason = "registry-refused";
    store.recordFailure(entry.image, {
      reason,
      detail,
      perServiceAccount: isPerServiceAccount(attempts),
    }, nowMs);
    const after = store.get(subjectKey(entry.image));
    observer.notify({
      kind: "renewal-failed",
      ...accountsOf(entry),
      reason,
      detail,
      expired: after !== undefined && store.window(after, nowMs) === "expired",
      nextAttemptAtMs: after?.nextAttemptAtMs ?? nowMs,
    });
  }

  #noAnswer(entry: StoreEntry, resolution: Resolution): void {
    if (isWithdrawn(entry, resolution.attempts)) this.#options.store.withdraw(entry.image);
    this.#failed(entry, failureOf(resolution.attempts), isPerServiceAccount(resolution.attempts));
  }

  #failed(
    entry: StoreEntry,
    failure: ReturnType<typeof failureOf>,
    perServiceAccount = false,
  ): void {
    const { store, clock, observer } = this.#options;
    const nowMs = clock.wallMs();
    store.recordFailure(
      entry.image,
      { ...failure, isNone: !failure.failed, perServiceAccount },
      nowMs,
    );
    const stored = store.get(subjectKey(entry.image))?.stored;
    // An image that nobody has a credential for is public, not failing.
    const failing = failure.failed || (stored !== undefined && stored.provider !== "adopted");
    if (!failing) return;
    observer.notify({
      kind: "renewal-failed",
      ...accountsOf(entry),
      ...(failure.provider && { provider: failure.provider }),
      reason: failure.reason,
      detail: failure.detail,
      expired: stored !== undefined && store.window(entry, nowMs) === "expired",
      nextAttemptAtMs: store.get(subjectKey(entry.image))?.nextAttemptAtMs ?? nowMs,
    });
  }
}
