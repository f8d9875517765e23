import {
  type CallOptions,
  type Candidate,
  type Clock,
  credentialFingerprint,
  type ImageReference,
  type Observer,
  type ProbeTarget,
  type ProbeVerdict,
  type ProviderName,
  Semaphore,
  tokenExpiryOf,
} from "../model/mod.ts";
import {
  isExhausted,
  ranking,
  SELECTION_REASONS,
  type SelectionOption,
  type SelectionReason,
  selectionStep,
  type Verify,
} from "./selection_rules.ts";
import { type Known, VerdictHistory } from "./verdict_history.ts";
import type { RegistryProbe } from "./probe.ts";

/** A credential that might serve, and who has it. */
export interface ScoredCandidate {
  readonly provider: ProviderName | "adopted";
  readonly candidate: Candidate;
}

/** What is to be decided. */
export interface SelectionRequest {
  readonly image: ImageReference;
  /** How nydusd reaches what the image is read from. */
  readonly target: ProbeTarget;
  /** What the sources offer now, in the chain's order; not empty. */
  readonly offered: readonly ScoredCandidate[];
  /** What the mounts of the image use, whether it is still offered or not. */
  readonly inUse?: ScoredCandidate & { readonly proven: boolean };
  /** Reads with it are refused. */
  readonly readsRefused: boolean;
  /** Of what is offered: what was fetched because the registry refused what their sources kept. */
  readonly fetched?: readonly ScoredCandidate[];
}

/** The outcome: one that the sources offer or that worked before, or the one in use stays. */
export interface Selection {
  readonly kind: "elected" | "kept";
  readonly winner: ScoredCandidate;
  /** The others, best first. */
  readonly otherCandidates: readonly ScoredCandidate[];
  readonly reason: SelectionReason;
  /** More words: what the registry said of those before it. */
  readonly detail: string;
  /** Everything that was offered is refused: further sources may be asked. */
  readonly exhausted: boolean;
}

/** What the elector works with. */
export interface CandidateSelectorOptions {
  readonly probe: Pick<RegistryProbe, "probe">;
  readonly clock: Clock;
  readonly observer: Observer;
  readonly verify: () => Verify;
}

interface Entry {
  readonly scored: ScoredCandidate;
  readonly fingerprint: string;
  readonly offered: boolean;
  readonly inUse: boolean;
  readonly proven: boolean;
}

type KnownOption = SelectionOption & Pick<Known, "words">;

const MAX_SHOWN = 3;
/** Offers that are compared; what is in use and what worked before are compared in any case. */
const MAX_OFFERED = 256;
const MAX_PARALLEL = 8;
/** A registry that did not answer is left alone for this long. */
const UNREACHABLE_MS = 10_000;
const MAX_PREVIOUS = 10_000;
const UNAVAILABLE: ProbeVerdict = { kind: "unreachable", detail: "it did not answer just now" };

/**
 * Decides between credentials that would all fit, by what the registry and the reads have said.
 * What was said is remembered, so that nothing is asked twice.
 */
export class CandidateSelector {
  readonly #options: CandidateSelectorOptions;
  readonly #verdicts = new VerdictHistory();
  readonly #gate = new Semaphore(MAX_PARALLEL);
  /** Probes under way, by what they ask: whoever wants the same shares them. */
  readonly #asking = new Map<string, Promise<ProbeVerdict>>();
  /** By host: wall time before which it is not asked again. */
  readonly #unavailableUntilMs = new Map<string, number>();
  /** By image: what worked before the one in use, for as long as it lives. */
  readonly #previous = new Map<string, ScoredCandidate>();

  constructor(options: CandidateSelectorOptions) {
    this.#options = options;
  }

