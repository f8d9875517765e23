import { deepEqual, equal } from "node:assert/strict";
import { parseImageReference } from "../../../../lib/model/mod.ts";
import {
  type CacheEntry,
  cacheKey,
  ResponseCache,
} from "../../../../lib/providers/program/response_cache.ts";

const IMAGE = parseImageReference("reg.example.com/a/b:v1");

function entry(execution: number): CacheEntry {
  return {
    execution,
    fetchedAtMs: 0,
    respondedAtMs: 0,
    respondedAtMonotonicMs: 0,
    cacheMs: 1,
  };
}

Deno.test("ResponseCache: checks at most three entries, regardless of its size (flaw 11)", () => {
  const cache = new ResponseCache();
  for (let i = 0; i < 4_000; i++) {
    cache.put("Image", parseImageReference(`reg.example.com/other${i}:v1`), entry(i));
  }
  for (const type of ["Image", "Registry", "Global"] as const) {
    cache.put(type, IMAGE, entry(9_000));
  }
  let checks = 0;
  equal(cache.find(IMAGE, () => ++checks < 0), undefined);
  equal(checks, 3);
});

Deno.test("ResponseCache: finds entries by image, then by registry, then the global one", () => {
  const cache = new ResponseCache();
  cache.put("Global", IMAGE, entry(3));
  cache.put("Registry", IMAGE, entry(2));
  cache.put("Image", IMAGE, entry(1));
  const found = [1, 2, 3].map((least) =>
    cache.find(IMAGE, ({ execution }) => execution >= least)?.execution
  );
  deepEqual(found, [1, 2, 3]);
});

Deno.test("cacheKey: differs between cache key types", () => {
  const keys = (["Image", "Registry", "Global"] as const).map((type) => cacheKey(type, IMAGE));
  equal(new Set(keys).size, 3);
});

Deno.test("ResponseCache: evicts the oldest entry at the limit", () => {
  const cache = new ResponseCache(2);
  const images = ["a", "b", "c"].map((name) => parseImageReference(`reg.example.com/${name}:v1`));
  for (const [i, image] of images.entries()) cache.put("Image", image, entry(i));
  deepEqual(images.map((image) => cache.find(image, () => true)?.execution), [undefined, 1, 2]);
});
