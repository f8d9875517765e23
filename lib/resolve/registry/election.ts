import type { VerdictKind } from "../../model/mod.ts";

/** When the registry itself is asked; `on-doubt` where candidates differ or reads are refused. */
export type Verify = "never" | "on-doubt" | "on-change";

/** One credential that might serve, and what is known of it. */
export interface ElectionOption {
  /** A source offers it now. Otherwise it is the one in use, or one that worked before. */
  readonly offered: boolean;
  readonly inUse: boolean;
  /** People change it (a file, a secret); a minted one is new each time, and none is suspect. */
  readonly byHand: boolean;
  /** What it says of its own end cannot be believed: a minted one as well may be dead. */
  readonly isOdd?: boolean;
  /** Its reads succeed. */
  readonly proven: boolean;
  /** The registry's word, where it was asked and nothing has spoken against it since. */
  readonly verdict?: VerdictKind;
  /** Wall time of the last refusal that counts, by the registry or by reads. */
  readonly refusedAtMs?: number;
}

/** Everything that an election depends on. */
export interface ElectionInput {
  /** What is offered in the chain's order, then the others. Never empty. */
  readonly options: readonly ElectionOption[];
  readonly verify: Verify;
  /** Reads with the one in use are refused. */
  readonly readsRefused: boolean;
  /** Whether the registry can be asked at this moment. */
  readonly canProbe: boolean;
}

/** Why one was elected. */
export const ELECTION_REASONS = {
  "only": "there is no other",
  "in-use": "it is in use, and works",
  "accepted": "the registry accepts it",
  "first": "it comes first",
  "not-refused": "those before it are refused",
  "kept": "what the sources offer is refused, and it is not",
  "least-refused": "all are refused, it the longest ago",
} as const;
/** One of {@linkcode ELECTION_REASONS}. */
export type ElectionReason = keyof typeof ELECTION_REASONS;

/** What to do next: ask the registry about one, or take one. */
export type ElectionStep =
  | { readonly kind: "probe"; readonly index: number }
  | { readonly kind: "elect"; readonly index: number; readonly reason: ElectionReason };

/**
 * The next step of an election. Pure. Nothing is asked that cannot change the outcome: not about
 * one that works, not where there is no choice, and never twice about one and the same.
 */
export function electionStep(input: ElectionInput): ElectionStep {
  const { options } = input;
  const working = options.findIndex((option) =>
    option.offered && option.inUse && isGood(option) && option.refusedAtMs === undefined
  );
  if (working >= 0 && !(input.verify === "on-change" && isUnasked(options[working]))) {
    return { kind: "elect", index: working, reason: options.length === 1 ? "only" : "in-use" };
  }
  if (input.canProbe && isWorthAsking(input)) {
    for (const [index, option] of options.entries()) {
      if (!option.offered) continue;
      if (option.verdict === undefined) return { kind: "probe", index };
      if (tierOf(option) === 0) return { kind: "elect", index, reason: "accepted" };
    }
  }
  const [index = 0] = ranking(options);
  return { kind: "elect", index, reason: reasonOf(options, index) };
}

/** All options, the best first, by their places in the list. */
export function ranking(options: readonly ElectionOption[]): readonly number[] {
  // Where all are odd it is our clock that is wrong, or the source has always been so.
  const usedIsOdd = options.some(({ inUse, isOdd }) => inUse && isOdd);
  const tier = (option: ElectionOption) => {
    const known = tierOf(option);
    return known === 1 && option.isOdd && !usedIsOdd ? ODD_TIER : known;
  };
  return options.map((option, index) => ({ option, index })).sort((a, b) =>
    tier(a.option) - tier(b.option) ||
    (a.option.refusedAtMs ?? 0) - (b.option.refusedAtMs ?? 0) || a.index - b.index
  ).map(({ index }) => index);
}

/** Whether every source's offer is refused: then others may be asked for theirs. */
export function isExhausted(options: readonly ElectionOption[]): boolean {
  return options.every(({ offered, refusedAtMs }) => !offered || refusedAtMs !== undefined);
}

function isWorthAsking({ options, verify, readsRefused }: ElectionInput): boolean {
  if (verify === "never") return false;
  if (verify === "on-change") return true;
  if (options.length < 2) return false;
  const offered = options.filter((option) => option.offered);
  return readsRefused || offered.length > 1 ||
    offered.some((option) => (option.byHand || option.isOdd) && !option.inUse);
}

/** Unknown and dead by its own words: behind one that worked, before those that are refused. */
const ODD_TIER = 2.5;

/** 0 offered and good, 1 offered and unknown, 2 not offered any more but good enough, 3 refused. */
function tierOf(option: ElectionOption): number {
  if (option.refusedAtMs !== undefined) return 3;
  if (!option.offered) return 2;
  return isGood(option) ? 0 : 1;
}

function isGood({ verdict, proven }: ElectionOption): boolean {
  return verdict === "accepted" || verdict === "anonymous" || proven;
}

function isUnasked(option: ElectionOption | undefined): boolean {
  return option?.verdict === undefined;
}

function reasonOf(options: readonly ElectionOption[], index: number): ElectionReason {
  const option = options[index];
  if (option === undefined || options.length === 1) return "only";
  switch (tierOf(option)) {
    case 0:
      return "accepted";
    case 1:
      return index === 0 ? "first" : "not-refused";
    case 2:
      return "kept";
    default:
      return "least-refused";
  }
}
