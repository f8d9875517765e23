import {
  type CallOptions,
  type Candidate,
  type Clock,
  credentialFingerprint,
  Gate,
  hardExpiryOf,
  type ImageReference,
  type Observer,
  type ProbeTarget,
  type ProbeVerdict,
  type ProviderName,
} from "../model/mod.ts";
import {
  ELECTION_REASONS,
  type ElectionOption,
  type ElectionReason,
  electionStep,
  isExhausted,
  ranking,
  type Verify,
} from "./selection_rules.ts";
import { Evidence, type Known } from "./verdict_history.ts";
import type { RegistryProbe } from "./probe.ts";

/** A credential that might serve, and who has it. */
export interface Contender {
  readonly provider: ProviderName | "adopted";
  readonly candidate: Candidate;
}

/** What is to be decided. */
export interface ElectionRequest {
  readonly image: ImageReference;
  /** How nydusd reaches what the image is read from. */
  readonly target: ProbeTarget;
  /** What the sources offer now, in the chain's order; not empty. */
  readonly offered: readonly Contender[];
  /** What the mounts of the image use, whether it is still offered or not. */
  readonly inUse?: Contender & { readonly proven: boolean };
  /** Reads with it are refused. */
  readonly readsRefused: boolean;
  /** Of what is offered: what was fetched because the registry refused what their sources kept. */
  readonly fetched?: readonly Contender[];
}

/** The outcome: one that the sources offer or that worked before, or the one in use stays. */
export interface Election {
  readonly kind: "elected" | "kept";
  readonly winner: Contender;
  /** The others, best first. */
  readonly losers: readonly Contender[];
  readonly reason: ElectionReason;
  /** More words: what the registry said of those before it. */
  readonly detail: string;
  /** Everything that was offered is refused: further sources may be asked. */
  readonly exhausted: boolean;
}

/** What the elector works with. */
export interface ElectorOptions {
  readonly probe: Pick<RegistryProbe, "probe">;
  readonly clock: Clock;
  readonly observer: Observer;
  readonly verify: () => Verify;
}

interface Entry {
  readonly contender: Contender;
  readonly fingerprint: string;
  readonly offered: boolean;
  readonly inUse: boolean;
  readonly proven: boolean;
}

type KnownOption = ElectionOption & Pick<Known, "words">;

const MAX_SHOWN = 3;
/** Offers that are compared; what is in use and what worked before are compared in any case. */
const MAX_OFFERED = 256;
const MAX_PARALLEL = 8;
/** A registry that did not answer is left alone for this long. */
const UNREACHABLE_MS = 10_000;
const MAX_PREVIOUS = 10_000;
const SILENT: ProbeVerdict = { kind: "unreachable", detail: "it did not answer just now" };

/**
 * Decides between credentials that would all fit, by what the registry and the reads have said.
 * What was said is remembered, so that nothing is asked twice.
 */
export class Elector {
  readonly #options: ElectorOptions;
  readonly #evidence = new Evidence();
  readonly #gate = new Gate(MAX_PARALLEL);
  /** Probes under way, by what they ask: whoever wants the same shares them. */
  readonly #asking = new Map<string, Promise<ProbeVerdict>>();
  /** By host: wall time before which it is not asked again. */
  readonly #silentUntilMs = new Map<string, number>();
  /** By image: what worked before the one in use, for as long as it lives. */
  readonly #previous = new Map<string, Contender>();

  constructor(options: ElectorOptions) {
    this.#options = options;
  }

