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
import { failureOf, type Renewals, subjectFields } from "./renewals.ts";

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
    const stored = store.get(lookup.image.text)?.stored;
    const known = stored && answerOf(stored, clock.wallMs());
    if (known !== undefined && satisfies(known, lookup)) return { answer: known, attempts: [] };
    const { winner, attempts } = await stages().resolver.resolve(lookup, options);
    const found = winner && { provider: winner.provider, candidate: winner.candidates[0] };
    return defined({ answer: found ? answerOf(found, clock.wallMs()) : known, attempts });
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
    const entry = entryWith(store, image, fingerprint);
    const { answer } = entry ? {} : await this.credential(lookup, options);
    if (entry === undefined && answer?.fingerprint !== fingerprint) return "not-current";
    const key = `${image.text}\0${fingerprint}`;
    if (!this.#refusals.mayForce(key, clock.monotonicMs())) return "backing-off";
    const refused = { fingerprint };
    if (entry !== undefined) this.#renewals.start([entry], { refused });
    else if (answer !== undefined) {
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
    const fields = { image: image.text };
    if (winner !== undefined) return { ...fields, result: "changed", provider: winner.provider };
    const { notFound, provider, detail } = failureOf(attempts);
    if (notFound) return { ...fields, result: "none" };
    return defined({ ...fields, result: "failed" as const, provider, detail });
  }
}

function answerOf(
  { provider, candidate }: Pick<CredentialAnswer, "provider" | "candidate">,
  nowMs: number,
): CredentialAnswer {
  const expired = (candidate.expiresAtMs ?? Infinity) <= nowMs;
  return { provider, candidate, fingerprint: credentialFingerprint(candidate.credential), expired };
}

/** Whether the chain need not be called. */
function satisfies(
  { provider, expired, candidate: { expiresAtMs, refreshAtMs } }: CredentialAnswer,
  { labels, validUntilMs = -Infinity }: CredentialLookup,
): boolean {
  if (provider === "adopted" || expired || Object.keys(labels).length > 0) return false;
  return (expiresAtMs ?? refreshAtMs ?? Infinity) > validUntilMs;
}

/**
 * Returns the entry of the image that has this credential, else one of the same registry. When it
 * is renewed, the others with the credential follow.
 */
function entryWith(
  store: CredentialStore,
  image: ImageReference,
  fingerprint: string,
): StoreEntry | undefined {
  const all = [...store.entries()].filter(({ stored, image: { registry } }) =>
    stored?.fingerprint === fingerprint && registry === image.registry
  );
  return all.find((entry) => entry.image.text === image.text) ?? all[0];
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
