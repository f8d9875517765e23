import { deepEqual, ok } from "node:assert/strict";
import { divideDescriptors } from "../../../lib/agent/descriptor_budget.ts";

Deno.test("divideDescriptors: listeners never take what the agent's own work needs", () => {
  for (const limit of [256, 1_024, 4_096, 8_192, 1_048_576]) {
    const { httpConnections, criConnections } = divideDescriptors(limit);
    ok(3 * httpConnections + 2 * criConnections <= limit * 5 / 8, String(limit));
  }
  deepEqual(divideDescriptors(1_024), { httpConnections: 85, criConnections: 192 });
  deepEqual(divideDescriptors(8_192), { httpConnections: 128, criConnections: 1_024 });
  deepEqual(divideDescriptors(Infinity), { httpConnections: 128, criConnections: 1_024 });
});
