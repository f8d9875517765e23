import {
  type CallOptions,
  type Clock,
  type CredentialRequest,
  Gate,
  messageOf,
  type Observer,
  type ProviderAttempt,
  type Resolution,
  standingName,
  Turns,
} from "../model/mod.ts";
import type { CredentialStore, StoreEntry } from "../store/mod.ts";

/** Asks the renewable providers for an image (the chain, seen from here). */
export interface Resolver {
  resolve(
    request: CredentialRequest,
    options?: CallOptions & { readonly renewal?: boolean },
  ): Promise<Resolution>;
}

/** What renewals need. */
export interface RenewalsOptions {
  readonly store: CredentialStore;
  readonly resolver: () => Resolver;
  readonly observer: Observer;
  readonly clock: Clock;
  /** Called when an image's answer, good or bad, is in the store. */
  readonly settled: (image: string) => void;
}

/** Images asked for side by side; what runs plugins has a tighter bound of its own. */
const MAX_PARALLEL = 32;

/** Brings the store up to date: one question per image at a time, in the background. */
export class Renewals {
  readonly #options: RenewalsOptions;
  readonly #inFlight = new Map<string, Promise<void>>();
  /** Images whose source changed while it was being asked. */
  readonly #again = new Set<string>();
  readonly #gate = new Gate(MAX_PARALLEL);
  readonly #turns: Turns;
  readonly #stop = new AbortController();

  constructor(options: RenewalsOptions) {
    this.#options = options;
    this.#turns = new Turns(options.clock);
  }

  /** Whether an answer for this image is awaited. */
  isAsking(image: string): boolean {
    return this.#inFlight.has(image);
  }

  /**
   * Starts a question for every entry that is not being asked for already. `recheck`: a source has
   * changed, whatever it says counts; `refused`: the credential in use is refused, hurry.
   */
  start(entries: Iterable<StoreEntry>, { recheck = false, refused = false } = {}): void {
    for (const entry of entries) {
      const { image } = entry;
      if (this.#stop.signal.aborted) return;
      if (this.#inFlight.has(image.text)) {
        if (recheck) this.#again.add(image.text);
        continue;
      }
      const work = this.#gate.run(() => this.#ask(image.text, recheck, refused))
        .catch(() => {}) // only an abort comes this far
        .finally(() => {
          this.#inFlight.delete(image.text);
          if (this.#again.delete(image.text)) this.start([entry], { recheck: true });
          if (!this.#stop.signal.aborted) this.#options.settled(image.text);
        });
      this.#inFlight.set(image.text, work);
    }
  }

  /** When the next question is due (wall); what is being asked already is not due again. */
  nextDueAtMs(): number | undefined {
    let soonest: number | undefined;
    for (const { image, nextAttemptAtMs: next } of this.#options.store.entries()) {
      if (next === undefined || (soonest !== undefined && next >= soonest)) continue;
      if (!this.#inFlight.has(image.text)) soonest = next;
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

  async #ask(image: string, recheck: boolean, refused: boolean): Promise<void> {
    const { store, clock, resolver } = this.#options;
    if (this.#turns.isDue) await this.#turns.give();
    const entry = store.get(image);
    if (entry === undefined || this.#stop.signal.aborted) return;
    const request = this.#request(entry, recheck, refused);
    let resolution: Resolution;
    try {
      resolution = await resolver().resolve(request, { renewal: true, signal: this.#stop.signal });
    } catch (error) {
      if (this.#stop.signal.aborted) throw error;
      const failure = { reason: "internal-error", detail: messageOf(error) } as const;
      store.recordFailure(entry.image, failure, clock.wallMs());
      return;
    }
    if (resolution.winner === undefined) this.#noAnswer(entry, resolution);
    else this.#answer(entry, resolution.winner);
  }

  /** By the clock, only something newer than what we have helps; after a change, anything does. */
  #request(entry: StoreEntry, recheck: boolean, refused: boolean): CredentialRequest {
    const { store, clock } = this.#options;
    const nowMs = clock.wallMs();
    const { stored } = entry;
    const window = store.window(entry, nowMs);
    const dueByClock = stored !== undefined && stored.provider !== "adopted" &&
      !(recheck && (entry.nextAttemptAtMs ?? Infinity) > nowMs);
    return {
      image: entry.image,
      labels: {},
      ...(dueByClock && { newerThanMs: stored.candidate.fetchedAtMs }),
      ...((refused || window === "mandatory" || window === "expired") && { urgent: true }),
      ...((stored === undefined || stored.provider === "adopted") && { waiting: true }),
      ...(refused && { refused }),
    };
  }

  #answer(entry: StoreEntry, winner: NonNullable<Resolution["winner"]>): void {
    const { store, clock, observer } = this.#options;
    if (!winner.renewable) return;
    const nowMs = clock.wallMs();
    const outcome = store.put(entry.image, winner, nowMs);
    const after = store.get(entry.image.text);
    if (outcome === "same" || after?.stored === undefined) return;
    if (store.window(after, nowMs) === "expired") {
      observer.notify({
        kind: "renewal-failed",
        image: entry.image.text,
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
      image: entry.image.text,
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

  #noAnswer(entry: StoreEntry, resolution: Resolution): void {
    const { store, clock, observer } = this.#options;
    const nowMs = clock.wallMs();
    if (isWithdrawn(entry, resolution.attempts)) store.withdraw(entry.image);
    const failure = failureOf(resolution.attempts);
    store.recordFailure(entry.image, { ...failure, isNone: !failure.failed }, nowMs);
    const stored = store.get(entry.image.text)?.stored;
    // An image that nobody has a credential for is public, not failing.
    const failing = failure.failed || (stored !== undefined && stored.provider !== "adopted");
    if (!failing) return;
    observer.notify({
      kind: "renewal-failed",
      image: entry.image.text,
      ...(failure.provider && { provider: failure.provider }),
      reason: failure.reason,
      detail: failure.detail,
      expired: stored !== undefined && store.window(entry, nowMs) === "expired",
      nextAttemptAtMs: store.get(entry.image.text)?.nextAttemptAtMs ?? nowMs,
    });
  }
}

/** Whether its source says that what it gave before, in someone's name, counts no more. */
function isWithdrawn({ stored }: StoreEntry, attempts: readonly ProviderAttempt[]): boolean {
  const name = stored && standingName(stored.candidate);
  const attempt = attempts.find(({ provider }) => provider === stored?.provider);
  if (name === undefined || attempt === undefined || attempt.outcome.kind === "found") return false;
  return attempt.outcome.standing?.includes(name) === false;
}

/** What explains most: the first provider that failed, else the last that had nothing. */
function failureOf(attempts: readonly ProviderAttempt[]) {
  const failed = attempts.find(({ outcome }) => outcome.kind === "failed");
  if (failed?.outcome.kind === "failed") {
    const { reason, detail, retryAtMs } = failed.outcome;
    return {
      failed: true,
      provider: failed.provider,
      reason,
      detail,
      ...(retryAtMs !== undefined && { retryAtMs }),
    };
  }
  const reason = attempts.at(-1)?.outcome.reason ?? "not-enabled";
  return {
    failed: false,
    provider: undefined,
    reason,
    detail: "no provider has a credential for this image",
  };
}
