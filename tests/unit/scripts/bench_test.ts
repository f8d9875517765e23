import { equal, match, throws } from "node:assert/strict";
import { formatRatios, isWithin, median } from "../../../scripts/lib/bench.ts";

Deno.test("median: returns the middle value regardless of the order", () => {
  equal(median([9, 1, 5]), 5);
  equal(median([7]), 7);
  throws(() => median([]), RangeError);
});

Deno.test("isWithin: accepts a ratio up to and including the limit", () => {
  const ratio = { name: "x", hello: 10, unit: "ms", limit: 2 } as const;
  equal(isWithin({ ...ratio, agent: 20 }), true);
  equal(isWithin({ ...ratio, agent: 20.1 }), false);
});

Deno.test("formatRatios: marks a figure above its limit", () => {
  const ratio = { name: "start", agent: 50, hello: 20, unit: "ms", limit: 2 } as const;
  match(
    formatRatios([ratio]),
    /^start +2\.50 times \(at most 2\.00\) +TOO MUCH +50\.0 to 20\.0 ms$/,
  );
});
