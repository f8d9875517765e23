import { equal } from "node:assert/strict";
import { bestPattern } from "../../lib/model/mod.ts";
import { runVectors } from "./vectors.ts";

interface BestVector {
  readonly patterns: readonly string[];
  readonly image: string;
  readonly best: string | null;
}

// Source: nydus-snapshotter pkg/auth/kubelet.go, `bestKeychainMatch`.
Deno.test("bestPattern: agrees with every vector of best-pattern.json in any order", () => {
  runVectors<BestVector>("best-pattern", ({ patterns, image, best }) => {
    equal(bestPattern(patterns, image) ?? null, best);
    equal(bestPattern(patterns.toReversed(), image) ?? null, best);
  });
});
