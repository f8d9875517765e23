import {
  type CallOptions,
  type Candidate,
  type Clock,
  credentialFingerprint,
  defined,
  type ImageReference,
  type Observer,
  type ProbeTarget,
  type ProbeVerdict,
  type ProviderName,
  Semaphore,
  setNewest,
  tokenExpiryOf,
} from "../model/mod.ts";
import { MAX_RETRY_AFTER_MS, type RegistryProbe } from "./probe.ts";
import {
  isExhausted,
  ranking,
  SELECTION_REASONS,
  type SelectionOption,
  type SelectionReason,
  selectionStep,
  type Verify,
} from "./selection_rules.ts";

/** A candidate and its provider. */
export interface ScoredCandidate {
  readonly provider: ProviderName | "adopted";
  readonly candidate: Candidate;
}

/** Input of {@linkcode CandidateSelector.select}. */
export interface SelectionRequest {
  readonly image: ImageReference;
  /** The registry as nydusd reaches it. */
  readonly target: ProbeTarget;
  /** Candidates that the providers offer, in the order of the chain; not empty. */
  readonly offered: readonly ScoredCandidate[];
  /** The candidate that the mounts of the image use, even if no provider offers it any more. */
  readonly inUse?: ScoredCandidate & { readonly proven: boolean };
  /** Reads with the candidate in use are refused. */
  readonly readsRefused: boolean;
  /** Offered candidates that replace cached ones which the registry refused. */
  readonly fetched?: readonly ScoredCandidate[];
}

/** A selected candidate: an offered or a previous one (`selected`), or the one in use (`kept`). */
export interface Selection {
  readonly kind: "selected" | "kept";
  readonly winner: ScoredCandidate;
  /** The other candidates, best first. */
  readonly otherCandidates: readonly ScoredCandidate[];
  readonly reason: SelectionReason;
  /** The reason as text, with the refusals of other candidates. */
  readonly detail: string;
  /** All offered candidates are refused, so further providers should be queried. */
  readonly exhausted: boolean;
}

/** Dependencies of {@linkcode CandidateSelector}. */
export interface CandidateSelectorOptions {
  readonly probe: Pick<RegistryProbe, "probe">;
  readonly clock: Clock;
  readonly observer: Observer;
  readonly verify: () => Verify;
}

/** A candidate, how it is used, and the verdict on it. */
interface RatedCandidate extends SelectionOption, CandidateVerdict {
  readonly scored: ScoredCandidate;
  readonly fingerprint: string;
}

/** Limit on the refusals in `detail`. */
const MAX_REFUSALS = 3;
/** Limit on compared offers. The candidate in use and the previous one are always compared. */
const MAX_OFFERED = 256;
const MAX_CONCURRENT_PROBES = 8;
/** A registry that did not respond is not probed for this time. */
const UNREACHABLE_MS = 10_000;
const MAX_PREVIOUS = 10_000;
const MAX_HOSTS = 1_000;
const UNAVAILABLE: ProbeVerdict = { kind: "unreachable", detail: "the registry is unavailable" };

/**
 * Selects one of several candidates for an image, by the verdicts of the registry and of reads. The
 * rules are in `selection_rules.ts`.
 *
 * Invariants:
 * - At most one probe of a credential at a repository runs at a time; concurrent selections share it.
 * - At most {@linkcode MAX_CONCURRENT_PROBES} probes run at a time.
 * - A selection probes each candidate at most once.
 */
export class CandidateSelector {
  readonly #options: CandidateSelectorOptions;
  readonly #verdicts = new VerdictHistory();
  readonly #semaphore = new Semaphore(MAX_CONCURRENT_PROBES);
  /** Running probes by repository and credential. */
  readonly #probes = new Map<string, Promise<ProbeVerdict>>();
  /** Wall time (ms) before which a host is not probed, by host. */
  readonly #unavailableUntilMs = new Map<string, number>();
  /** The candidate that worked before the one in use, by image. */
  readonly #previous = new Map<string, ScoredCandidate>();

  constructor(options: CandidateSelectorOptions) {
    this.#options = options;
  }

