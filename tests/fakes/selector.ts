import type { ReconcilerContext } from "../../lib/reconciler/mod.ts";

/** Selects the first candidate without a probe. */
export const selectFirst: ReconcilerContext["selector"] = {
  select({ offered: [winner, ...otherCandidates] }) {
    if (winner === undefined) throw new Error("no candidate is offered");
    return Promise.resolve({
      kind: "selected",
      winner,
      otherCandidates,
      reason: "first",
      detail: "the first of the chain",
      exhausted: false,
    });
  },
};
