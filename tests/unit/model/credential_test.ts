import { doesNotMatch, equal, notEqual, ok, throws } from "node:assert/strict";
import fc from "fast-check";
import {
  AgentError,
  type Credential,
  credentialFingerprint,
  credentialFromPair,
  credentialSecret,
  credentialsEqual,
  credentialUsername,
  decodeRegistryAuth,
  encodeRegistryAuth,
  Secret,
} from "../../../lib/model/mod.ts";

const base64 = (text: string) => new TextEncoder().encode(text).toBase64();
const secret = new Secret("hunter2");
const FORMS: readonly Credential[] = [
  { kind: "basic", username: "me", password: secret },
  { kind: "registry-token", token: secret },
  { kind: "identity-token", username: "me", token: secret },
];

Deno.test("Credential: never prints its secret", () => {
  for (const credential of FORMS) {
    equal(credentialSecret(credential).reveal(), "hunter2");
    const prints = [
      JSON.stringify(credential),
      Deno.inspect(credential, { depth: 9 }),
      credentialFingerprint(credential),
    ];
    for (const print of prints) doesNotMatch(print, /hunter2/);
  }
  doesNotMatch(Deno.inspect(encodeRegistryAuth({ ...basic("me", "hunter2") })), /aHVudGVyMg|bWU6/);
});

function basic(username: string, password: string) {
  return { kind: "basic", username, password: new Secret(password) } as const;
}

Deno.test("credentialsEqual, credentialFingerprint: compare form, user name and secret", () => {
  for (const a of FORMS) {
    for (const b of FORMS) {
      equal(credentialsEqual(a, b), a === b);
      equal(credentialFingerprint(a) === credentialFingerprint(b), a === b);
    }
  }
  ok(credentialsEqual(basic("u", "p"), basic("u", "p")));
  ok(!credentialsEqual(basic("u", "p"), basic("v", "p")));
  ok(!credentialsEqual(basic("u", "p"), basic("u", "q")));
  notEqual(credentialFingerprint(basic("a", "bc")), credentialFingerprint(basic("ab", "c")));
});

Deno.test("credentialUsername: is empty for a registry token", () => {
  equal(FORMS.map(credentialUsername).join(), "me,,me");
});

Deno.test("credentialFromPair: returns undefined without a password, a registry token without a user name", () => {
  equal(credentialFromPair("", ""), undefined);
  equal(credentialFromPair("u", ""), undefined);
  equal(credentialFromPair("", "p")?.kind, "registry-token");
  equal(credentialFromPair("u", "p")?.kind, "basic");
});

Deno.test("decodeRegistryAuth: splits at the first colon (flaw 4)", () => {
  const decoded = decodeRegistryAuth(base64("u:p:q:"));
  ok(decoded?.kind === "basic");
  equal(decoded.username, "u");
  equal(decoded.password.reveal(), "p:q:");
  const token = decodeRegistryAuth(base64(":a:b"));
  ok(token?.kind === "registry-token");
  equal(token.token.reveal(), "a:b");
  equal(decodeRegistryAuth(""), undefined);
  equal(decodeRegistryAuth(base64("u:")), undefined);
});

Deno.test("decodeRegistryAuth: rejects invalid text without quoting it", () => {
  const REFUSED = ["hunter2!", base64("hunter2"), "aHVudGVyMg=", "/zo=", "a"];
  for (const text of REFUSED) {
    throws(() => decodeRegistryAuth(text), (error) => {
      ok(error instanceof AgentError && error.code === "invalid-credential", text);
      doesNotMatch(Deno.inspect(error), /hunter2|aHVudGVy/);
      return true;
    });
  }
});

Deno.test("decodeRegistryAuth: reverses encodeRegistryAuth and throws only AgentError", () => {
  const username = fc.string({ minLength: 1, unit: "grapheme" }).filter((s) => !s.includes(":"));
  const password = fc.string({ minLength: 1, unit: "grapheme" });
  fc.assert(fc.property(username, password, (name, word) => {
    const credential = basic(name, word);
    const back = decodeRegistryAuth(encodeRegistryAuth(credential).reveal());
    ok(back !== undefined && credentialsEqual(back, credential));
  }));
  fc.assert(fc.property(fc.oneof(fc.string(), fc.base64String()), (text) => {
    try {
      decodeRegistryAuth(text);
    } catch (error) {
      ok(error instanceof AgentError, String(error));
    }
  }));
});
