import type {
  Candidate,
  CredentialRequest,
  ProviderAttempt,
  ProviderOutcome,
  ReasonCode,
  Resolution,
} from "../model/mod.ts";
import type { CredentialChain, ResolveOptions } from "./chain.ts";

/** Trouble of a whole source: it says nothing of whether there is an entry for a host. */
const WHOLE_SOURCE: ReadonlySet<ReasonCode> = new Set<ReasonCode>([
  "invalid-config",
  "unreadable",
  "source-unreachable",
  "source-refused",
  "forbidden-by-rbac",
  "internal-error",
]);

/**
 * Asks the chain for the registry that nydusd really calls, where that is not the image's own; and
 * for the image's, where nobody has an entry for the other.
 *
 * A source that fails is no source without an entry: then what it gave before goes on to be used,
 * and the image's credential does not take its place.
 */
export class EndpointChain {
  readonly #chain: CredentialChain;

  constructor(chain: CredentialChain) {
    this.#chain = chain;
  }

  /** Never rejects but for `signal`. */
  async resolve(
    { endpoint, endpointInUse = false, ...request }: CredentialRequest,
    options: ResolveOptions = {},
  ): Promise<Resolution> {
    if (endpoint === undefined) return await this.#chain.resolve(request, options);
    const { image } = request;
    // Labels are what the image was pulled with: they say nothing of another registry.
    const asked = { ...request, image: endpoint, podImage: image, labels: {} };
    const there = await this.#chain.resolve(asked, options);
    const attempts = there.attempts.map((attempt) => ({
      ...attempt,
      outcome: marked(attempt.outcome),
      forEndpoint: true as const,
    }));
    const failures = attempts.filter(({ outcome }) => outcome.kind === "failed");
    const inSync = there.winner !== undefined || (endpointInUse && failures.length > 0);
    if (inSync && options.all !== true) {
      const winner = there.winner && markedWinner(there.winner);
      return { image, attempts, ...(winner && { winner }) };
    }
    const own = await this.#chain.resolve(request, options);
    const winner = there.winner !== undefined
      ? markedWinner(there.winner)
      : inSync || failures.some((failure) => mayHideEntry(failure, own.attempts))
      ? undefined
      : own.winner;
    return { image, attempts: [...attempts, ...own.attempts], ...(winner && { winner }) };
  }
}

/** Whether a provider may have an entry for the endpoint, and merely cannot use it now. */
function mayHideEntry(failure: ProviderAttempt, own: readonly ProviderAttempt[]): boolean {
  const { reason } = failure.outcome;
  if (WHOLE_SOURCE.has(reason)) return false;
  // What fails for the image in the same way is broken as a whole: a helper for every registry.
  return !own.some(({ provider, outcome }) =>
    provider === failure.provider && outcome.kind === "failed" && outcome.reason === reason
  );
}

function marked(outcome: ProviderOutcome): ProviderOutcome {
  return outcome.kind === "found"
    ? { ...outcome, candidates: markedCandidates(outcome.candidates) }
    : outcome;
}

function markedWinner(winner: NonNullable<Resolution["winner"]>) {
  return { ...winner, candidates: markedCandidates(winner.candidates) };
}

function markedCandidates(
  [first, ...others]: readonly [Candidate, ...Candidate[]],
): [Candidate, ...Candidate[]] {
  const mark = (candidate: Candidate): Candidate => ({ ...candidate, forEndpoint: true });
  return [mark(first), ...others.map(mark)];
}