  /** Rejects for nothing but `signal`. */
  async elect(request: ElectionRequest, options: CallOptions = {}): Promise<Election> {
    const { clock } = this.#options;
    const { target, inUse, readsRefused, fetched = [] } = request;
    // Of an odd token nothing follows for the others of its source.
    const perToken = this.#options.verify() === "on-change" ||
      request.offered.some(({ candidate }) => isOdd(candidate));
    if (inUse !== undefined && readsRefused) {
      this.#evidence.readsRefused(target, inUse.candidate, clock.wallMs(), perToken);
    } else if (inUse?.proven) {
      this.#evidence.readsSucceed(target, inUse.candidate, perToken);
    }
    for (const { candidate } of fetched) this.#evidence.reopen(target, candidate, perToken);
    const entries = this.#entries(request);
    if (readsRefused) {
      for (const { contender, inUse } of entries) {
        if (!inUse) this.#evidence.reopen(target, contender.candidate, perToken);
      }
    }
    // Every turn but the last asks about one that was not asked about.
    for (let turn = 0; turn <= entries.length; turn++) {
      const known = entries.map((entry) => this.#option(request, entry, perToken));
      const step = electionStep({
        options: known,
        verify: this.#options.verify(),
        readsRefused,
        canProbe: turn < entries.length && this.#canAsk(target),
      });
      const entry = entries[step.index];
      if (entry === undefined) break;
      if (step.kind === "elect") return this.#elected(request, entries, known, step);
      const { candidate } = entry.contender;
      const verdict = await this.#ask(request, entry, options);
      this.#take(target, candidate, verdict, perToken);
    }
    throw new Error("elect: there is no candidate");
  }

  /** What is offered, each once; then what is in use, and what worked before, if not offered. */
  #entries({ image, offered, inUse }: ElectionRequest): readonly Entry[] {
    const entries = new Map<string, Entry>();
    const others = [inUse, this.#previous.get(image.text)].filter((other) => other !== undefined);
    const fingerprints = others.map(({ candidate }) => credentialFingerprint(candidate.credential));
    const used = inUse && fingerprints[0];
    const add = (contender: Contender, isOffered: boolean, proven: boolean) => {
      const fingerprint = credentialFingerprint(contender.candidate.credential);
      const isFull = entries.size >= MAX_OFFERED && !fingerprints.includes(fingerprint);
      if (entries.has(fingerprint) || isFull) return;
      const isUsed = fingerprint === used;
      entries.set(fingerprint, {
        contender,
        fingerprint,
        offered: isOffered,
        inUse: isUsed,
        proven: proven || (isUsed && inUse?.proven === true),
      });
    };
    // nydusd cannot use identity tokens: they serve where there is nothing else.
    const isIdentity = ({ candidate }: Contender) => candidate.credential.kind === "identity-token";
    for (const contender of offered) if (!isIdentity(contender)) add(contender, true, false);
    for (const contender of offered) if (isIdentity(contender)) add(contender, true, false);
    for (const other of others) if (this.#mayStay(other)) add(other, false, false);
    return [...entries.values()];
  }

  /** What was got in an account's name stands with its source alone; what is dead is no help. */
  #mayStay({ candidate: { account, hardExpiresAtMs } }: Contender): boolean {
    return account === undefined &&
      (hardExpiresAtMs === undefined || hardExpiresAtMs > this.#options.clock.wallMs());
  }

  #option(
    { target, readsRefused }: ElectionRequest,
    { contender, offered, inUse, proven }: Entry,
    perToken: boolean,
  ): KnownOption {
    const known = this.#evidence.known(target, contender.candidate, perToken);
    return {
      offered,
      inUse,
      byHand: contender.candidate.watched,
      isOdd: isOdd(contender.candidate),
      proven: proven && !(inUse && readsRefused),
      ...known,
    };
  }

  async #ask(
    { image, target }: ElectionRequest,
    { contender, fingerprint }: Entry,
    { signal }: CallOptions,
  ): Promise<ProbeVerdict> {
    const { probe, clock, observer } = this.#options;
    const key = `${target.scheme}://${target.host}/${target.repository} ${fingerprint}`;
    const shared = this.#asking.get(key);
    if (shared !== undefined) return await shared;
    const asking = this.#gate.run(async () => {
      // Another one may have found it silent while this one waited for its turn.
      if (!this.#canAsk(target)) return SILENT;
      const startedMs = clock.monotonicMs();
      const { credential } = contender.candidate;
      const verdict = await probe.probe(target, credential, signal ? { signal } : {});
      observer.notify({
        kind: "registry-probed",
        image: image.text,
        host: target.host,
        provider: contender.provider,
        origin: contender.candidate.origin,
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
    this.#evidence.heard(target, candidate, verdict, this.#options.clock.wallMs(), perToken);
  }

  #noteSilence({ host }: ProbeTarget, verdict: ProbeVerdict): void {
    if (verdict.kind === "throttled") this.#silentUntilMs.set(host, verdict.retryAtMs);
    if (verdict.kind !== "unreachable") return;
    this.#silentUntilMs.set(host, this.#options.clock.wallMs() + UNREACHABLE_MS);
  }

  #canAsk({ host }: ProbeTarget): boolean {
    const untilMs = this.#silentUntilMs.get(host);
    if (untilMs === undefined) return true;
    // A wall clock that stepped back leaves times of the future behind.
    const nowMs = this.#options.clock.wallMs();
    if (untilMs > nowMs && untilMs - nowMs <= 3_600_000) return false;
    this.#silentUntilMs.delete(host);
    return true;
  }

  #elected(
    { image, inUse }: ElectionRequest,
    entries: readonly Entry[],
    known: readonly KnownOption[],
    { index, reason }: { readonly index: number; readonly reason: ElectionReason },
  ): Election {
    const order = [index, ...ranking(known).filter((other) => other !== index)];
    const [winner, ...losers] = order.flatMap((at) => entries[at] ?? []);
    if (winner === undefined) throw new Error("elect: there is no candidate");
    const leaves = inUse?.proven === true && !winner.inUse && inUse.provider !== "adopted";
    if (leaves && this.#mayStay(inUse)) this.#remember(image, inUse);
    return {
      kind: winner.inUse && !winner.offered ? "kept" : "elected",
      winner: winner.contender,
      losers: losers.map(({ contender }) => contender),
      reason,
      detail: [ELECTION_REASONS[reason], ...refusals(entries, known)].join("; "),
      exhausted: isExhausted(known),
    };
  }

  #remember({ text }: ImageReference, { provider, candidate }: Contender): void {
    this.#previous.delete(text);
    this.#previous.set(text, { provider, candidate });
    const [oldest] = this.#previous.keys();
    if (this.#previous.size > MAX_PREVIOUS && oldest !== undefined) this.#previous.delete(oldest);
  }
}

/** What was said of those that are refused. */
function refusals(entries: readonly Entry[], known: readonly KnownOption[]): readonly string[] {
  const said = entries.flatMap(({ contender }, i) => {
    const { verdict, words, refusedAtMs } = known[i] ?? {};
    if (refusedAtMs === undefined) return [];
    return [`${contender.candidate.origin}: ${verdict ?? "refused"}, ${words ?? "by reads"}`];
  });
  return said.slice(0, MAX_SHOWN);
}

/** Whether a token tells an end that makes no sense, such as one in the past. */
function isOdd({ credential, fetchedAtMs }: Candidate): boolean {
  return hardExpiryOf(credential, fetchedAtMs).warning !== undefined;
}