  /** Rejects for nothing but `signal`. */
  async elect(request: SelectionRequest, options: CallOptions = {}): Promise<Selection> {
    const { clock } = this.#options;
    const { target, inUse, readsRefused, fetched = [] } = request;
    // Of an odd token nothing follows for the others of its source.
    const perToken = this.#options.verify() === "on-change" ||
      request.offered.some(({ candidate }) => isImplausible(candidate));
    if (inUse !== undefined && readsRefused) {
      this.#verdicts.readsRefused(target, inUse.candidate, clock.wallMs(), perToken);
    } else if (inUse?.proven) {
      this.#verdicts.readsSucceed(target, inUse.candidate, perToken);
    }
    for (const { candidate } of fetched) this.#verdicts.reopen(target, candidate, perToken);
    const entries = this.#entries(request);
    if (readsRefused) {
      for (const { scored, inUse } of entries) {
        if (!inUse) this.#verdicts.reopen(target, scored.candidate, perToken);
      }
    }
    // Every turn but the last asks about one that was not asked about.
    for (let turn = 0; turn <= entries.length; turn++) {
      const known = entries.map((entry) => this.#option(request, entry, perToken));
      const step = selectionStep({
        options: known,
        verify: this.#options.verify(),
        readsRefused,
        canProbe: turn < entries.length && this.#canQuery(target),
      });
      const entry = entries[step.index];
      if (entry === undefined) break;
      if (step.kind === "elect") return this.#selectionReason(request, entries, known, step);
      const { candidate } = entry.scored;
      const verdict = await this.#ask(request, entry, options);
      this.#take(target, candidate, verdict, perToken);
    }
    throw new Error("elect: there is no candidate");
  }

  /** What is offered, each once; then what is in use, and what worked before, if not offered. */
  #entries({ image, offered, inUse }: SelectionRequest): readonly Entry[] {
    const entries = new Map<string, Entry>();
    const others = [inUse, this.#previous.get(image.text)].filter((other) => other !== undefined);
    const fingerprints = others.map(({ candidate }) => credentialFingerprint(candidate.credential));
    const used = inUse && fingerprints[0];
    const add = (scored: ScoredCandidate, isOffered: boolean, proven: boolean) => {
      const fingerprint = credentialFingerprint(scored.candidate.credential);
      const isFull = entries.size >= MAX_OFFERED && !fingerprints.includes(fingerprint);
      if (entries.has(fingerprint) || isFull) return;
      const isUsed = fingerprint === used;
      entries.set(fingerprint, {
        scored,
        fingerprint,
        offered: isOffered,
        inUse: isUsed,
        proven: proven || (isUsed && inUse?.proven === true),
      });
    };
    // nydusd cannot use identity tokens: they serve where there is nothing else.
    const isIdentity = ({ candidate }: ScoredCandidate) =>
      candidate.credential.kind === "identity-token";
    for (const scored of offered) if (!isIdentity(scored)) add(scored, true, false);
    for (const scored of offered) if (isIdentity(scored)) add(scored, true, false);
    for (const other of others) if (this.#mayStay(other)) add(other, false, false);
    return [...entries.values()];
  }

  /** What was got in an account's name stands with its source alone; what is dead is no help. */
  #mayStay({ candidate: { account, expiresAtMs } }: ScoredCandidate): boolean {
    return account === undefined &&
      (expiresAtMs === undefined || expiresAtMs > this.#options.clock.wallMs());
  }

  #option(
    { target, readsRefused }: SelectionRequest,
    { scored, offered, inUse, proven }: Entry,
    perToken: boolean,
  ): KnownOption {
    const known = this.#verdicts.known(target, scored.candidate, perToken);
    return {
      offered,
      inUse,
      byHand: scored.candidate.watched,
      isImplausible: isImplausible(scored.candidate),
      proven: proven && !(inUse && readsRefused),
      ...known,
    };
  }

  async #ask(
    { image, target }: SelectionRequest,
    { scored, fingerprint }: Entry,
    { signal }: CallOptions,
  ): Promise<ProbeVerdict> {
    const { probe, clock, observer } = this.#options;
    const key = `${target.scheme}://${target.host}/${target.repository} ${fingerprint}`;
    const shared = this.#asking.get(key);
    if (shared !== undefined) return await shared;
    const asking = this.#gate.run(async () => {
      // Another one may have found it silent while this one waited for its turn.
      if (!this.#canQuery(target)) return UNAVAILABLE;
      const startedMs = clock.monotonicMs();
      const { credential } = scored.candidate;
      const verdict = await probe.probe(target, credential, signal ? { signal } : {});
      observer.notify({
        kind: "registry-probed",
        image: image.text,
        host: target.host,
        provider: scored.provider,
        origin: scored.candidate.origin,
        fingerprint,
        verdict: verdict.kind,
        detail: verdict.detail,
        durationMs: clock.monotonicMs() - startedMs,
      });
      this.#noteSilence(target, verdict);
      return verdict;
    }).finally(() => this.#asking.delete(key));
    this.#asking.set(key, asking);
    return await asking;
  }

