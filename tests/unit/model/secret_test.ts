import { doesNotMatch, equal, match, notEqual, ok } from "node:assert/strict";
import { inspect } from "node:util";
import { AgentError, messageOf, Secret } from "../../../lib/model/mod.ts";

const TEXT = "hunter2-\u00fc";

Deno.test("Secret: is hidden in every printed form", () => {
  const secret = new Secret(TEXT);
  const nested = { a: [secret], b: new Map([["k", secret]]), c: new Set([secret]) };
  const prints = [
    String(secret),
    `${secret}`,
    secret + "",
    JSON.stringify(secret),
    JSON.stringify({ nested: { secret } }),
    Deno.inspect(secret),
    Deno.inspect(nested, { depth: 9, showHidden: true }),
    inspect(secret),
    inspect(nested, { depth: 9, showHidden: true }),
    [secret].join(),
    messageOf(secret),
    messageOf(new AgentError("io", `read x: ${secret}`)),
    JSON.stringify(Object.getOwnPropertyNames(secret)),
    JSON.stringify({ ...secret }),
    JSON.stringify(structuredClone({ ...secret })),
  ];
  for (const print of prints) doesNotMatch(print, /hunter2/);
  equal(String(secret), "[secret]");
});

Deno.test("Secret: reveal, isEmpty and equals use the text", () => {
  equal(new Secret(TEXT).reveal(), TEXT);
  ok(new Secret("").isEmpty);
  ok(!new Secret(" ").isEmpty);
  ok(new Secret(TEXT).equals(new Secret(TEXT)));
  ok(!new Secret(TEXT).equals(new Secret(`${TEXT} `)));
});

Deno.test("Secret.fingerprint: is equal for equal texts, but not a plain digest", async () => {
  const print = new Secret(TEXT).fingerprint();
  match(print, /^[0-9a-f]{8}$/);
  equal(new Secret(TEXT).fingerprint(), print);
  notEqual(new Secret(`${TEXT}x`).fingerprint(), print);
  const digest = await crypto.subtle.digest("SHA-256", new TextEncoder().encode(TEXT));
  ok(!new Uint8Array(digest).toHex().includes(print), "it would be open to guessing");
});
