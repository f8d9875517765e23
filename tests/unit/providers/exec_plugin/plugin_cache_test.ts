import { deepEqual, equal } from "node:assert/strict";
import { parseImageReference } from "../../../../lib/model/mod.ts";
import {
  PluginCache,
  type PluginEntry,
  scopeKey,
} from "../../../../lib/providers/exec_plugin/plugin_cache.ts";

const IMAGE = parseImageReference("reg.example.com/a/b:v1");

function entry(execution: number): PluginEntry {
  return {
    execution,
    fetchedAtMs: 0,
    answeredAtMs: 0,
    answeredAtMonotonicMs: 0,
    servesMs: 1,
  };
}

Deno.test("flaw 11: PluginCache looks at three entries at most, however many there are", () => {
  const cache = new PluginCache();
  for (let i = 0; i < 4_000; i++) {
    cache.put("Image", parseImageReference(`reg.example.com/other${i}:v1`), entry(i));
  }
  for (const type of ["Image", "Registry", "Global"] as const) {
    cache.put(type, IMAGE, entry(9_000));
  }
  let looks = 0;
  equal(cache.find(IMAGE, () => ++looks < 0), undefined);
  equal(looks, 3);
});

Deno.test("PluginCache finds the image's answer before the registry's before the one for all", () => {
  const cache = new PluginCache();
  cache.put("Global", IMAGE, entry(3));
  cache.put("Registry", IMAGE, entry(2));
  cache.put("Image", IMAGE, entry(1));
  const found = [1, 2, 3].map((least) =>
    cache.find(IMAGE, ({ execution }) => execution >= least)?.execution
  );
  deepEqual(found, [1, 2, 3]);
});

Deno.test("scopeKey of an image and of a registry never collide", () => {
  const keys = (["Image", "Registry", "Global"] as const).map((type) => scopeKey(type, IMAGE));
  equal(new Set(keys).size, 3);
});

Deno.test("PluginCache is bounded: beyond its limit the oldest answer makes room", () => {
  const cache = new PluginCache(2);
  const images = ["a", "b", "c"].map((name) => parseImageReference(`reg.example.com/${name}:v1`));
  for (const [i, image] of images.entries()) cache.put("Image", image, entry(i));
  deepEqual(images.map((image) => cache.find(image, () => true)?.execution), [undefined, 1, 2]);
});