  #take(target: ProbeTarget, candidate: Candidate, verdict: ProbeVerdict, perToken: boolean): void {
    if (verdict.kind === "unreachable" || verdict.kind === "throttled") return;
    this.#verdicts.heard(target, candidate, verdict, this.#options.clock.wallMs(), perToken);
  }

  #noteSilence({ host }: ProbeTarget, verdict: ProbeVerdict): void {
    if (verdict.kind === "throttled") this.#unavailableUntilMs.set(host, verdict.retryAtMs);
    if (verdict.kind !== "unreachable") return;
    this.#unavailableUntilMs.set(host, this.#options.clock.wallMs() + UNREACHABLE_MS);
  }

  #canQuery({ host }: ProbeTarget): boolean {
    const untilMs = this.#unavailableUntilMs.get(host);
    if (untilMs === undefined) return true;
    // A wall clock that stepped back leaves times of the future behind.
    const nowMs = this.#options.clock.wallMs();
    if (untilMs > nowMs && untilMs - nowMs <= 3_600_000) return false;
    this.#unavailableUntilMs.delete(host);
    return true;
  }

  #selectionReason(
    { image, inUse }: SelectionRequest,
    entries: readonly Entry[],
    known: readonly KnownOption[],
    { index, reason }: { readonly index: number; readonly reason: SelectionReason },
  ): Selection {
    const order = [index, ...ranking(known).filter((other) => other !== index)];
    const [winner, ...otherCandidates] = order.flatMap((at) => entries[at] ?? []);
    if (winner === undefined) throw new Error("elect: there is no candidate");
    const leaves = inUse?.proven === true && !winner.inUse && inUse.provider !== "adopted";
    if (leaves && this.#mayStay(inUse)) this.#remember(image, inUse);
    return {
      kind: winner.inUse && !winner.offered ? "kept" : "elected",
      winner: winner.scored,
      otherCandidates: otherCandidates.map(({ scored }) => scored),
      reason,
      detail: [SELECTION_REASONS[reason], ...refusals(entries, known)].join("; "),
      exhausted: isExhausted(known),
    };
  }

  #remember({ text }: ImageReference, { provider, candidate }: ScoredCandidate): void {
    this.#previous.delete(text);
    this.#previous.set(text, { provider, candidate });
    const [oldest] = this.#previous.keys();
    if (this.#previous.size > MAX_PREVIOUS && oldest !== undefined) this.#previous.delete(oldest);
  }
}

/** What was said of those that are refused. */
function refusals(entries: readonly Entry[], known: readonly KnownOption[]): readonly string[] {
  const said = entries.flatMap(({ scored }, i) => {
    const { verdict, words, refusedAtMs } = known[i] ?? {};
    if (refusedAtMs === undefined) return [];
    return [`${scored.candidate.origin}: ${verdict ?? "refused"}, ${words ?? "by reads"}`];
  });
  return said.slice(0, MAX_SHOWN);
}

/** Whether a token tells an end that makes no sense, such as one in the past. */
function isImplausible({ credential, fetchedAtMs }: Candidate): boolean {
  return tokenExpiryOf(credential, fetchedAtMs).warning !== undefined;
}
