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
    const options = signal ? { signal } : {};
    const attempts: ProviderAttempt[] = [];
    let winner: Resolution["winner"];
    for (const provider of this.#options.providers) {
      if (renewal && !provider.renewable) continue;
      signal?.throwIfAborted();
      const asked = this.#attempt(provider, request, options);
      const attempt = asked instanceof Promise ? await asked : asked;
      attempts.push(attempt);
      if (attempt.outcome.kind !== "found" || winner !== undefined) continue;
      const { candidates } = attempt.outcome;
      winner = { provider: provider.name, renewable: provider.renewable, candidates };
      if (!all) break;
    }
    if (renewal && winner === undefined && attempts.every(saysNothing)) {
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

  /** Asks one provider, and tells what came of it. */
  #attempt(
    provider: CredentialProvider,
    request: CredentialRequest,
    options: CallOptions,
  ): Soon<ProviderAttempt> {
    const { clock } = this.#options;
    const answer = ask(provider, request, options);
    // A clock is no free question: what is at hand is not timed.
    if (!(answer instanceof Promise)) return this.#told(provider, answer, 0, request);
    const startedMs = clock.monotonicMs();
    return answer.then((outcome) =>
      this.#told(provider, outcome, clock.monotonicMs() - startedMs, request)
    );
  }

  #told(
    { name: provider }: CredentialProvider,
    outcome: ProviderOutcome,
    durationMs: number,
    { image }: CredentialRequest,
  ): ProviderAttempt {
    const { kind, reason, notes } = outcome;
    this.#options.observer.notify({
      kind: "provider-asked",
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

function ask(
  provider: CredentialProvider,
  request: CredentialRequest,
  options: CallOptions,
): Soon<ProviderOutcome> {
  try {
    const answer = provider.provide(request, options);
    return answer instanceof Promise ? answer.catch((error) => failed(error, options)) : answer;
  } catch (error) {
    return failed(error, options);
  }
}

function failed(error: unknown, { signal }: CallOptions): ProviderOutcome {
  signal?.throwIfAborted();
  return { kind: "failed", reason: "internal-error", detail: wordsOf(error), notes: [] };
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
