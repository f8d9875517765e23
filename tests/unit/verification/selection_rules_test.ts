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

const PLAIN: SelectionOption = { offered: true, inUse: false, userManaged: false, proven: false };

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

Deno.test("selectionStep: does not probe without an alternative", () => {
  deepEqual(selectionStep(input([{}])), { kind: "select", index: 0, reason: "only" });
  deepEqual(selectionStep(input([{ inUse: true }], { readsRefused: true })), {
    kind: "select",
    index: 0,
    reason: "only",
  });
  equal(selectionStep(input([{}], { verify: "on-change" })).kind, "probe");
});

Deno.test("selectionStep: keeps the candidate in use while it works", () => {
  const works = { inUse: true, proven: true };
  deepEqual(selectionStep(input([{}, works])), { kind: "select", index: 1, reason: "in-use" });
  deepEqual(selectionStep(input([{}, { inUse: true, verdict: "accepted" }])), {
    kind: "select",
    index: 1,
    reason: "in-use",
  });
  equal(selectionStep(input([{}, { inUse: true }])).kind, "probe");
  const first = selectionStep(input([works, { userManaged: true }]));
  deepEqual(first, { kind: "select", index: 0, reason: "in-use" });
});

Deno.test("selectionStep: trusts an issued credential, and probes one that a user manages", () => {
  const old: Partial<SelectionOption> = { offered: false, inUse: true, proven: true };
  deepEqual(selectionStep(input([{}, old])), { kind: "select", index: 0, reason: "first" });
  deepEqual(selectionStep(input([{ userManaged: true }, old])), { kind: "probe", index: 0 });
  const refused: Partial<SelectionOption> = {
    userManaged: true,
    verdict: "refused",
    refusedAtMs: 5,
  };
  deepEqual(selectionStep(input([refused, old])), { kind: "select", index: 1, reason: "kept" });
  const accepted: Partial<SelectionOption> = { userManaged: true, verdict: "accepted" };
  deepEqual(selectionStep(input([accepted, old])), {
    kind: "select",
    index: 0,
    reason: "accepted",
  });
});

Deno.test("selectionStep: trusts candidates that cannot be probed", () => {
  const old: Partial<SelectionOption> = { offered: false, inUse: true, proven: true };
  for (const more of [{ verify: "never" as const }, { canProbe: false }]) {
    deepEqual(selectionStep(input([{ userManaged: true }, old], more)), {
      kind: "select",
      index: 0,
      reason: "first",
    });
  }
});

Deno.test("selectionStep: with `never`, selects the next candidate when reads are refused", () => {
  const more = { verify: "never", readsRefused: true } as const;
  deepEqual(selectionStep(input([{ inUse: true, refusedAtMs: 9 }, {}], more)), {
    kind: "select",
    index: 1,
    reason: "not-refused",
  });
  // When all are refused, the one with the oldest refusal is selected.
  const all = [{ refusedAtMs: 7 }, { refusedAtMs: 3 }, { inUse: true, refusedAtMs: 9 }];
  deepEqual(selectionStep(input(all, more)), { kind: "select", index: 1, reason: "least-refused" });
});

Deno.test("isExhausted: considers offered candidates only", () => {
  const { options } = input([{ refusedAtMs: 1 }, { offered: false }]);
  equal(isExhausted(options), true);
  equal(isExhausted(input([{ refusedAtMs: 1 }, {}]).options), false);
});

