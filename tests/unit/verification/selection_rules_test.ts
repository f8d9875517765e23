import { deepEqual, equal, ok } from "node:assert/strict";
import fc from "fast-check";
import type { VerdictKind } from "../../../lib/model/mod.ts";
import {
  isExhausted,
  ranking,
  type SelectionInput,
  type SelectionOption,
  selectionStep,
  type Verify,
} from "../../../lib/verification/selection_rules.ts";

const PLAIN: SelectionOption = { offered: true, inUse: false, byHand: false, proven: false };

function input(
  options: readonly Partial<SelectionOption>[],
  more: Partial<Omit<SelectionInput, "options">> = {},
): SelectionInput {
  return {
    options: options.map((option) => ({ ...PLAIN, ...option })),
    verify: "as-needed",
    readsRefused: false,
    canProbe: true,
    ...more,
  };
}

Deno.test("electionStep asks about nothing where there is no choice", () => {
  deepEqual(selectionStep(input([{}])), { kind: "elect", index: 0, reason: "only" });
  deepEqual(selectionStep(input([{ inUse: true }], { readsRefused: true })), {
    kind: "elect",
    index: 0,
    reason: "only",
  });
  equal(selectionStep(input([{}], { verify: "on-change" })).kind, "probe");
});

Deno.test("electionStep leaves alone what works", () => {
  const works = { inUse: true, proven: true };
  deepEqual(selectionStep(input([{}, works])), { kind: "elect", index: 1, reason: "in-use" });
  deepEqual(selectionStep(input([{}, { inUse: true, verdict: "accepted" }])), {
    kind: "elect",
    index: 1,
    reason: "in-use",
  });
  equal(selectionStep(input([{}, { inUse: true }])).kind, "probe");
});

Deno.test("electionStep takes a minted credential without asking, one set by hand only if good", () => {
  const old: Partial<SelectionOption> = { offered: false, inUse: true, proven: true };
  deepEqual(selectionStep(input([{}, old])), { kind: "elect", index: 0, reason: "first" });
  deepEqual(selectionStep(input([{ byHand: true }, old])), { kind: "probe", index: 0 });
  const refused: Partial<SelectionOption> = { byHand: true, verdict: "refused", refusedAtMs: 5 };
  deepEqual(selectionStep(input([refused, old])), { kind: "elect", index: 1, reason: "kept" });
  const accepted: Partial<SelectionOption> = { byHand: true, verdict: "accepted" };
  deepEqual(selectionStep(input([accepted, old])), { kind: "elect", index: 0, reason: "accepted" });
});

Deno.test("electionStep: what cannot be asked about is taken on trust", () => {
  const old: Partial<SelectionOption> = { offered: false, inUse: true, proven: true };
  for (const more of [{ verify: "never" as const }, { canProbe: false }]) {
    deepEqual(selectionStep(input([{ byHand: true }, old], more)), {
      kind: "elect",
      index: 0,
      reason: "first",
    });
  }
});

Deno.test("electionStep with `never` goes on to the next when reads are refused", () => {
  const more = { verify: "never", readsRefused: true } as const;
  deepEqual(selectionStep(input([{ inUse: true, refusedAtMs: 9 }, {}], more)), {
    kind: "elect",
    index: 1,
    reason: "not-refused",
  });
  // All refused: it is the turn of the one that was refused the longest ago.
  const all = [{ refusedAtMs: 7 }, { refusedAtMs: 3 }, { inUse: true, refusedAtMs: 9 }];
  deepEqual(selectionStep(input(all, more)), { kind: "elect", index: 1, reason: "least-refused" });
});

Deno.test("isExhausted looks at what is offered alone", () => {
  const { options } = input([{ refusedAtMs: 1 }, { offered: false }]);
  equal(isExhausted(options), true);
  equal(isExhausted(input([{ refusedAtMs: 1 }, {}]).options), false);
});

const verdicts: readonly VerdictKind[] = ["accepted", "refused", "forbidden", "unknown"];
const anyOption: fc.Arbitrary<SelectionOption> = fc.record({
  offered: fc.boolean(),
  inUse: fc.boolean(),
  byHand: fc.boolean(),
  proven: fc.boolean(),
}).chain((bare) =>
  fc.constantFrom(undefined, ...verdicts).chain((verdict) => {
    const refused = verdict === "refused" || verdict === "forbidden";
    const times = refused ? fc.nat(100) : fc.constant(undefined);
    return times.map((refusedAtMs): SelectionOption => ({
      ...bare,
      ...(verdict !== undefined && { verdict }),
      ...(refusedAtMs !== undefined && { refusedAtMs, refusedByRegistry: true }),
    }));
  })
);
const anyInput: fc.Arbitrary<SelectionInput> = fc.record({
  options: fc.array(anyOption, { minLength: 1, maxLength: 6 }),
  verify: fc.constantFrom<Verify>("never", "as-needed", "on-change"),
  readsRefused: fc.boolean(),
  canProbe: fc.boolean(),
});

