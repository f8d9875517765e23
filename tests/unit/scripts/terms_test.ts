import { deepEqual, equal } from "node:assert/strict";
import { findRetiredTerms } from "../../../scripts/terms.ts";

const words = (text: string) => findRetiredTerms(text).map(({ word }) => word.toLowerCase());

Deno.test("terms: finds a retired word in prose, identifiers and constants", () => {
  deepEqual(words("It is asked again."), ["asked"]);
  deepEqual(words("const lookSoon = TELL_EVERY_MS;").sort(), ["look", "soon", "tell"]);
});

Deno.test("terms: returns the line and the replacement", () => {
  const [finding] = findRetiredTerms("one\nthe hard clock\n");
  equal(finding?.line, 2);
  equal(finding?.instead.includes("expiry"), true);
});

Deno.test("terms: accepts standard words", () => {
  const text = "lookup, look up, lifetime, deadline, deadlock, life cycle, namespace, --quiet, " +
    "troubleshooting, as soon as";
  deepEqual(words(text), []);
});
