import {
  type Candidate,
  type CredentialRequest,
  defined,
  type ProviderAttempt,
  type ReasonCode,
  type Resolution,
} from "../model/mod.ts";
import type { CredentialChain, ResolveOptions } from "./chain.ts";

type Candidates = readonly [Candidate, ...Candidate[]];

/** Failures of a source as a whole: they do not indicate whether it has an entry for a host. */
const SOURCE_FAILURES: ReadonlySet<ReasonCode> = new Set<ReasonCode>([
  "invalid-config",
  "unreadable",
  "source-unreachable",
  "source-refused",
  "forbidden-by-rbac",
  "internal-error",
]);

/**
 * Resolves credentials for the registry that nydusd actually calls (a mirror, for instance), and
 * falls back to those for the image's own registry when no provider has an entry for the endpoint.
 *
 * A provider that fails is not a provider without an entry: the credential in use then stays, and
 * the image's own credential does not replace it.
 */
export class EndpointChain {
  readonly #chain: CredentialChain;

  constructor(chain: CredentialChain) {
    this.#chain = chain;
  }

  /** Resolves an image. Rejects only on `signal`. */
  async resolve(
    { endpoint, endpointInUse = false, ...request }: CredentialRequest,
    options: ResolveOptions = {},
  ): Promise<Resolution> {
    if (endpoint === undefined) return await this.#chain.resolve(request, options);
    const { image } = request;
    // Pull labels are valid for the registry that the image was pulled from, not for another one.
    const endpointRequest = { ...request, image: endpoint, podImage: image, labels: {} };
    const resolution = await this.#chain.resolve(endpointRequest, options);
    const attempts = resolution.attempts.map(markedAttempt);
    const winner = resolution.winner && {
      ...resolution.winner,
      candidates: marked(resolution.winner.candidates),
    };
    const failures = attempts.filter(({ outcome }) => outcome.kind === "failed");
    const isDecided = winner !== undefined || (endpointInUse && failures.length > 0);
    if (isDecided && !options.all) return { image, attempts, ...defined({ winner }) };

    const own = await this.#chain.resolve(request, options);
    const isHidden = failures.some((failure) => mayHideEntry(failure, own.attempts));
    return {
      image,
      attempts: [...attempts, ...own.attempts],
      ...defined({ winner: isDecided || isHidden ? winner : own.winner }),
    };
  }
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

function markedAttempt(attempt: ProviderAttempt): ProviderAttempt {
  const { outcome } = attempt;
  return {
    ...attempt,
    outcome: outcome.kind === "found"
      ? { ...outcome, candidates: marked(outcome.candidates) }
      : outcome,
    forEndpoint: true,
  };
}

function marked([first, ...others]: Candidates): Candidates {
  const mark = (candidate: Candidate): Candidate => ({ ...candidate, forEndpoint: true });
  return [mark(first), ...others.map(mark)];
}