  /** Rejects only when `signal` aborts. */
  async select(request: SelectionRequest, options: CallOptions = {}): Promise<Selection> {
    const { target, readsRefused } = request;
    const scope = this.#scopeOf(request);
    const candidates = this.#candidates(request);
    this.#recordReads(request, candidates, scope);
    // Every iteration but the last probes another candidate.
    for (let iteration = 0; iteration <= candidates.length; iteration++) {
      const rated = candidates.map((one): RatedCandidate => ({
        ...one,
        ...this.#verdicts.get(scope, one.scored.candidate),
      }));
      const step = selectionStep({
        options: rated,
        verify: this.#options.verify(),
        readsRefused,
        canProbe: iteration < candidates.length && this.#isAvailable(target),
      });
      const chosen = rated[step.index];
      if (chosen === undefined) break;
      if (step.kind === "select") return this.#selection(request, rated, chosen, step.reason);
      const verdict = await this.#probe(request, chosen, options);
      if (verdict.kind === "unreachable" || verdict.kind === "throttled") continue;
      const nowMs = this.#options.clock.wallMs();
      this.#verdicts.recordProbe(scope, chosen.scored.candidate, verdict, nowMs);
    }
    throw new Error("select: there is no candidate");
  }

  #scopeOf({ target, offered }: SelectionRequest): VerdictScope {
    // The verdict on a token with an implausible expiry does not apply to others of its source.
    const perToken = this.#options.verify() === "on-change" ||
      offered.some(({ candidate }) => isImplausible(candidate));
    return { target, perToken };
  }

  /** Updates the verdicts by the reads with the candidate in use. */
  #recordReads(
    { inUse, readsRefused, fetched = [] }: SelectionRequest,
    candidates: readonly RatedCandidate[],
    scope: VerdictScope,
  ): void {
    if (inUse !== undefined && readsRefused) {
      const nowMs = this.#options.clock.wallMs();
      this.#verdicts.recordRefusedReads(scope, inUse.candidate, nowMs);
    } else if (inUse?.proven) {
      this.#verdicts.recordSuccessfulReads(scope, inUse.candidate);
    }
    for (const { candidate } of fetched) this.#verdicts.allowProbe(scope, candidate);
    if (!readsRefused) return;
    for (const { scored, inUse } of candidates) {
      if (!inUse) this.#verdicts.allowProbe(scope, scored.candidate);
    }
  }

  /** Returns the distinct offers, then the candidate in use and the previous one. */
  #candidates(
    { image, offered, inUse, readsRefused }: SelectionRequest,
  ): readonly RatedCandidate[] {
    const others = [inUse, this.#previous.get(image.text)].filter((other) => other !== undefined);
    const [used, ...earlier] = others.map(fingerprintOf);
    // Identity tokens come last, because nydusd cannot use them.
    const isIdentity = ({ candidate }: ScoredCandidate) =>
      Number(candidate.credential.kind === "identity-token");
    const compared = offered.toSorted((a, b) => isIdentity(a) - isIdentity(b))
      .filter((one, i) => i < MAX_OFFERED || [used, ...earlier].includes(fingerprintOf(one)));
    const candidates = new Map<string, RatedCandidate>();
    const add = (scored: ScoredCandidate, isOffered: boolean) => {
      const fingerprint = fingerprintOf(scored);
      if (candidates.has(fingerprint)) return;
      const isUsed = inUse !== undefined && fingerprint === used;
      candidates.set(fingerprint, {
        scored,
        fingerprint,
        offered: isOffered,
        inUse: isUsed,
        userManaged: scored.candidate.watched,
        isImplausible: isImplausible(scored.candidate),
        proven: isUsed && inUse.proven && !readsRefused,
      });
    };
    for (const scored of compared) add(scored, true);
    for (const other of others) if (this.#isUsableWithoutOffer(other)) add(other, false);
    return [...candidates.values()];
  }

  /** A credential of a service account is valid only while its provider offers it. */
  #isUsableWithoutOffer(
    { candidate: { account, expiresAtMs = Infinity } }: ScoredCandidate,
  ): boolean {
    return account === undefined && expiresAtMs > this.#options.clock.wallMs();
  }

  async #probe(
    { image, target }: SelectionRequest,
    { scored: { provider, candidate }, fingerprint }: RatedCandidate,
    { signal }: CallOptions,
  ): Promise<ProbeVerdict> {
    const { probe, clock, observer } = this.#options;
    const key = `${target.scheme}://${target.host}/${target.repository} ${fingerprint}`;
    const running = this.#probes.get(key);
    if (running !== undefined) return await running;
    const started = this.#semaphore.run(async () => {
      // Another probe may have failed while this one waited.
      if (!this.#isAvailable(target)) return UNAVAILABLE;
      const startedMs = clock.monotonicMs();
      const verdict = await probe.probe(target, candidate.credential, defined({ signal }));
      observer.notify({
        kind: "registry-probed",
        image: image.text,
        host: target.host,
        provider,
        origin: candidate.origin,
        fingerprint,
        verdict: verdict.kind,
        detail: verdict.detail,
        durationMs: clock.monotonicMs() - startedMs,
      });
      const untilMs = verdict.kind === "throttled"
        ? verdict.retryAtMs
        : verdict.kind === "unreachable"
        ? clock.wallMs() + UNREACHABLE_MS
        : undefined;
      if (untilMs !== undefined) {
        setNewest(this.#unavailableUntilMs, target.host, untilMs, MAX_HOSTS);
      }
      return verdict;
    }).finally(() => this.#probes.delete(key));
    this.#probes.set(key, started);
    return await started;
  }

  #isAvailable({ host }: ProbeTarget): boolean {
    const untilMs = this.#unavailableUntilMs.get(host) ?? -Infinity;
    const remainingMs = untilMs - this.#options.clock.wallMs();
    // A longer wait means that the wall clock was set back.
    return remainingMs <= 0 || remainingMs > MAX_RETRY_AFTER_MS;
  }

  #selection(
    { image, inUse }: SelectionRequest,
    rated: readonly RatedCandidate[],
    winner: RatedCandidate,
    reason: SelectionReason,
  ): Selection {
    const isReplaced = inUse?.proven === true && !winner.inUse && inUse.provider !== "adopted";
    if (isReplaced && this.#isUsableWithoutOffer(inUse)) {
      const { provider, candidate } = inUse;
      setNewest(this.#previous, image.text, { provider, candidate }, MAX_PREVIOUS);
    }
    const others = ranking(rated).flatMap((index) => rated[index] ?? [])
      .filter((one) => one !== winner);
    return {
      kind: winner.inUse && !winner.offered ? "kept" : "selected",
      winner: winner.scored,
      otherCandidates: others.map(({ scored }) => scored),
      reason,
      detail: [SELECTION_REASONS[reason], ...refusals(rated)].join("; "),
      exhausted: isExhausted(rated),
    };
  }
}

