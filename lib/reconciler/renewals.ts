import {
  type CallOptions,
  type Clock,
  credentialFingerprint,
  type CredentialRequest,
  type CredentialSubject,
  Gate,
  type ImageReference,
  messageOf,
  type Observer,
  type Resolution,
  subjectKey,
  Turns,
} from "../model/mod.ts";
import type { CredentialStore, StoreEntry } from "../credentials/mod.ts";
import { failureOf, isInNames, isWithdrawn } from "./renewal_failure.ts";
import {
  concerns,
  namesOf,
  newerThan,
  requestFor,
  stillTrue,
  type Why,
} from "./renewal_request.ts";
import type { Decision, Elections } from "./candidate_selection.ts";

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
  readonly elections: Elections;
  readonly observer: Observer;
  readonly clock: Clock;
  /** Called when the answer for a store's key, good or bad, is in the store. */
  readonly settled: (key: string) => void;
}

/** Images asked for side by side; what runs plugins has a tighter bound of its own. */
const MAX_PARALLEL = 32;

/** Brings the store up to date: one question per image at a time, in the background. */
export class Renewals {
  readonly #options: RenewalsOptions;
  readonly #inFlight = new Map<string, Promise<void>>();
  /** What has happened to an image while its source was being asked. */
  readonly #again = new Map<string, Why>();
  readonly #gate = new Gate(MAX_PARALLEL);
  readonly #turns: Turns;
  readonly #stop = new AbortController();

  constructor(options: RenewalsOptions) {
    this.#options = options;
    this.#turns = new Turns(options.clock);
  }

  /** Whether an answer for this key of the store is awaited. */
  isAsking(key: string): boolean {
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
          if (!this.#stop.signal.aborted) this.#options.settled(key);
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
      if (!this.isAsking(subjectKey(image))) soonest = next;
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
    if (this.#turns.isDue) await this.#turns.give();
    const entry = store.get(key);
    if (entry === undefined || this.#stop.signal.aborted) return;
    const why = stillTrue(asked, entry);
    if (why === undefined) return;
    const refused = why.refused !== undefined;
    const { signal } = this.#stop;
    const askedAtMs = this.#options.clock.wallMs();
    const inUse = this.#options.elections.inUse(entry);
    const request = {
      ...requestFor(entry, why, store, askedAtMs),
      ...(inUse && { inUse: credentialFingerprint(inUse.candidate.credential) }),
    };
    const resolve = (all: boolean, more: Partial<CredentialRequest> = {}) =>
      resolver().resolve({ ...request, ...more }, { renewal: true, all, signal });
    const refusedOnes = new Set(why.refused === undefined ? [] : [why.refused.fingerprint]);
    let resolution: Resolution;
    let decision: Decision | undefined;
    try {
      resolution = await resolve(refused);
      decision = await this.#options.elections.decide(entry, resolution, {
        readsRefused: refused,
        askedAtMs,
        signal,
        askNewer: (than) => {
          const newer = newerThan(than);
          refusedOnes.add(newer.refused.fingerprint);
          return resolve(true, newer);
        },
        ...(!refused && { askAll: () => resolve(true, { everyAccount: true }) }),
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
      this.#failed(entry, failure, entry.attempts.inNames);
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
        ...namesOf(entry),
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
      ...namesOf(entry),
      provider: winner.provider,
      changed: outcome === "new",
      fingerprint: after.stored.fingerprint,
      ...(after.nextAttemptAtMs !== undefined && { dueAtMs: after.nextAttemptAtMs }),
      ...(candidate.softExpiresAtMs !== undefined &&
        { softExpiresAtMs: candidate.softExpiresAtMs }),
      ...(candidate.hardExpiresAtMs !== undefined &&
        { hardExpiresAtMs: candidate.hardExpiresAtMs }),
    });
  }

  /** The source has something, and the registry refuses it: what is in use stays. */
  #kept(entry: StoreEntry, detail: string, { attempts }: Resolution): void {
    const { store, clock, observer } = this.#options;
    const nowMs = clock.wallMs();
    const reason = "registry-refused";
    store.recordFailure(entry.image, { reason, detail, inNames: isInNames(attempts) }, nowMs);
    const after = store.get(subjectKey(entry.image));
    observer.notify({
      kind: "renewal-failed",
      ...namesOf(entry),
      reason,
      detail,
      expired: after !== undefined && store.window(after, nowMs) === "expired",
      nextAttemptAtMs: after?.nextAttemptAtMs ?? nowMs,
    });
  }

  #noAnswer(entry: StoreEntry, resolution: Resolution): void {
    if (isWithdrawn(entry, resolution.attempts)) this.#options.store.withdraw(entry.image);
    this.#failed(entry, failureOf(resolution.attempts), isInNames(resolution.attempts));
  }

  #failed(entry: StoreEntry, failure: ReturnType<typeof failureOf>, inNames = false): void {
    const { store, clock, observer } = this.#options;
    const nowMs = clock.wallMs();
    store.recordFailure(entry.image, { ...failure, isNone: !failure.failed, inNames }, nowMs);
    const stored = store.get(subjectKey(entry.image))?.stored;
    // An image that nobody has a credential for is public, not failing.
    const failing = failure.failed || (stored !== undefined && stored.provider !== "adopted");
    if (!failing) return;
    observer.notify({
      kind: "renewal-failed",
      ...namesOf(entry),
      ...(failure.provider && { provider: failure.provider }),
      reason: failure.reason,
      detail: failure.detail,
      expired: stored !== undefined && store.window(entry, nowMs) === "expired",
      nextAttemptAtMs: store.get(subjectKey(entry.image))?.nextAttemptAtMs ?? nowMs,
    });
  }
}
