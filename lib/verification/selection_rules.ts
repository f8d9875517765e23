import type { VerdictKind } from "../model/mod.ts";

/** When the registry itself is asked; `on-doubt` where candidates differ or reads are refused. */
export type Verify = "never" | "as-needed" | "on-change";

/** One credential that might serve, and what is known of it. */
export interface SelectionOption {
  /** A source offers it now. Otherwise it is the one in use, or one that worked before. */
  readonly offered: boolean;
  readonly inUse: boolean;
  /** People change it (a file, a secret); a minted one is new each time, and none is suspect. */
  readonly byHand: boolean;
  /** What it says of its own end cannot be believed: a minted one as well may be dead. */
  readonly isImplausible?: boolean;
  /** Its reads succeed. */
  readonly proven: boolean;
  /** The registry's word, where it was asked and nothing has spoken against it since. */
  readonly verdict?: VerdictKind;
  /** Wall time of the last refusal that counts, by the registry or by reads. */
  readonly refusedAtMs?: number;
  /** It was the registry that refused this very credential, when it was last asked. */
  readonly refusedByRegistry?: boolean;
}

/** Everything that an election depends on. */
export interface SelectionInput {
  /** What is offered in the chain's order, then the others. Never empty. */
  readonly options: readonly SelectionOption[];
  readonly verify: Verify;
  /** Reads with the one in use are refused. */
  readonly readsRefused: boolean;
  /** Whether the registry can be asked at this moment. */
  readonly canProbe: boolean;
}

/** Why one was elected. */
export const SELECTION_REASONS = {
  "only": "there is no other",
  "in-use": "it is in use, and not refused",
  "accepted": "the registry accepts it",
  "first": "it comes first",
  "not-refused": "those before it are refused",
  "kept": "what the sources offer is refused, and it is not",
  "least-refused": "all are refused, and it ranks first",
} as const;
/** One of {@linkcode SELECTION_REASONS}. */
export type SelectionReason = keyof typeof SELECTION_REASONS;

/** What to do next: ask the registry about one, or take one. */
export type SelectionStep =
  | { readonly kind: "probe"; readonly index: number }
  | { readonly kind: "elect"; readonly index: number; readonly reason: SelectionReason };

/**
 * The next step of an election. Pure. Nothing is asked that cannot change the outcome: not about
 * one that works, not where there is no choice, and never twice about one and the same.
 */
export function selectionStep(input: SelectionInput): SelectionStep {
  const { options } = input;
  const working = options.findIndex((option) =>
    option.offered && option.inUse && isGood(option) && option.refusedAtMs === undefined
  );
  if (working >= 0 && !(input.verify === "on-change" && isUnasked(options[working]))) {
    return { kind: "elect", index: working, reason: options.length === 1 ? "only" : "in-use" };
  }
  if (input.canProbe && isWorthQuerying(input)) {
    // Those that the registry refused before come last: they must not delay one that is new.
    const order = [...options.entries()].sort(([, a], [, b]) =>
      Number(a.refusedByRegistry ?? false) - Number(b.refusedByRegistry ?? false)
    );
    for (const [index, option] of order) {
      if (!option.offered) continue;
      if (option.verdict === undefined) return { kind: "probe", index };
      if (rankOf(option, options) === "good") return { kind: "elect", index, reason: "accepted" };
    }
  }
  const [index = 0] = ranking(options);
  return { kind: "elect", index, reason: reasonOf(options, index) };
}

/** What an option is worth, best first. This and {@linkcode selectionStep} are all the rules. */
const RANKS = [
  /** Offered, and accepted by the registry or proven by reads. */
  "good",
  /** Offered and in use: nothing speaks for another one that is unknown as well. */
  "in-use",
  /** Offered, and nothing is known of it. */
  "unknown",
  /** No longer offered: the one in use, or one that worked before. */
  "earlier",
  /** Offered and unknown, with an implausible expiry; the one in use has a plausible one. */
  "implausible",
  /** Refused by reads; and the one in use, whoever refused it. */
  "refused",
  /** Refused by the registry: it never replaces the one in use. */
  "refused-by-registry",
] as const;
type Rank = typeof RANKS[number];

/**
 * Returns the indexes of all options by rank, best first. Within a rank the one that was refused
 * the longest ago comes first, then the sources' order.
 */
export function ranking(options: readonly SelectionOption[]): readonly number[] {
  const ranked = options.map((option, index) => {
    const rank = RANKS.indexOf(rankOf(option, options));
    return { index, rank, refusedAtMs: option.refusedAtMs ?? 0 };
  });
  ranked.sort((a, b) => a.rank - b.rank || a.refusedAtMs - b.refusedAtMs);
  return ranked.map(({ index }) => index);
}

function rankOf(option: SelectionOption, options: readonly SelectionOption[]): Rank {
  const { offered, inUse, refusedAtMs, refusedByRegistry = false } = option;
  if (refusedAtMs !== undefined) {
    return refusedByRegistry && !inUse ? "refused-by-registry" : "refused";
  }
  if (!offered) return "earlier";
  if (isGood(option)) return "good";
  if (inUse) return "in-use";
  // Where that of the one in use is implausible too, our clock is wrong, or its source always is.
  const isDoubtful = option.isImplausible &&
    !options.some(({ inUse, isImplausible }) => inUse && isImplausible);
  return isDoubtful ? "implausible" : "unknown";
}

/** Whether every source's offer is refused: then others may be asked for theirs. */
export function isExhausted(options: readonly SelectionOption[]): boolean {
  return options.every(({ offered, refusedAtMs }) => !offered || refusedAtMs !== undefined);
}

function isWorthQuerying({ options, verify, readsRefused }: SelectionInput): boolean {
  if (verify === "never") return false;
  if (verify === "on-change") return true;
  if (options.length < 2) return false;
  const offered = options.filter((option) => option.offered);
  return readsRefused || offered.length > 1 ||
    offered.some((option) => (option.byHand || option.isImplausible) && !option.inUse);
}

function isGood({ verdict, proven }: SelectionOption): boolean {
  return verdict === "accepted" || verdict === "anonymous" || proven;
}

function isUnasked(option: SelectionOption | undefined): boolean {
  return option?.verdict === undefined;
}

function reasonOf(options: readonly SelectionOption[], index: number): SelectionReason {
  const option = options[index];
  if (option === undefined || options.length === 1) return "only";
  const rank = rankOf(option, options);
  switch (rank) {
    case "good":
      return "accepted";
    case "in-use":
      return "in-use";
    case "unknown":
    case "implausible":
      return index === 0 ? "first" : "not-refused";
    case "earlier":
      return "kept";
    case "refused":
    case "refused-by-registry":
      return "least-refused";
    default:
      return rank satisfies never;
  }
}
