import type { VerdictKind } from "../model/mod.ts";

/** When the registry is probed; `as-needed`: when candidates differ or reads are refused. */
export type Verify = "never" | "as-needed" | "on-change";

/** A candidate as the rules see it. */
export interface SelectionOption {
  /** A provider offers it. Otherwise it is the one in use, or the one before it. */
  readonly offered: boolean;
  readonly inUse: boolean;
  /** Users change it in a file or secret. Others are issued by plugins and helpers, and trusted. */
  readonly userManaged: boolean;
  /** The expiry in its token is implausible, so even an issued one may have expired. */
  readonly isImplausible?: boolean;
  /** Reads with it succeed. */
  readonly proven: boolean;
  /** The registry's verdict, unless later reads contradict it. */
  readonly verdict?: VerdictKind;
  /** Wall time of the last refusal that counts, by the registry or by reads (ms). */
  readonly refusedAtMs?: number;
  /** The last probe of this very credential was refused. */
  readonly refusedByRegistry?: boolean;
}

/** Everything that a selection depends on. */
export interface SelectionInput {
  /** The offered candidates in the order of the chain, then the others. Never empty. */
  readonly options: readonly SelectionOption[];
  readonly verify: Verify;
  /** Reads with the candidate in use are refused. */
  readonly readsRefused: boolean;
  /** Whether the registry is available. */
  readonly canProbe: boolean;
}

/** Why a candidate was selected. */
export const SELECTION_REASONS = {
  "only": "it is the only candidate",
  "in-use": "it is in use and not refused",
  "accepted": "the registry accepts it",
  "first": "it is the first candidate",
  "not-refused": "the candidates before it are refused",
  "kept": "it is not refused, and all offered candidates are",
  "least-refused": "all candidates are refused, and it ranks first",
} as const;
/** One of {@linkcode SELECTION_REASONS}. */
export type SelectionReason = keyof typeof SELECTION_REASONS;

/** The next step of a selection: probe a candidate, or select it. */
export type SelectionStep =
  | { readonly kind: "probe"; readonly index: number }
  | { readonly kind: "select"; readonly index: number; readonly reason: SelectionReason };

/**
 * Returns the next step of a selection. Pure. Only probes that can change the result are made: none
 * of a candidate that works, none without an alternative, and none twice.
 */
export function selectionStep(input: SelectionInput): SelectionStep {
  const { options } = input;
  const working = options.findIndex((option) =>
    option.offered && option.inUse && isGood(option) && option.refusedAtMs === undefined
  );
  const mustProbe = input.verify === "on-change" && options[working]?.verdict === undefined;
  if (working >= 0 && !mustProbe) {
    return { kind: "select", index: working, reason: options.length === 1 ? "only" : "in-use" };
  }
  if (input.canProbe && isProbeUseful(input)) {
    // Candidates that the registry refused before come last: they must not delay a new one.
    const order = [...options.entries()].sort(([, a], [, b]) =>
      Number(a.refusedByRegistry ?? false) - Number(b.refusedByRegistry ?? false)
    );
    for (const [index, option] of order) {
      if (!option.offered) continue;
      if (option.verdict === undefined) return { kind: "probe", index };
      if (rankOf(option, options) === "good") return { kind: "select", index, reason: "accepted" };
    }
  }
  const [index = 0] = ranking(options);
  return { kind: "select", index, reason: reasonOf(options, index) };
}

/**
 * The ranks of options, best first, with the reason for a selection. With
 * {@linkcode selectionStep}, these are all the rules.
 */
const RANKS = {
  /** Offered, and accepted by the registry or proven by reads. */
  "good": "accepted",
  /** Offered and in use: no other option with an unknown verdict is better. */
  "in-use": "in-use",
  /** Offered, with an unknown verdict. */
  "unknown": "not-refused",
  /** No longer offered: the one in use, or the one before it. */
  "earlier": "kept",
  /** Offered and unknown, with an implausible expiry, while that of the one in use is plausible. */
  "implausible": "not-refused",
  /** Refused by reads; also the one in use, if the registry refused it. */
  "refused": "least-refused",
  /** Refused by the registry: it never replaces the one in use. */
  "refused-by-registry": "least-refused",
} as const satisfies Readonly<Record<string, SelectionReason>>;
type Rank = keyof typeof RANKS;
const ORDER = Object.keys(RANKS);

/**
 * Returns the indexes of all options by rank, best first. Within a rank, the option with the oldest
 * refusal comes first, then the order of the chain applies.
 */
export function ranking(options: readonly SelectionOption[]): readonly number[] {
  const ranked = options.map((option, index) => {
    const rank = ORDER.indexOf(rankOf(option, options));
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
  // When the one in use is implausible too, the clock of the node or all tokens of the source are
  // wrong, and the newer token is no worse.
  const isSuspect = option.isImplausible &&
    !options.some(({ inUse, isImplausible }) => inUse && isImplausible);
  return isSuspect ? "implausible" : "unknown";
}

/** Whether all offered candidates are refused, so that further providers should be queried. */
export function isExhausted(options: readonly SelectionOption[]): boolean {
  return options.every(({ offered, refusedAtMs }) => !offered || refusedAtMs !== undefined);
}

function isProbeUseful({ options, verify, readsRefused }: SelectionInput): boolean {
  if (verify === "never") return false;
  if (verify === "on-change") return true;
  if (options.length < 2) return false;
  const offered = options.filter((option) => option.offered);
  return readsRefused || offered.length > 1 ||
    offered.some((option) => (option.userManaged || option.isImplausible) && !option.inUse);
}

function isGood({ verdict, proven }: SelectionOption): boolean {
  return verdict === "accepted" || verdict === "anonymous" || proven;
}

function reasonOf(options: readonly SelectionOption[], index: number): SelectionReason {
  const option = options[index];
  if (option === undefined || options.length === 1) return "only";
  const reason = RANKS[rankOf(option, options)];
  return reason === "not-refused" && index === 0 ? "first" : reason;
}