/** Plays an election to its end against a registry that always says the same of each. */
function play(start: SelectionInput, truth: readonly VerdictKind[]) {
  const options = [...start.options];
  const probed: number[] = [];
  while (true) {
    const step = selectionStep({ ...start, options });
    if (step.kind === "elect") {
      return { selectionReason: step.index, reason: step.reason, probed, options };
    }
    probed.push(step.index);
    ok(probed.length <= options.length, "it asks for ever");
    const verdict = truth[step.index] ?? "unknown";
    const option = options[step.index] ?? PLAIN;
    const refused = verdict === "refused" || verdict === "forbidden";
    options[step.index] = {
      ...option,
      verdict,
      ...(refused && { refusedAtMs: 1_000, refusedByRegistry: true }),
    };
  }
}

const anyGame = fc.record({
  start: anyInput,
  truth: fc.array(fc.constantFrom(...verdicts), { minLength: 6, maxLength: 6 }),
});

Deno.test("electionStep asks at most once about each, about offers alone, and never with `never`", () => {
  fc.assert(fc.property(anyGame, ({ start, truth }) => {
    const { probed } = play(start, truth);
    equal(new Set(probed).size, probed.length);
    for (const index of probed) {
      equal(start.options[index]?.offered, true);
      equal(start.options[index]?.verdict, undefined);
    }
    if (start.verify === "never" || !start.canProbe) deepEqual(probed, []);
  }));
});

Deno.test("electionStep never elects what is refused while anything is not", () => {
  fc.assert(fc.property(anyGame, ({ start, truth }) => {
    const { selectionReason, options } = play(start, truth);
    const refused = ({ refusedAtMs }: SelectionOption) => refusedAtMs !== undefined;
    const winner = options[selectionReason];
    ok(winner !== undefined);
    if (refused(winner)) ok(options.every(refused));
  }));
});

Deno.test("electionStep: what the registry serves is found, in the sources' order", () => {
  // As the kubelet does, which tries every credential until a pull works.
  fc.assert(fc.property(
    fc.array(fc.constantFrom(...verdicts), { minLength: 2, maxLength: 6 }),
    (truth) => {
      const { selectionReason, probed } = play(input(truth.map(() => ({}))), truth);
      const first = truth.indexOf("accepted");
      if (first >= 0) {
        equal(selectionReason, first);
        deepEqual(probed, Array.from({ length: first + 1 }, (_, i) => i));
      } else deepEqual(probed, truth.map((_, i) => i));
    },
  ));
});

Deno.test("electionStep: a change by hand that the registry refuses never replaces what works", () => {
  fc.assert(fc.property(
    fc.array(fc.constantFrom<VerdictKind>("refused", "forbidden"), { minLength: 1, maxLength: 5 }),
    fc.boolean(),
    fc.constantFrom<Verify>("as-needed", "on-change"),
    (truth, proven, verify) => {
      const offered = truth.map(() => ({ byHand: true }));
      const old: Partial<SelectionOption> = { offered: false, inUse: true, proven };
      const { selectionReason, reason } = play(input([...offered, old], { verify }), truth);
      deepEqual([selectionReason, reason], [offered.length, "kept"]);
    },
  ));
});

Deno.test("electionStep: what the registry refused never replaces the one in use", () => {
  fc.assert(fc.property(anyGame, fc.nat(), ({ start, truth }, used) => {
    const inUse = used % start.options.length;
    const options = start.options.map((option, i) => ({ ...option, inUse: i === inUse }));
    const { selectionReason, options: known } = play({ ...start, options }, truth);
    if (selectionReason !== inUse) equal(known[selectionReason]?.refusedByRegistry ?? false, false);
  }));
});

Deno.test("electionStep asks last about what the registry refused before", () => {
  const before: Partial<SelectionOption> = { refusedAtMs: 5, refusedByRegistry: true };
  const options = [before, {}, { inUse: true, refusedAtMs: 9 }];
  deepEqual(selectionStep(input(options, { readsRefused: true })), { kind: "probe", index: 1 });
});

Deno.test("ranking names every option once, refused ones last", () => {
  fc.assert(fc.property(anyInput, ({ options }) => {
    const order = ranking(options);
    deepEqual([...order].sort((a, b) => a - b), options.map((_, i) => i));
    const refused = order.map((index) => options[index]?.refusedAtMs !== undefined);
    deepEqual(refused, [...refused].sort((a, b) => Number(a) - Number(b)));
  }));
});

Deno.test("a minted token whose own end makes no sense is asked about before it replaces a good one", () => {
  const old: Partial<SelectionOption> = { offered: false, inUse: true, proven: true };
  deepEqual(selectionStep(input([{ isImplausible: true }, old])), { kind: "probe", index: 0 });
  const refused: Partial<SelectionOption> = {
    isImplausible: true,
    verdict: "refused",
    refusedAtMs: 5,
  };
  deepEqual(selectionStep(input([refused, old])), { kind: "elect", index: 1, reason: "kept" });
  deepEqual(selectionStep(input([{}, old])), { kind: "elect", index: 0, reason: "first" });
  const unasked = { canProbe: false };
  const kept = { kind: "elect", index: 1, reason: "kept" };
  deepEqual(
    selectionStep(input([{ isImplausible: true }, old], unasked)),
    kept,
    "nobody can be asked now",
  );
  const allOdd = [{ isImplausible: true }, { ...old, isImplausible: true }];
  const wrongClock = { kind: "elect", index: 0, reason: "first" };
  deepEqual(selectionStep(input(allOdd, unasked)), wrongClock, "then the newer one is taken");
});
