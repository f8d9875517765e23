import { deepEqual, equal, ok } from "node:assert/strict";
import { applied, mutantsOf, sample } from "../../../scripts/mutate/mutants.ts";

const SOURCE = `import { a } from "./a.ts";
interface I { readonly n: 1 | 2 }
async function f(x: number): Promise<boolean> {
  if (x < 10 && !a) return true;
  await a(x, 2);
  return x === 1;
}
`;

Deno.test("mutantsOf: applies each operator, and does not change types and imports", () => {
  const mutants = mutantsOf("f.ts", SOURCE);
  const changes = mutants.map((mutant) => applied(mutant, SOURCE));
  for (
    const text of [
      "x <= 10 &&",
      "x >= 10 &&",
      "10 || !a",
      "&& (a))",
      "return false",
      "x < (10 * 2)",
      "x !== 1",
      "  (a(x, 2));",
      "a(x);",
      "  ;\n",
      "{ return;\n",
    ]
  ) ok(changes.some((change) => change.includes(text)), text);
  for (const change of changes) ok(change.includes("n: 1 | 2") && change.includes('"./a.ts"'));
  equal(new Set(changes).size, changes.length, "each differs");
});

Deno.test("mutantsOf: removes the await of a returned promise only where that changes something", () => {
  const awaitsOf = (body: string) =>
    mutantsOf("f.ts", `async function f() { ${body} }`)
      .filter(({ operator }) => operator === "removed-await").length;
  equal(awaitsOf("return await a();"), 0);
  equal(awaitsOf("try { return await a(); } finally { b(); }"), 1);
  equal(awaitsOf("using b = c(); return await a();"), 1);
});

Deno.test("sample: spreads mutants over packages, and returns the same selection for the same seed", () => {
  const mutants = mutantsOf("f.ts", SOURCE);
  const pools = new Map([["a", mutants], ["b", mutants.slice(0, 3)]]);
  const picked = sample(pools, 6, () => 0);
  equal(picked.length, 6);
  deepEqual(picked, sample(pools, 6, () => 0));
  equal(sample(pools, 1_000, () => 0).length, mutants.length + 3);
});
