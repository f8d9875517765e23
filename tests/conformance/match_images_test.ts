import { equal, throws } from "node:assert/strict";
import { matchImage } from "../../lib/model/mod.ts";
import { runVectors } from "./vectors.ts";

interface MatchVector {
  readonly pattern: string;
  readonly image: string;
  readonly match: boolean;
  readonly error?: true;
}

// Source: Kubernetes v1.35.0 pkg/credentialprovider/keyring.go, `URLsMatchStr`.
Deno.test("matchImage: agrees with every vector of match-images.json", () => {
  runVectors<MatchVector>("match-images", ({ pattern, image, match, error }) => {
    if (error) throws(() => matchImage(pattern, image), { code: "invalid-pattern" });
    else equal(matchImage(pattern, image), match);
  });
});
