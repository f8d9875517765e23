import {
  abortable,
  type AnswerDeadline,
  type CallOptions,
  type Candidate,
  type Clock,
  type CredentialProvider,
  type CredentialRequest,
  defined,
  type Observer,
  type ProviderAttempt,
  type ProviderOutcome,
  type ReasonCode,
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

/** Failures of a source as a whole: they do not indicate whether it has an entry for a host. */
const SOURCE_FAILURES: ReadonlySet<ReasonCode> = new Set<ReasonCode>([
  "invalid-config",
  "unreadable",
  "source-unreachable",
  "source-refused",
  "forbidden-by-rbac",
  "internal-error",
]);

/** Which providers a resolution queries. */
export interface ResolveOptions extends CallOptions {
  /** Query only providers that can be queried long after the pull. */
  readonly renewal?: boolean;
  /** Query every provider, also after one has found a credential: for `explain`. */
  readonly all?: boolean;
}

/**
 * Queries the providers in order; the first one that finds a credential wins.
 *
 * Resolves credentials for the registry that nydusd actually calls (a mirror, for instance), and
 * falls back to those for the image's own registry when no provider has an entry for the endpoint. A
 * provider that fails is not a provider without an entry: the credential in use then stays, and the
 * image's own credential does not replace it.
 */
export class CredentialChain {
  readonly #options: CredentialChainOptions;

  constructor(options: CredentialChainOptions) {
    this.#options = options;
  }

  /** Resolves an image. Rejects only on `signal`: a provider that fails is a failed attempt. */
  async resolve(
    { endpoint, endpointInUse = false, ...request }: CredentialRequest,
    options: ResolveOptions = {},
  ): Promise<Resolution> {
    if (endpoint === undefined) return await this.#resolve(request, options);
    const { image } = request;
    // Pull labels are valid for the registry that the image was pulled from, not for another one.
    const endpointRequest = { ...request, image: endpoint, podImage: image, labels: {} };
    const { attempts, winner } = await this.#resolve(endpointRequest, options);
    const failures = attempts.filter(({ outcome }) => outcome.kind === "failed");
    const isDecided = winner !== undefined || (endpointInUse && failures.length > 0);
    if (isDecided && !options.all) return { image, attempts, ...defined({ winner }) };

    const own = await this.#resolve(request, options);
    const isHidden = failures.some((failure) => mayHideEntry(failure, own.attempts));
    return {
      image,
      attempts: [...attempts, ...own.attempts],
      ...defined({ winner: isDecided || isHidden ? winner : own.winner }),
    };
  }

  /** Resolves an image at its own registry. */
  async #resolve(
    request: CredentialRequest,
    { renewal = false, all = false, signal }: ResolveOptions,
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
    const { image, podImage } = request;
    const startedMs = clock.monotonicMs();
    const pending = provide(source, request, options);
    const outcome = await deadline?.wait(pending, {
      source: provider,
      image: podImage ?? image,
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
    return podImage === undefined
      ? { provider, outcome, durationMs }
      : { provider, outcome: marked(outcome), durationMs, forEndpoint: true };
  }
}

async function provide(
  provider: CredentialProvider,
  request: CredentialRequest,
  options: CallOptions,
): Promise<ProviderOutcome> {
  try {
    return await abortable(provider.provide(request), options.signal);
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

/** Whether a provider may have an entry for the endpoint that it cannot use at the moment. */
function mayHideEntry(failure: ProviderAttempt, own: readonly ProviderAttempt[]): boolean {
  const { reason } = failure.outcome;
  if (SOURCE_FAILURES.has(reason)) return false;
  // The same failure for the image's own registry means that the source as a whole is broken, such
  // as a helper that serves every registry and is not installed.
  return !own.some(({ provider, outcome }) =>
    provider === failure.provider && outcome.kind === "failed" && outcome.reason === reason
  );
}

/** Marks the candidates as credentials for the endpoint. */
function marked(outcome: ProviderOutcome): ProviderOutcome {
  if (outcome.kind !== "found") return outcome;
  const [first, ...others] = outcome.candidates;
  const mark = (candidate: Candidate): Candidate => ({ ...candidate, forEndpoint: true });
  return { ...outcome, candidates: [mark(first), ...others.map(mark)] };
}
