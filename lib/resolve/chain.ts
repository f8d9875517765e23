import {
  AgentError,
  type CallOptions,
  type Clock,
  type CredentialProvider,
  type CredentialRequest,
  type Observer,
  type ProviderAttempt,
  type ProviderOutcome,
  type Resolution,
  type Soon,
} from "../model/mod.ts";

/** What the chain is made of. */
export interface CredentialChainOptions {
  /** In the order in which they are asked. */
  readonly providers: readonly CredentialProvider[];
  /** Asked in a renewal when none of the others has, or may have, anything for the image. */
  readonly lastResort?: CredentialProvider;
  readonly clock: Clock;
  readonly observer: Observer;
}

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
    const { providers, clock } = this.#options;
    const attempts: ProviderAttempt[] = [];
    let winner: Resolution["winner"];
    for (const provider of providers) {
      if (renewal && !provider.renewable) continue;
      signal?.throwIfAborted();
      const answer = this.#ask(provider, request, signal ? { signal } : {});
      let outcome: ProviderOutcome;
      let durationMs = 0;
      if (answer instanceof Promise) {
        // A clock is no free question: what is at hand is not timed.
        const startedMs = clock.monotonicMs();
        outcome = await answer;
        durationMs = clock.monotonicMs() - startedMs;
      } else outcome = answer;
      const attempt = { provider: provider.name, outcome, durationMs };
      this.#tell(attempt, request);
      attempts.push(attempt);
      if (attempt.outcome.kind !== "found" || winner !== undefined) continue;
      const { candidates } = attempt.outcome;
      winner = { provider: provider.name, renewable: provider.renewable, candidates };
      if (!all) break;
    }
    if (renewal && winner === undefined && attempts.every(saysNothing)) {
      winner = await this.#lastly(request, attempts, signal ? { signal } : {});
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
    const startedMs = this.#options.clock.monotonicMs();
    const outcome = await this.#ask(provider, request, options);
    const durationMs = this.#options.clock.monotonicMs() - startedMs;
    const attempt = { provider: provider.name, outcome, durationMs };
    this.#tell(attempt, request);
    if (outcome.kind !== "found") return undefined;
    attempts.push(attempt);
    const { candidates } = outcome;
    return { provider: provider.name, renewable: provider.renewable, candidates };
  }

  #ask(
    provider: CredentialProvider,
    request: CredentialRequest,
    options: CallOptions,
  ): Soon<ProviderOutcome> {
    const failed = (error: unknown): ProviderOutcome => {
      options.signal?.throwIfAborted();
      return { kind: "failed", reason: "internal-error", detail: wordsOf(error), notes: [] };
    };
    try {
      const answer = provider.provide(request, options);
      return answer instanceof Promise ? answer.catch(failed) : answer;
    } catch (error) {
      return failed(error);
    }
  }

  #tell({ provider, outcome, durationMs }: ProviderAttempt, request: CredentialRequest): void {
    this.#options.observer.notify({
      kind: "provider-asked",
      provider,
      image: request.image.text,
      outcome: outcome.kind,
      reason: outcome.reason,
      durationMs,
      ...(outcome.kind === "failed" && { detail: outcome.detail }),
      ...(outcome.notes.length > 0 && { notes: outcome.notes }),
    });
  }
}

/**
 * Whether nothing stands behind an answer of `none`. Where a plugin goes by service accounts, what
 * one of them was given before must not come back another way.
 */
function saysNothing({ outcome }: ProviderAttempt): boolean {
  return outcome.kind === "none" && outcome.standing === undefined;
}

/** Our own errors never quote a secret; anyone else's text may, so only its name is told. */
function wordsOf(error: unknown): string {
  if (error instanceof AgentError) return error.message;
  return error instanceof Error ? error.name : "something that is no error was thrown";
}
