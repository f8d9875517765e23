import { equal, throws } from "node:assert/strict";
import { parseGoDuration } from "../../lib/model/mod.ts";
import { runVectors } from "./vectors.ts";

interface DurationVector {
  readonly duration: string;
  readonly nanoseconds: string;
  readonly error?: true;
}

// Source: Go's time.ParseDuration.
Deno.test("parseGoDuration: agrees with every vector of durations.json", () => {
  runVectors<DurationVector>("durations", ({ duration, nanoseconds, error }) => {
    if (error) throws(() => parseGoDuration(duration), { code: "invalid-duration" });
    else equal(parseGoDuration(duration), BigInt(nanoseconds));
  });
});
