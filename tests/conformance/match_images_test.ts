import { equal } from "node:assert/strict";
import { type AgentError, ImagePattern, parseImageTarget } from "../../lib/model/mod.ts";
import { runVectors } from "./vectors.ts";

interface MatchVector {
  readonly pattern: string;
  readonly image: string;
  readonly match: boolean;
  readonly error?: true;
}

// Source: Kubernetes v1.35.0 pkg/credentialprovider/keyring.go, `URLsMatchStr`. Escapes are left out.
Deno.test("ImagePattern: agrees with every vector of match-images.json", () => {
  runVectors<MatchVector>("match-images", ({ pattern, image, match, error }) => {
    let matches: boolean | "invalid-pattern";
    try {
      matches = ImagePattern.parse(pattern).matches(parseImageTarget(image));
    } catch (cause) {
      matches = (cause as AgentError).code as "invalid-pattern";
    }
    // A pattern with a malformed character class matches nothing, as for the kubelet.
    if (error) equal(matches || "invalid-pattern", "invalid-pattern");
    else equal(matches, match);
  });
});
