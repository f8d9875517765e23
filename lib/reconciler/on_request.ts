import {
  type CallOptions,
  type Candidate,
  type Clock,
  credentialFingerprint,
  type CredentialRequest,
  type ImageReference,
  type ProviderAttempt,
  type ProviderName,
  Refusals,
  subjectKey,
} from "../model/mod.ts";
import type { CredentialStore, StoreEntry } from "../credentials/mod.ts";
import type { Renewals, Resolver } from "./renewals.ts";

/** What is asked for an image. */
export type RenewalRequest = Pick<CredentialRequest, "image" | "labels" | "validUntilMs">;

/** The credential for an image, as others on the node may have it. */
export interface CredentialAnswer {
  readonly provider: ProviderName | "adopted";
  readonly candidate: Candidate;
  readonly fingerprint: string;
  /** It is past its end: nobody has another. */
  readonly expired: boolean;
}

/** What asking an image's sources by hand brought. */
export interface Renewed {
  readonly image: string;
  /** Where it is read from, when not from its own registry. */
  readonly endpoint?: string;
  /** `changed`: another credential; `same`: the source gave the one that we have. */
  readonly result: "changed" | "same" | "none" | "failed";
  readonly provider?: ProviderName | "adopted";
  /** Why there is none, or why it failed. Never a secret. */
  readonly detail?: string;
}

/** What became of a report that a credential was refused. */
export type Reported =
  /** Its source is asked for a newer one. */
  | "queried"
  /** It was asked lately: it rests a while. */
  | "resting"
  /** It is not, or no more, the credential that we would give. */
  | "not-current";

/** What answers need. */
export interface OnRequestOptions {
  readonly store: CredentialStore;
  readonly clock: Clock;
  readonly renewals: Renewals;
  readonly resolver: () => Resolver;
}

/** Answers to programs and people on this node, out of the same state that the loop works with. */
export class OnRequest {
  readonly #options: OnRequestOptions;
  readonly #refusals = new Refusals();

  constructor(options: OnRequestOptions) {
    this.#options = options;
  }

  /**
   * The credential for an image: what its mounts use, else what the chain has, else the last one
   * that was good. With the chain's attempts where it was asked. Rejects for `signal` only.
   */
  async credential(question: RenewalRequest, options: CallOptions = {}): Promise<
    { readonly answer?: CredentialAnswer; readonly attempts: readonly ProviderAttempt[] }
  > {
    const { resolver, store } = this.#options;
    const entry = store.get(question.image.text);
    if (entry !== undefined && this.#serves(entry, question)) {
      const answer = this.#stored(entry);
      if (answer !== undefined) return { answer, attempts: [] };
    }
    const { winner, attempts } = await resolver().resolve(question, options);
    if (winner === undefined) {
      const answer = entry && this.#stored(entry);
      return { attempts, ...(answer && { answer }) };
    }
    const [candidate] = winner.candidates;
    const fingerprint = credentialFingerprint(candidate.credential);
    const expired = (candidate.expiresAtMs ?? Infinity) <= this.#options.clock.wallMs();
    return { attempts, answer: { provider: winner.provider, candidate, fingerprint, expired } };
  }

  /**
   * A caller says that a registry refused the credential with this fingerprint: only if it still is
   * the current one, its source is asked past caches, at most once a backoff step.
   */
  async refused(image: ImageReference, fingerprint: string, options: CallOptions = {}): Promise<
    Reported
  > {
    const { store, renewals, clock, resolver } = this.#options;
    const question = { image, labels: {} };
    const entries = entriesWith(store, image, fingerprint);
    const { answer } = entries.length > 0 ? {} : await this.credential(question, options);
    if (entries.length === 0 && answer?.fingerprint !== fingerprint) return "not-current";
    const key = `${image.text}\0${fingerprint}`;
    if (!this.#refusals.mayForce(key, clock.monotonicMs())) return "resting";
    if (entries.length > 0) renewals.start(entries, { refused: { fingerprint } });
    else if (answer !== undefined) {
      const newerThanMs = answer.candidate.fetchedAtMs;
      const refused = { fingerprint };
      await resolver().resolve({ ...question, newerThanMs, urgent: true, refused }, options);
    }
    return "queried";
  }

  /**
   * Asks the sources past caches and backoffs: of every image that is mounted, or of one, mounted
   * or not. Resolves when they have answered.
   */
  async renew(only?: ImageReference, options: CallOptions = {}): Promise<readonly Renewed[]> {
    const { store, renewals } = this.#options;
    const entries = only === undefined ? [...store.entries()] : entriesOf(store, only);
    if (only !== undefined && entries.length === 0) {
      return [await this.#renewUnmounted(only, options)];
    }
    return await Promise.all(entries.map(async (before) => {
      await renewals.force(before.image);
      return renewedOf(before, store.get(subjectKey(before.image)) ?? before);
    }));
  }

  async #renewUnmounted(image: ImageReference, options: CallOptions): Promise<Renewed> {
    const { resolver, clock } = this.#options;
    const question = { image, labels: {} };
    const wish = { newerThanMs: clock.wallMs() - 1, forcedAtMs: clock.monotonicMs() };
    const { winner, attempts } = await resolver().resolve({ ...question, ...wish }, options);
    if (winner !== undefined) {
      return { image: image.text, result: "changed", provider: winner.provider };
    }
    const failed = attempts.find(({ outcome }) => outcome.kind === "failed");
    if (failed?.outcome.kind !== "failed") return { image: image.text, result: "none" };
    const { provider, outcome: { detail } } = failed;
    return { image: image.text, result: "failed", provider, detail };
  }

  #serves({ stored }: StoreEntry, { labels, validUntilMs = -Infinity }: RenewalRequest): boolean {
    if (stored === undefined || stored.provider === "adopted") return false;
    if (Object.keys(labels).length > 0) return false;
    const { expiresAtMs, refreshAtMs } = stored.candidate;
    if ((expiresAtMs ?? Infinity) <= this.#options.clock.wallMs()) return false;
    return (expiresAtMs ?? refreshAtMs ?? Infinity) > validUntilMs;
  }

  #stored(entry: StoreEntry): CredentialAnswer | undefined {
    const { store, clock } = this.#options;
    const { stored } = entry;
    if (stored === undefined) return undefined;
    const { provider, candidate, fingerprint } = stored;
    const expired = store.window(entry, clock.wallMs()) === "expired";
    return { provider, candidate, fingerprint, expired };
  }
}

/**
 * The entries with this credential to ask for: the image's, or one of its registry's, where the
 * report is of no image that is mounted. Others that have it follow when there is another one.
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

/** An image's entries, wherever it is read from. */
function entriesOf(store: CredentialStore, image: ImageReference): StoreEntry[] {
  return [...store.entries()].filter((entry) => entry.image.text === image.text);
}

function renewedOf(before: StoreEntry, after: StoreEntry): Renewed {
  const { image: { text, endpoint }, stored, lastFailure } = after;
  const names = {
    image: text,
    ...(endpoint && { endpoint: endpoint.text }),
    ...(stored && { provider: stored.provider }),
  };
  if (lastFailure !== undefined && lastFailure !== before.lastFailure) {
    return { ...names, result: "failed", detail: lastFailure.detail };
  }
  if (stored === undefined) return { ...names, result: "none" };
  const same = stored.fingerprint === before.stored?.fingerprint;
  return { ...names, result: same ? "same" : "changed" };
}