function fingerprintOf({ candidate }: ScoredCandidate): string {
  return credentialFingerprint(candidate.credential);
}

/** Describes the refused candidates. */
function refusals(rated: readonly RatedCandidate[]): readonly string[] {
  return rated.filter(({ refusedAtMs }) => refusedAtMs !== undefined)
    .map(({ scored: { candidate }, verdict = "refused", detail = "by reads" }) =>
      `${candidate.origin}: ${verdict}, ${detail}`
    ).slice(0, MAX_REFUSALS);
}

/** Whether the expiry in a token is implausible, such as a time in the past. */
function isImplausible({ credential, fetchedAtMs }: Candidate): boolean {
  return tokenExpiryOf(credential, fetchedAtMs).warning !== undefined;
}

/** The repository of a verdict, and how far the verdict applies. */
export interface VerdictScope {
  readonly target: ProbeTarget;
  /** Keeps verdicts per credential, even for credentials that a plugin or helper issues. */
  readonly perToken: boolean;
}

/** The verdict on a candidate at one repository. */
export interface CandidateVerdict
  extends Pick<SelectionOption, "verdict" | "refusedAtMs" | "refusedByRegistry"> {
  /** Explains the verdict. */
  readonly detail?: string;
}

/** What is recorded for a credential, or for the source that issues it. */
interface VerdictRecord extends CandidateVerdict {
  readonly verdictAtMs?: number;
  /** Credentials of the source whose reads were refused, one after another. */
  readonly consecutiveRefusals?: number;
}

const MAX_RECORDS = 20_000;
/** Reads that are refused within this time after a probe override its verdict. */
const OVERRIDE_MS = 10 * 60_000;
/** After this many consecutive refusals by reads, a source itself counts as refused. */
const MAX_CONSECUTIVE_REFUSALS = 2;

/**
 * Remembers the verdicts of registries and of reads, by host, repository and credential. For a
 * credential that a plugin or helper issues, the registry's verdict applies to its source, so that a
 * renewed credential is not probed again.
 */
export class VerdictHistory {
  readonly #records = new Map<string, VerdictRecord>();

