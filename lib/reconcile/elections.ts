import {
  type CallOptions,
  type Candidate,
  type Clock,
  credentialFingerprint,
  hardExpiryOf,
  type ImageReference,
  type Observer,
  type ProbeTarget,
  type ProviderName,
  type Resolution,
} from "../model/mod.ts";
import type { Contender, Election, ElectionRequest } from "../resolve/mod.ts";
import type { StoreEntry } from "../store/mod.ts";
import type { MountsInUse } from "./in_use.ts";

/** Decides between credentials (the elector, seen from here). */
export interface ElectorPort {
  elect(request: ElectionRequest, options?: CallOptions): Promise<Election>;
}

/** What elections need. */
export interface ElectionsOptions {
  /** Undefined: the first that the chain finds is taken, unseen. */
  readonly elector: ElectorPort | undefined;
  readonly observer: Observer;
  readonly clock: Clock;
  /** How an image's registry is reached. */
  readonly targetOf: (image: ImageReference) => ProbeTarget;
  readonly inUse: (image: ImageReference) => MountsInUse;
}

/** What a resolution comes to. */
export type Decision =
  | {
    readonly kind: "take";
    readonly provider: ProviderName;
    readonly candidates: readonly [Candidate, ...Candidate[]];
    readonly elected?: string;
  }
  | { readonly kind: "keep"; readonly detail: string };

/** How a question was asked. */
export interface DecisionOptions extends CallOptions {
  /** Reads with the credential in use are refused. */
  readonly readsRefused: boolean;
  /** Asks every provider, not only the first that has something; undefined: that was done. */
  readonly askAll?: () => Promise<Resolution>;
}

/** Between the chain and the store: which of the credentials that were found is to be used. */
export class Elections {
  readonly #options: ElectionsOptions;

  constructor(options: ElectionsOptions) {
    this.#options = options;
  }

  /** Undefined where nothing was found. */
  async decide(
    entry: StoreEntry,
    resolution: Resolution,
    { readsRefused, askAll, signal }: DecisionOptions,
  ): Promise<Decision | undefined> {
    const { elector, targetOf } = this.#options;
    const { winner } = resolution;
    if (winner === undefined) return undefined;
    if (elector === undefined) return { kind: "take", ...winner };
    const inUse = this.#inUse(entry);
    const elect = (offered: readonly Contender[], readsRefused: boolean) =>
      elector.elect({
        image: entry.image,
        target: targetOf(entry.image),
        offered,
        readsRefused,
        ...(inUse && { inUse }),
      }, signal ? { signal } : {});
    let election = await elect(offeredBy(resolution), readsRefused);
    if (election.exhausted && askAll !== undefined) {
      const all = offeredBy(await askAll());
      if (all.length > 0) election = await elect(all, false);
    }
    return this.#decision(entry, election);
  }

  #inUse({ image, stored }: StoreEntry): ElectionRequest["inUse"] {
    const { held, proven } = this.#options.inUse(image);
    if (stored !== undefined) {
      return { provider: stored.provider, candidate: stored.candidate, proven };
    }
    if (held === undefined) return undefined;
    const nowMs = this.#options.clock.wallMs();
    const { expiresAtMs } = hardExpiryOf(held, nowMs);
    const candidate: Candidate = {
      credential: held,
      origin: "held by nydusd",
      fetchedAtMs: nowMs,
      watched: true,
      ...(expiresAtMs !== undefined && { hardExpiresAtMs: expiresAtMs }),
    };
    return { provider: "adopted", candidate, proven };
  }

  #decision({ image, stored }: StoreEntry, election: Election): Decision {
    const { kind, winner: { provider, candidate }, losers, detail, reason } = election;
    if (kind === "kept" || provider === "adopted") return { kind: "keep", detail };
    const fingerprint = credentialFingerprint(candidate.credential);
    const isPlain = reason === "only" || reason === "first" || reason === "in-use";
    if (!isPlain && fingerprint !== stored?.fingerprint) {
      this.#options.observer.notify({
        kind: "credential-elected",
        image: image.text,
        provider,
        origin: candidate.origin,
        fingerprint,
        reason,
        detail,
        losers: losers.length,
      });
    }
    const candidates = [candidate, ...losers.map((loser) => loser.candidate)] as const;
    const said = reason === "in-use" ? stored?.elected : isPlain ? undefined : detail;
    return { kind: "take", provider, candidates, ...(said !== undefined && { elected: said }) };
  }
}

/** Everything that was found by providers that can be asked again, in the chain's order. */
function offeredBy({ attempts, winner }: Resolution): readonly Contender[] {
  const found = attempts.flatMap(({ provider, outcome }) =>
    outcome.kind === "found"
      ? outcome.candidates.map((candidate): Contender => ({ provider, candidate }))
      : []
  );
  if (found.length > 0 || winner === undefined) return found;
  return winner.candidates.map((candidate) => ({ provider: winner.provider, candidate }));
}
