import {
  type CallOptions,
  type Candidate,
  type Clock,
  credentialFingerprint,
  type Observer,
  type ProviderName,
  type Resolution,
  subjectKey,
  tokenExpiryOf,
  unapprovedHosts,
} from "../model/mod.ts";
import type { ScoredCandidate, Selection, SelectionRequest } from "../verification/mod.ts";
import type { StoreEntry } from "../credentials/mod.ts";
import { mountsInUse } from "./in_use.ts";
import type { MountRecords } from "./mount_records.ts";
import type { Mount, Mounts } from "./mounts.ts";
import { probeTargetOf } from "./probe_target.ts";

/** Decides between credentials (the elector, seen from here). */
export interface Selector {
  select(request: SelectionRequest, options?: CallOptions): Promise<Selection>;
}

/** What elections need. */
export interface SelectionsOptions {
  /** Undefined: the first that the chain finds is taken, unseen. */
  readonly selector: Selector | undefined;
  readonly observer: Observer;
  readonly clock: Clock;
  readonly mounts: Pick<Mounts, "of">;
  readonly book: MountRecords;
}

/** What a resolution comes to. */
export type Decision =
  | {
    readonly kind: "take";
    readonly provider: ProviderName;
    readonly candidates: readonly [Candidate, ...Candidate[]];
    readonly selectionReason?: string;
  }
  | { readonly kind: "keep"; readonly detail: string };

/** How a question was asked, and how to ask on. */
export interface DecisionOptions extends CallOptions {
  /** Reads with the credential in use are refused. */
  readonly readsRefused: boolean;
  /** Wall time of the question: what was fetched before it was kept since. */
  readonly queriedAtMs: number;
  /** Asks every provider, not only the first that has something; undefined: that was done. */
  readonly queryAll?: () => Promise<Resolution>;
  /** Asks every provider for something newer than a kept candidate that the registry refuses. */
  readonly queryNewer?: (than: Candidate) => Promise<Resolution>;
}

/** Between the chain and the store: which of the credentials that were found is to be used. */
export class Selections {
  readonly #options: SelectionsOptions;

  constructor(options: SelectionsOptions) {
    this.#options = options;
  }

  /** Undefined where nothing was found. */
  async decide(
    entry: StoreEntry,
    resolution: Resolution,
    options: DecisionOptions,
  ): Promise<Decision | undefined> {
    const { winner } = resolution;
    if (winner === undefined) return undefined;
    if (this.#options.selector === undefined) return { kind: "take", ...winner };
    const mounts = this.#options.mounts.of(subjectKey(entry.image));
    const inUse = this.inUse(entry);
    const offered = offeredBy(resolution);
    // To ask a host is to show it the credential: the one in use stays as long as it is offered.
    if (mayNotSee(mounts, offered)) {
      const used = offered.find((one) => inUse !== undefined && isSame(one, inUse));
      if (used === undefined || used.provider === "adopted" || options.readsRefused) {
        return { kind: "take", ...winner };
      }
      return { kind: "take", provider: used.provider, candidates: [used.candidate] };
    }
    const question = {
      image: entry.image,
      target: probeTargetOf(entry.image, mounts),
      readsRefused: options.readsRefused,
      offered,
      ...(inUse && { inUse }),
    };
    return this.#decision(entry, await this.#select(this.#options.selector, question, options));
  }

  /** Where all that is offered is refused, further sources are asked, and those again. */
  async #select(
    selector: Selector,
    question: SelectionRequest,
    { queryAll, queryNewer, queriedAtMs, signal }: DecisionOptions,
  ): Promise<Selection> {
    const how = signal ? { signal } : {};
    let { offered } = question;
    let selection = await selector.select(question, how);
    if (selection.exhausted && queryAll !== undefined) {
      const all = offeredBy(await queryAll());
      if (all.length > 0) {
        offered = all;
        selection = await selector.select({ ...question, offered, readsRefused: false }, how);
      }
    }
    const kept = offered.map(({ candidate }) => candidate).find(({ watched, fetchedAtMs }) =>
      !watched && fetchedAtMs < queriedAtMs
    );
    if (!selection.exhausted || kept === undefined || queryNewer === undefined) return selection;
    const newer = offeredBy(await queryNewer(kept));
    const fetched = newer.filter((one) => !offered.some((other) => isSame(one, other)));
    if (fetched.length === 0) return selection;
    return await selector.select(
      { ...question, offered: newer, fetched, readsRefused: false },
      how,
    );
  }

  /** Returns what the mounts of an image use: what is stored for them, else what they hold. */
  inUse({ image, stored }: StoreEntry): SelectionRequest["inUse"] {
    const mounts = this.#options.mounts.of(subjectKey(image));
    const { currentAuth, proven } = mountsInUse(mounts, this.#options.book);
    if (stored !== undefined) {
      return { provider: stored.provider, candidate: stored.candidate, proven };
    }
    if (currentAuth === undefined) return undefined;
    const nowMs = this.#options.clock.wallMs();
    const { expiresAtMs } = tokenExpiryOf(currentAuth, nowMs);
    const candidate: Candidate = {
      credential: currentAuth,
      origin: "held by nydusd",
      fetchedAtMs: nowMs,
      watched: true,
      ...(expiresAtMs !== undefined && { expiresAtMs: expiresAtMs }),
    };
    return { provider: "adopted", candidate, proven };
  }

  #decision({ image, stored }: StoreEntry, selection: Selection): Decision {
    const { kind, winner: { provider, candidate }, otherCandidates, detail, reason } = selection;
    if (kind === "kept" || provider === "adopted") return { kind: "keep", detail };
    const fingerprint = credentialFingerprint(candidate.credential);
    const isPlain = reason === "only" || reason === "first" || reason === "in-use";
    if (!isPlain && fingerprint !== stored?.fingerprint) {
      this.#options.observer.notify({
        kind: "candidate-selected",
        image: image.text,
        provider,
        origin: candidate.origin,
        fingerprint,
        reason,
        detail,
        otherCandidates: otherCandidates.length,
      });
    }
    const candidates = [candidate, ...otherCandidates.map((loser) => loser.candidate)] as const;
    const said = reason === "in-use" ? stored?.selectionReason : isPlain ? undefined : detail;
    return {
      kind: "take",
      provider,
      candidates,
      ...(said !== undefined && { selectionReason: said }),
    };
  }
}

function isSame({ candidate: a }: ScoredCandidate, { candidate: b }: ScoredCandidate): boolean {
  return credentialFingerprint(a.credential) === credentialFingerprint(b.credential);
}

/** Whether one of these would be shown to a host that nobody named as a place for it. */
function mayNotSee(mounts: readonly Mount[], offered: readonly ScoredCandidate[]): boolean {
  const endpoint = mounts.map(({ instance }) => instance.endpoint).find((one) => one !== undefined);
  return offered.some(({ candidate }) => unapprovedHosts(endpoint, candidate).length > 0);
}

/** Everything that was found by providers that can be asked again, in the chain's order. */
function offeredBy({ attempts, winner }: Resolution): readonly ScoredCandidate[] {
  const found = attempts.flatMap(({ provider, outcome }) =>
    outcome.kind === "found"
      ? outcome.candidates.map((candidate): ScoredCandidate => ({ provider, candidate }))
      : []
  );
  if (found.length > 0 || winner === undefined) return found;
  return winner.candidates.map((candidate) => ({ provider: winner.provider, candidate }));
}
