import {
  type CallOptions,
  type Clock,
  type CredentialProvider,
  type CredentialRequest,
  type Observer,
  type ProviderAttempt,
  type ProviderOutcome,
  type Resolution,
  safeMessageOf,
} from "../model/mod.ts";
import type { AnswerDeadline } from "../model/mod.ts";

/** What the chain is made of. */
export interface CredentialChainOptions {
  /** In the order in which they are asked. */
  readonly providers: readonly CredentialProvider[];
  /** Asked in a renewal when none of the others has, or may have, anything for the image. */
  readonly lastResort?: CredentialProvider;
  readonly clock: Clock;
  readonly observer: Observer;
  /** Bounds each provider; without it every provider is waited for. */
  readonly deadline?: AnswerDeadline;
}

/**
 * What a provider with several sources, each under the deadline, has longer than they: it answers
 * by itself what the others gave.
 */
const PROVIDER_EXTRA_MS = 250;

/** How far a question goes. */
export interface ResolveOptions extends CallOptions {
  /** Ask only the providers that can answer long after the pull. */
  readonly renewal?: boolean;
  /** Ask every provider, also after one has found something: for `explain`. */
  readonly all?: boolean;
}

/** The providers in their order; the first that has a credential wins. */
export class CredentialChain {
  readonly #options: CredentialChainOptions;

  constructor(options: CredentialChainOptions) {
    this.#options = options;
  }

  /** Never rejects but for `signal`: a provider that fails is one attempt that failed. */
  async resolve(
    request: CredentialRequest,
    { renewal = false, all = false, signal }: ResolveOptions = {},
  ): Promise<Resolution> {
    const options = signal ? { signal } : {};
    const attempts: ProviderAttempt[] = [];
    let winner: Resolution["winner"];
    for (const provider of this.#options.providers) {
      if (renewal && !provider.renewable) continue;
      signal?.throwIfAborted();
      const attempt = await this.#attempt(provider, request, options);
      attempts.push(attempt);
      if (attempt.outcome.kind !== "found" || winner !== undefined) continue;
      const { candidates } = attempt.outcome;
      winner = { provider: provider.name, renewable: provider.renewable, candidates };
      if (!all) break;
    }
    if (renewal && winner === undefined && attempts.every(isInconclusive)) {
      winner = await this.#lastly(request, attempts, options);
    }
    return { image: request.image, attempts, ...(winner && { winner }) };
  }

  /** Told as an attempt only where it has something: it explains nothing else. */
  async #lastly(
    request: CredentialRequest,
    attempts: ProviderAttempt[],
    options: CallOptions,
  ): Promise<Resolution["winner"]> {
    const { lastResort: provider } = this.#options;
    if (provider === undefined) return undefined;
    const attempt = await this.#attempt(provider, request, options);
    if (attempt.outcome.kind !== "found") return undefined;
    attempts.push(attempt);
    const { candidates } = attempt.outcome;
    return { provider: provider.name, renewable: provider.renewable, candidates };
  }

  /** Requests a credential of one provider, and reports what came of it. */
  async #attempt(
    source: CredentialProvider,
    request: CredentialRequest,
    options: CallOptions,
  ): Promise<ProviderAttempt> {
    const { clock, observer, deadline } = this.#options;
    const { name: provider } = source;
    const { image, podImage = image } = request;
    const startedMs = clock.monotonicMs();
    const answer = provided(source, request, options);
    const outcome = await deadline?.wait(answer, {
      source: provider,
      image: podImage,
      extraMs: PROVIDER_EXTRA_MS,
      isFailure: ({ kind }) => kind === "failed",
      otherwise: (detail): ProviderOutcome => {
        return { kind: "failed", reason: "deadline-exceeded", detail, notes: [] };
      },
    }) ?? await answer;
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
      ...(kind === "failed" && { detail: outcome.detail }),
    });
    return { provider, outcome, durationMs };
  }
}

async function provided(
  provider: CredentialProvider,
  request: CredentialRequest,
  options: CallOptions,
): Promise<ProviderOutcome> {
  try {
    return await provider.provide(request, options);
  } catch (error) {
    return failed(error, options);
  }
}

function failed(error: unknown, { signal }: CallOptions): ProviderOutcome {
  signal?.throwIfAborted();
  return { kind: "failed", reason: "internal-error", detail: safeMessageOf(error), notes: [] };
}

/**
 * Whether nothing stands behind an answer of `none`. Where a plugin goes by service accounts, what
 * one of them was given before must not come back another way.
 */
function isInconclusive({ outcome }: ProviderAttempt): boolean {
  return outcome.kind === "none" && outcome.validAccounts === undefined;
}
