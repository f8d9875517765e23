import { equal } from "node:assert/strict";
import { nearestName } from "../../../lib/config/nearest_name.ts";

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
