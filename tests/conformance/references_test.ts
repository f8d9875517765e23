import { equal, throws } from "node:assert/strict";
import { parseImageReference } from "../../lib/model/mod.ts";
import { runVectors } from "./vectors.ts";

interface ReferenceVector {
  readonly ref: string;
  readonly image: string;
  readonly registry: string;
  readonly registryOfImage: string;
  readonly repository: string;
  readonly error?: true;
}

// Source: github.com/distribution/reference v0.6.0, `ParseDockerRef`.
Deno.test("parseImageReference: agrees with every vector of references.json", () => {
  runVectors<ReferenceVector>("references", (vector) => {
    if (vector.error) {
      throws(() => parseImageReference(vector.ref), { code: "invalid-reference" });
      return;
    }
    const { text, registry, repository } = parseImageReference(vector.ref);
    equal(text, vector.image);
    equal(registry, vector.registry);
    equal(repository, vector.repository);
    equal(parseImageReference(text).text, text);
    equal(parseImageReference(text).registry, vector.registryOfImage);
  });
});
