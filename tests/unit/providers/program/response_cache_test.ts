import { equal } from "node:assert/strict";
import { parseImageReference } from "../../../../lib/model/mod.ts";
import { cacheKeys } from "../../../../lib/providers/program/cached_program.ts";

Deno.test("cacheKeys: differ between cache key types", () => {
  const images = ["reg.example.com/a/b:v1", "docker.io/library/a"].map(parseImageReference);
  equal(new Set(images.flatMap(cacheKeys)).size, 5, "only the global key is shared");
});
