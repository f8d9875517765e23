import { equal } from "node:assert/strict";
import { editDistance, nearestName } from "../../../lib/config/nearest_name.ts";

Deno.test("editDistance: counts insertions, deletions, replacements and transpositions", () => {
  const cases = [
    ["", "", 0],
    ["abc", "", 3],
    ["", "abc", 3],
    ["abc", "abc", 0],
    ["abc", "abd", 1],
    ["abc", "abcd", 1],
    ["abc", "bc", 1],
    ["abc", "acb", 1],
    ["kitten", "sitting", 3],
  ] as const;
  for (const [a, b, distance] of cases) equal(editDistance(a, b), distance, `${a} ${b}`);
});

Deno.test("nearestName: returns the closest name, or undefined when none is close", () => {
  const known = ["check_interval", "lead_time", "refresh_interval"];
  equal(nearestName("check_intervall", known), "check_interval");
  equal(nearestName("leadTime", known), "lead_time");
  equal(nearestName("REFRESH-INTERVAL", known), "refresh_interval");
  equal(nearestName("password", known), undefined);
  equal(nearestName("xy", ["id", "ref"]), undefined);
  equal(nearestName("check_interval".repeat(100), known), undefined);
  equal(nearestName("a", []), undefined);
});
