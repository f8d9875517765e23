import {
  type AnswerDeadline,
  type CallOptions,
  type Clock,
  type CredentialProvider,
  type CredentialRequest,
  defined,
  type Observer,
  type ProviderAttempt,
  type ProviderOutcome,
  type Resolution,
  safeMessageOf,
} from "../model/mod.ts";

/** Dependencies of the provider chain. */
export interface CredentialChainOptions {
  /** In the order in which they are queried. */
  readonly providers: readonly CredentialProvider[];
  /** Queried in a renewal, when no other provider has a credential or may have one. */
  readonly lastResort?: CredentialProvider;
  readonly clock: Clock;
  readonly observer: Observer;
  /** Bounds each provider call. @default no bound */
  readonly deadline?: AnswerDeadline;
}

/**
 * Time that a provider gets beyond the deadline, so that it can return what its parts found when
 * one of them (a plugin, a helper) exceeds the same deadline.
 */
const PROVIDER_EXTRA_MS = 250;

/** Which providers a resolution queries. */
export interface ResolveOptions extends CallOptions {
  /** Query only providers that can be queried long after the pull. */
  readonly renewal?: boolean;
  /** Query every provider, also after one has found a credential: for `explain`. */
  readonly all?: boolean;
}

/** Queries the providers in order; the first one that finds a credential wins. */
export class CredentialChain {
  readonly #options: CredentialChainOptions;

  constructor(options: CredentialChainOptions) {
    this.#options = options;
  }

  /** Resolves an image. Rejects only on `signal`: a provider that fails is a failed attempt. */
  async resolve(
    request: CredentialRequest,
    { renewal = false, all = false, signal }: ResolveOptions = {},
  ): Promise<Resolution> {
    const { providers, lastResort } = this.#options;
    const options = defined({ signal });
    const attempts: ProviderAttempt[] = [];
    let winner: Resolution["winner"];
    for (const provider of providers) {
      if (renewal && !provider.renewable) continue;
      signal?.throwIfAborted();
      const attempt = await this.#attempt(provider, request, options);
      attempts.push(attempt);
      winner ??= winnerOf(provider, attempt);
      if (winner !== undefined && !all) break;
    }
    if (renewal && winner === undefined && lastResort && attempts.every(isInconclusive)) {
      const attempt = await this.#attempt(lastResort, request, options);
      winner = winnerOf(lastResort, attempt);
      // Without a credential, the attempt explains nothing that the others do not.
      if (winner !== undefined) attempts.push(attempt);
    }
    return { image: request.image, attempts, ...defined({ winner }) };
  }

  /** Queries one provider and reports the outcome to the observer. */
  async #attempt(
    source: CredentialProvider,
    request: CredentialRequest,
    options: CallOptions,
  ): Promise<ProviderAttempt> {
    const { clock, observer, deadline } = this.#options;
    const { name: provider } = source;
    const { image, podImage = image } = request;
    const startedMs = clock.monotonicMs();
    const pending = provide(source, request, options);
    const outcome = await deadline?.wait(pending, {
      source: provider,
      image: podImage,
      extraMs: PROVIDER_EXTRA_MS,
      isFailure: ({ kind }) => kind === "failed",
      onTimeout: (detail): ProviderOutcome => {
        return { kind: "failed", reason: "deadline-exceeded", detail, notes: [] };
      },
    }) ?? await pending;
    const durationMs = clock.monotonicMs() - startedMs;
    const { kind, reason, notes } = outcome;
    observer.notify({
      kind: "provider-queried",
      provider,
      image: image.text,
      outcome: kind,
      reason,
      durationMs,
      notes,
      ...defined({ detail: kind === "failed" ? outcome.detail : undefined }),
    });
    return { provider, outcome, durationMs };
  }
}

async function provide(
  provider: CredentialProvider,
  request: CredentialRequest,
  options: CallOptions,
): Promise<ProviderOutcome> {
  try {
    return await provider.provide(request, options);
  } catch (error) {
    options.signal?.throwIfAborted();
    return { kind: "failed", reason: "internal-error", detail: safeMessageOf(error), notes: [] };
  }
}

function winnerOf(
  { name: provider, renewable }: CredentialProvider,
  { outcome }: ProviderAttempt,
): Resolution["winner"] {
  if (outcome.kind !== "found") return undefined;
  return { provider, renewable, candidates: outcome.candidates };
}

/**
 * Whether another source may be used after an outcome of `none`. Where a plugin runs per service
 * account, a credential that an account lost must not come back from another source.
 */
function isInconclusive({ outcome }: ProviderAttempt): boolean {
  return outcome.kind === "none" && outcome.validAccounts === undefined;
}
