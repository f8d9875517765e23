import { equal, notEqual, ok } from "node:assert/strict";
import { deepFreeze, hashOf } from "../../../lib/config/identity.ts";

Deno.test("hashOf: depends on the order of lists, but not of keys", () => {
  equal(hashOf({ a: 1, b: { c: 2, d: 3 } }), hashOf({ b: { d: 3, c: 2 }, a: 1 }));
  notEqual(hashOf({ a: [1, 2] }), hashOf({ a: [2, 1] }));
  notEqual(hashOf({ a: 1 }), hashOf({ a: "1" }));
  equal(hashOf({ a: undefined }), hashOf({}));
});

Deno.test("hashOf: is SHA-256 of canonical JSON", () => {
  equal(hashOf({}), "44136fa355b3678a1146ad16f7e8649e94fb4fc21fe77e8310c060f61caaff8a");
});

Deno.test("deepFreeze: freezes nested lists and tables", () => {
  const value = deepFreeze([{ list: [{ a: 1 }] }]);
  ok(Object.isFrozen(value[0]?.list[0]));
});