  get(scope: VerdictScope, candidate: Candidate): CandidateVerdict {
    const { verdict, detail, refusedAtMs, refusedByRegistry } = this.#get(
      verdictKey(scope, candidate),
    );
    const readsRefusedAtMs = this.#get(tokenKey(scope, candidate)).refusedAtMs;
    const source = this.#get(sourceKey(scope, candidate));
    const sourceRefusedAtMs = (source.consecutiveRefusals ?? 0) >= MAX_CONSECUTIVE_REFUSALS
      ? source.refusedAtMs
      : undefined;
    const isGood = verdict === "accepted" || verdict === "anonymous";
    const isOwnVerdict = appliesToCredential(scope, candidate);
    return defined({
      verdict,
      detail,
      refusedAtMs: isGood ? undefined : refusedAtMs ?? readsRefusedAtMs ?? sourceRefusedAtMs,
      refusedByRegistry: isOwnVerdict ? refusedByRegistry : undefined,
    });
  }

  /** Records the verdict of a probe. */
  recordProbe(
    scope: VerdictScope,
    candidate: Candidate,
    { kind: verdict, detail }: ProbeVerdict,
    nowMs: number,
  ): void {
    const isRefused = verdict === "refused" || verdict === "forbidden";
    this.#set(verdictKey(scope, candidate), {
      verdict,
      detail,
      verdictAtMs: nowMs,
      ...(isRefused && { refusedAtMs: nowMs, refusedByRegistry: true }),
    });
    if (verdict === "accepted" || verdict === "anonymous") {
      this.#records.delete(sourceKey(scope, candidate));
    }
  }

  /**
   * Records that reads with a candidate are refused. They override a recent verdict of the registry.
   * An older verdict is removed, so that the candidate can be probed again.
   */
  recordRefusedReads(scope: VerdictScope, candidate: Candidate, nowMs: number): void {
    const key = verdictKey(scope, candidate);
    const { verdictAtMs } = this.#get(key);
    if (verdictAtMs !== undefined && nowMs - verdictAtMs < OVERRIDE_MS) {
      const detail = "reads with it are refused";
      this.#set(key, { verdict: "refused", detail, verdictAtMs, refusedAtMs: nowMs });
    } else this.#records.delete(key);
    this.#set(tokenKey(scope, candidate), { refusedAtMs: nowMs });
    const source = sourceKey(scope, candidate);
    const { consecutiveRefusals = 0, refusedAtMs = -Infinity } = this.#get(source);
    const isConsecutive = nowMs - refusedAtMs < OVERRIDE_MS;
    this.#set(source, {
      consecutiveRefusals: isConsecutive ? consecutiveRefusals + 1 : 1,
      refusedAtMs: nowMs,
    });
  }

  /** Records that reads with a candidate succeed, which clears its refusals. */
  recordSuccessfulReads(scope: VerdictScope, candidate: Candidate): void {
    const key = verdictKey(scope, candidate);
    if (this.#get(key).refusedAtMs !== undefined) this.#records.delete(key);
    this.#records.delete(tokenKey(scope, candidate));
    this.#records.delete(sourceKey(scope, candidate));
  }

  /**
   * Allows another probe of a refused candidate. The time of the refusal is kept, because it ranks
   * the candidate below those that were never refused.
   */
  allowProbe(scope: VerdictScope, candidate: Candidate): void {
    const key = verdictKey(scope, candidate);
    const { refusedAtMs, verdict, refusedByRegistry = false } = this.#get(key);
    if (verdict === undefined || refusedAtMs === undefined) return;
    this.#set(key, { refusedAtMs, refusedByRegistry });
  }

  #get(key: string): VerdictRecord {
    return this.#records.get(key) ?? {};
  }

  #set(key: string, record: VerdictRecord): void {
    setNewest(this.#records, key, record, MAX_RECORDS);
  }
}

function repositoryOf({ target: { scheme, host, repository } }: VerdictScope): string {
  return `${scheme}://${host}/${repository}`;
}

function tokenKey(scope: VerdictScope, { credential }: Candidate): string {
  return `token ${repositoryOf(scope)} ${credentialFingerprint(credential)}`;
}

function sourceKey(scope: VerdictScope, candidate: Candidate): string {
  const { origin, pattern = "", plugin = "", account = "", watched, credential } = candidate;
  const fingerprint = watched ? credentialFingerprint(credential) : "";
  const source = JSON.stringify([origin, pattern, plugin, account, fingerprint]);
  return `source ${repositoryOf(scope)} ${source}`;
}

function verdictKey(scope: VerdictScope, candidate: Candidate): string {
  const isOwn = appliesToCredential(scope, candidate);
  return `verdict ${isOwn ? tokenKey(scope, candidate) : sourceKey(scope, candidate)}`;
}

/** Whether the verdict applies to the credential itself, and not to its source. */
function appliesToCredential({ perToken }: VerdictScope, { watched }: Candidate): boolean {
  return perToken || watched;
}
