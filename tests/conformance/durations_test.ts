import { ok, throws } from "node:assert/strict";
import { parseDurationMs } from "../../lib/model/mod.ts";
import { runVectors } from "./vectors.ts";

interface DurationVector {
  readonly duration: string;
  readonly nanoseconds: string;
  readonly error?: true;
}

// Source: Go's time.ParseDuration.
Deno.test("parseDurationMs: agrees with every vector of durations.json", () => {
  runVectors<DurationVector>("durations", ({ duration, nanoseconds, error }) => {
    // The greatest value is refused as well: it needs more digits than a number has.
    const isRefused = error || BigInt(nanoseconds) === 2n ** 63n - 1n;
    if (isRefused) throws(() => parseDurationMs(duration), { code: "invalid-duration" });
    else ok(Math.abs(parseDurationMs(duration) - Number(nanoseconds) / 1e6) <= 2e-6);
  });
});
