import { equal } from "node:assert/strict";
import { comparePatterns, ImagePattern, parseImageTarget } from "../../lib/model/mod.ts";
import { runVectors } from "./vectors.ts";

interface BestVector {
  readonly patterns: readonly string[];
  readonly image: string;
  readonly best: string | null;
}

/** Returns the most specific pattern that matches; invalid patterns match nothing. */
function bestPattern(patterns: readonly string[], image: string): string | undefined {
  const matches = (pattern: string) => {
    try {
      return ImagePattern.parse(pattern).matches(parseImageTarget(image));
    } catch {
      return false;
    }
  };
  return patterns.filter(matches).sort(comparePatterns)[0];
}

// Source: nydus-snapshotter pkg/auth/kubelet.go, `bestKeychainMatch`.
Deno.test("comparePatterns: agrees with every vector of best-pattern.json in any order", () => {
  runVectors<BestVector>("best-pattern", ({ patterns, image, best }) => {
    equal(bestPattern(patterns, image) ?? null, best);
    equal(bestPattern(patterns.toReversed(), image) ?? null, best);
  });
});
