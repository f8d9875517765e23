import {
  type CallOptions,
  type Candidate,
  credentialFingerprint,
  type CredentialRequest,
  defined,
  type ImageReference,
  type ProviderAttempt,
  type ProviderName,
  Refusals,
  subjectKey,
} from "../model/mod.ts";
import type { CredentialStore, StoreEntry } from "../credentials/mod.ts";
import type { ReconcilerContext } from "./context.ts";
import { type Renewals, subjectFields } from "./renewals.ts";

/** The credential that a client looks up. */
type CredentialLookup = Pick<CredentialRequest, "image" | "labels" | "validUntilMs">;

/** The credential of an image. */
export interface CredentialAnswer {
  readonly provider: ProviderName | "adopted";
  readonly candidate: Candidate;
  readonly fingerprint: string;
  /** Whether it has expired and no source has another. */
  readonly expired: boolean;
}

/** The result of a renewal on user request. */
interface RenewalResult {
  readonly image: string;
  /** The image at the registry that it is read from, if that is not its own registry. */
  readonly endpoint?: string;
  /** `changed`: another credential; `same`: the source returned the stored one. */
  readonly result: "changed" | "same" | "none" | "failed";
  readonly provider?: ProviderName | "adopted";
  /** Why the renewal failed. Never a secret. */
  readonly detail?: string;
}

/** The result of a report that a registry refused a credential. */
type RefusalResult =
  /** A newer credential was requested from its source. */
  | "requested"
  /** Its source was queried recently and is in backoff. */
  | "backing-off"
  /** The agent no longer serves this credential. */
  | "not-current";

/** Serves on-demand requests from the local API and the CLI. */
export class OnDemandRequests {
  readonly #context: ReconcilerContext;
  readonly #renewals: Renewals;
  readonly #refusals = new Refusals();

  constructor(context: ReconcilerContext, renewals: Renewals) {
    this.#context = context;
    this.#renewals = renewals;
  }

  /**
   * Returns the stored credential of an image, else the one of the chain, else the last good one;
   * and the attempts of the chain if it was called. Rejects only when `signal` aborts.
   */
  async credential(lookup: CredentialLookup, options: CallOptions = {}): Promise<
    { readonly answer?: CredentialAnswer; readonly attempts: readonly ProviderAttempt[] }
  > {
    const { stages, store, clock } = this.#context;
    const entry = store.get(lookup.image.text);
    const stored = entry && this.#storedAnswer(entry);
    if (stored !== undefined && this.#satisfies(stored, lookup)) {
      return { answer: stored, attempts: [] };
    }
    const { winner, attempts } = await stages().resolver.resolve(lookup, options);
    if (winner === undefined) return defined({ answer: stored, attempts });
    const { provider, candidates: [candidate] } = winner;
    const fingerprint = credentialFingerprint(candidate.credential);
    const expired = (candidate.expiresAtMs ?? Infinity) <= clock.wallMs();
    return { answer: { provider, candidate, fingerprint, expired }, attempts };
  }

  /**
   * Handles the report that a registry refused the credential with this fingerprint: if it is the
   * current one, its source is requested past caches, at most once per backoff step.
   */
  async refused(
    image: ImageReference,
    fingerprint: string,
    options: CallOptions = {},
  ): Promise<RefusalResult> {
    const { store, clock, stages } = this.#context;
    const lookup = { image, labels: {} };
    const entries = entriesWith(store, image, fingerprint);
    const { answer } = entries.length > 0 ? {} : await this.credential(lookup, options);
    if (entries.length === 0 && answer?.fingerprint !== fingerprint) return "not-current";
    const key = `${image.text}\0${fingerprint}`;
    if (!this.#refusals.mayForce(key, clock.monotonicMs())) return "backing-off";
    const refused = { fingerprint };
    if (answer === undefined) this.#renewals.start(entries, { refused });
    else {
      const newerThanMs = answer.candidate.fetchedAtMs;
      await stages().resolver.resolve({ ...lookup, newerThanMs, urgent: true, refused }, options);
    }
    return "requested";
  }

  /**
   * Renews past caches and backoff: all entries, or one image, mounted or not. Resolves when the
   * renewals have completed.
   */
  async renew(
    only?: ImageReference,
    options: CallOptions = {},
  ): Promise<readonly RenewalResult[]> {
    const { store } = this.#context;
    const entries = [...store.entries()]
      .filter(({ image }) => only === undefined || image.text === only.text);
    if (only !== undefined && entries.length === 0) {
      return [await this.#renewUnmounted(only, options)];
    }
    return await Promise.all(entries.map(async (before) => {
      await this.#renewals.force(before.image);
      return resultOf(before, store.get(subjectKey(before.image)) ?? before);
    }));
  }

  async #renewUnmounted(image: ImageReference, options: CallOptions): Promise<RenewalResult> {
    const { stages, clock } = this.#context;
    const { winner, attempts } = await stages().resolver.resolve({
      image,
      labels: {},
      newerThanMs: clock.wallMs() - 1,
      forcedAtMs: clock.monotonicMs(),
    }, options);
    if (winner !== undefined) {
      return { image: image.text, result: "changed", provider: winner.provider };
    }
    for (const { provider, outcome } of attempts) {
      if (outcome.kind !== "failed") continue;
      return { image: image.text, result: "failed", provider, detail: outcome.detail };
    }
    return { image: image.text, result: "none" };
  }

  /** Whether the chain need not be called. */
  #satisfies(
    { provider, candidate: { expiresAtMs, refreshAtMs } }: CredentialAnswer,
    { labels, validUntilMs = -Infinity }: CredentialLookup,
  ): boolean {
    if (provider === "adopted" || Object.keys(labels).length > 0) return false;
    if ((expiresAtMs ?? Infinity) <= this.#context.clock.wallMs()) return false;
    return (expiresAtMs ?? refreshAtMs ?? Infinity) > validUntilMs;
  }

  #storedAnswer(entry: StoreEntry): CredentialAnswer | undefined {
    const { store, clock } = this.#context;
    if (entry.stored === undefined) return undefined;
    const { provider, candidate, fingerprint } = entry.stored;
    const expired = store.window(entry, clock.wallMs()) === "expired";
    return { provider, candidate, fingerprint, expired };
  }
}

/**
 * Returns the entries of the image that have this credential, else one of the same registry. When
 * that one is renewed, the others with the credential follow.
 */
function entriesWith(
  store: CredentialStore,
  image: ImageReference,
  fingerprint: string,
): readonly StoreEntry[] {
  const all = [...store.entries()].filter(({ stored, image: { registry } }) =>
    stored?.fingerprint === fingerprint && registry === image.registry
  );
  const own = all.filter((entry) => entry.image.text === image.text);
  return own.length > 0 ? own : all.slice(0, 1);
}

function resultOf(before: StoreEntry, { image, stored, lastFailure }: StoreEntry): RenewalResult {
  const fields = defined({ ...subjectFields(image), provider: stored?.provider });
  if (lastFailure !== undefined && lastFailure !== before.lastFailure) {
    return { ...fields, result: "failed", detail: lastFailure.detail };
  }
  if (stored === undefined) return { ...fields, result: "none" };
  const isSame = stored.fingerprint === before.stored?.fingerprint;
  return { ...fields, result: isSame ? "same" : "changed" };
}
