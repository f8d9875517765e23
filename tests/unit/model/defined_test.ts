import assert from "node:assert/strict";
import { defined } from "../../../lib/model/mod.ts";

interface Image {
  readonly name: string;
  readonly tag?: string;
  readonly digest?: string | null;
}

function imageOf(name: string, tag?: string, digest?: string | null): Image {
  return defined({ name, tag, digest });
}

Deno.test("defined: omits undefined fields and keeps every other value", () => {
  assert.deepEqual(imageOf("nginx"), { name: "nginx" });
  assert.equal("tag" in imageOf("nginx"), false);
  assert.deepEqual(imageOf("nginx", "", null), { name: "nginx", tag: "", digest: null });
});

Deno.test("defined: does not change its argument", () => {
  const fields = { name: "nginx", tag: undefined };
  assert.deepEqual(defined(fields), { name: "nginx" });
  assert.equal("tag" in fields, true);
});
