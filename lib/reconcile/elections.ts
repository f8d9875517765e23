import {
  type CallOptions,
  type Candidate,
  type Clock,
  credentialFingerprint,
  hardExpiryOf,
  type Observer,
  type ProviderName,
  type Resolution,
  subjectKey,
  unnamedHosts,
} from "../model/mod.ts";
import type { Contender, Election, ElectionRequest } from "../resolve/mod.ts";
import type { StoreEntry } from "../store/mod.ts";
import { mountsInUse } from "./in_use.ts";
import type { InstanceBook } from "./instance_book.ts";
import type { Mount, Mounts } from "./mounts.ts";
import { probeTargetOf } from "./probe_target.ts";

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
  readonly mounts: Pick<Mounts, "of">;
  readonly book: InstanceBook;
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
    const { elector } = this.#options;
    const { winner } = resolution;
    if (winner === undefined) return undefined;
    if (elector === undefined) return { kind: "take", ...winner };
    const mounts = this.#options.mounts.of(subjectKey(entry.image));
    // To ask a host is to show it the credential.
    if (mayNotSee(mounts, offeredBy(resolution))) return { kind: "take", ...winner };
    const inUse = this.#inUse(entry, mounts);
    const elect = (offered: readonly Contender[], readsRefused: boolean) =>
      elector.elect({
        image: entry.image,
        target: probeTargetOf(entry.image, mounts),
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

  #inUse({ stored }: StoreEntry, mounts: readonly Mount[]): ElectionRequest["inUse"] {
    const { held, proven } = mountsInUse(mounts, this.#options.book);
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

/** Whether one of these would be shown to a host that nobody named as a place for it. */
function mayNotSee(mounts: readonly Mount[], offered: readonly Contender[]): boolean {
  const endpoint = mounts.map(({ instance }) => instance.endpoint).find((one) => one !== undefined);
  return offered.some(({ candidate }) => unnamedHosts(endpoint, candidate).length > 0);
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