const verdicts: readonly VerdictKind[] = ["accepted", "refused", "forbidden", "unknown"];
const anyOption: fc.Arbitrary<SelectionOption> = fc.record({
  offered: fc.boolean(),
  inUse: fc.boolean(),
  userManaged: fc.boolean(),
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

/** Runs a selection to its end with a registry whose verdicts do not change. */
function run(start: SelectionInput, truth: readonly VerdictKind[]) {
  const options = [...start.options];
  const probed: number[] = [];
  while (true) {
    const step = selectionStep({ ...start, options });
    if (step.kind === "select") {
      return { selected: step.index, reason: step.reason, probed, options };
    }
    probed.push(step.index);
    ok(probed.length <= options.length, "it probes indefinitely");
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

const anyRun = fc.record({
  start: anyInput,
  truth: fc.array(fc.constantFrom(...verdicts), { minLength: 6, maxLength: 6 }),
});

Deno.test("selectionStep: probes only offered candidates, each at most once, and none with `never`", () => {
  fc.assert(fc.property(anyRun, ({ start, truth }) => {
    const { probed } = run(start, truth);
    equal(new Set(probed).size, probed.length);
    for (const index of probed) {
      equal(start.options[index]?.offered, true);
      equal(start.options[index]?.verdict, undefined);
    }
    if (start.verify === "never" || !start.canProbe) deepEqual(probed, []);
  }));
});

Deno.test("selectionStep: never selects a refused candidate while another is not refused", () => {
  fc.assert(fc.property(anyRun, ({ start, truth }) => {
    const { selected, options } = run(start, truth);
    const refused = ({ refusedAtMs }: SelectionOption) => refusedAtMs !== undefined;
    const winner = options[selected];
    ok(winner !== undefined);
    if (refused(winner)) ok(options.every(refused));
  }));
});

Deno.test("selectionStep: finds the first accepted candidate, in the order of the chain", () => {
  // Like the kubelet, which tries every credential until a pull succeeds.
  fc.assert(fc.property(
    fc.array(fc.constantFrom(...verdicts), { minLength: 2, maxLength: 6 }),
    (truth) => {
      const { selected, probed } = run(input(truth.map(() => ({}))), truth);
      const first = truth.indexOf("accepted");
      if (first >= 0) {
        equal(selected, first);
        deepEqual(probed, Array.from({ length: first + 1 }, (_, i) => i));
      } else deepEqual(probed, truth.map((_, i) => i));
    },
  ));
});

Deno.test("selectionStep: a user's change that the registry refuses never replaces the one in use", () => {
  fc.assert(fc.property(
    fc.array(fc.constantFrom<VerdictKind>("refused", "forbidden"), { minLength: 1, maxLength: 5 }),
    fc.boolean(),
    fc.constantFrom<Verify>("as-needed", "on-change"),
    (truth, proven, verify) => {
      const offered = truth.map(() => ({ userManaged: true }));
      const old: Partial<SelectionOption> = { offered: false, inUse: true, proven };
      const { selected, reason } = run(input([...offered, old], { verify }), truth);
      deepEqual([selected, reason], [offered.length, "kept"]);
    },
  ));
});

Deno.test("selectionStep: a candidate that the registry refused never replaces the one in use", () => {
  fc.assert(fc.property(anyRun, fc.nat(), ({ start, truth }, used) => {
    const inUse = used % start.options.length;
    const options = start.options.map((option, i) => ({ ...option, inUse: i === inUse }));
    const { selected, options: known } = run({ ...start, options }, truth);
    if (selected !== inUse) equal(known[selected]?.refusedByRegistry ?? false, false);
  }));
});

Deno.test("selectionStep: probes candidates last that the registry refused before", () => {
  const before: Partial<SelectionOption> = { refusedAtMs: 5, refusedByRegistry: true };
  const options = [before, {}, { inUse: true, refusedAtMs: 9 }];
  deepEqual(selectionStep(input(options, { readsRefused: true })), { kind: "probe", index: 1 });
  const all = input([before, before, { ...before, inUse: true }], { readsRefused: true });
  deepEqual(selectionStep(all), { kind: "probe", index: 0 });
});

Deno.test("ranking: returns every option once, refused ones last", () => {
  fc.assert(fc.property(anyInput, ({ options }) => {
    const order = ranking(options);
    deepEqual([...order].sort((a, b) => a - b), options.map((_, i) => i));
    const refused = order.map((index) => options[index]?.refusedAtMs !== undefined);
    deepEqual(refused, [...refused].sort((a, b) => Number(a) - Number(b)));
  }));
});

Deno.test("selectionStep: probes an issued token with an implausible expiry before it replaces the one in use", () => {
  const old: Partial<SelectionOption> = { offered: false, inUse: true, proven: true };
  deepEqual(selectionStep(input([{ isImplausible: true }, old])), { kind: "probe", index: 0 });
  const refused: Partial<SelectionOption> = {
    isImplausible: true,
    verdict: "refused",
    refusedAtMs: 5,
  };
  deepEqual(selectionStep(input([refused, old])), { kind: "select", index: 1, reason: "kept" });
  deepEqual(selectionStep(input([{}, old])), { kind: "select", index: 0, reason: "first" });
  const unavailable = { canProbe: false };
  const kept = { kind: "select", index: 1, reason: "kept" };
  deepEqual(
    selectionStep(input([{ isImplausible: true }, old], unavailable)),
    kept,
    "the registry is unavailable",
  );
  const allImplausible = [{ isImplausible: true }, { ...old, isImplausible: true }];
  const wrongClock = { kind: "select", index: 0, reason: "first" };
  deepEqual(
    selectionStep(input(allImplausible, unavailable)),
    wrongClock,
    "the newer one is selected",
  );
});
