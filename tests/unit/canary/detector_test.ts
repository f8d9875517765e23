import { deepStrictEqual, ok, throws } from "node:assert/strict";
import fc from "fast-check";
import {
  CanaryDetector,
  containsSecret,
  newCanary,
  newTokenCanary,
} from "../../canary/detector.ts";

const SECRET = newCanary();
const detector = new CanaryDetector({ docker: SECRET, token: newTokenCanary() });
const utf8 = (text: string) => new TextEncoder().encode(text);
const half = Math.floor(SECRET.length / 2);

/** Encodings of a secret. `around` is the text before it. */
const LEAKS: Readonly<Record<string, (secret: string, around: string) => string>> = {
  "raw": (s) => s,
  "base64 of a pair": (s, around) => utf8(`${around}:${s}`).toBase64(),
  "base64url of a pair": (s, around) =>
    utf8(`${around}:${s}`).toBase64({ alphabet: "base64url", omitPadding: true }),
  "base64 within base64": (s, around) =>
    utf8(`{"auths":{"${around}":{"auth":"${utf8(`${around}:${s}`).toBase64()}"}}}`).toBase64(),
  "base64 in lines": (s, around) => utf8(around + s).toBase64().replace(/(.{7})/g, "$1\n"),
  "URL-escaped": (s) => encodeURIComponent(s),
  "a form's value": (s) => String(new URLSearchParams({ password: s })),
  "JSON-escaped": (s) => JSON.stringify({ password: s }),
  "JSON within JSON": (s) => JSON.stringify(JSON.stringify({ password: s })),
  "HTML-escaped": (s) => s.replaceAll("&", "&amp;").replaceAll("<", "&lt;"),
  "hex": (s) => utf8(s).toHex(),
  "upper-case hex": (s) => utf8(s).toHex().toUpperCase(),
  "a hex dump": (s) => utf8(s).toHex().replace(/(..)/g, "$1 ").replace(/(.{48})/g, "$1\n"),
  "bytes": (s) => Deno.inspect(utf8(s), { iterableLimit: 999 }),
  "reversed": (s) => [...s].reverse().join(""),
  "reversed base64": (s) => [...utf8(s).toBase64()].reverse().join(""),
  "the first half": (s) => s.slice(0, half),
  "the second half": (s) => s.slice(half),
  "two halves apart": (s) => `${s.slice(0, half)}" + "${s.slice(half)}`,
  "character by character": (s) => JSON.stringify([...s]),
  "UTF-16": (s) => [...s].join("\0"),
  "broken over lines": (s) => s.replace(/(.{5})/g, "$1\n"),
};

for (const [name, leak] of Object.entries(LEAKS)) {
  Deno.test(`CanaryDetector: finds a secret as ${name}`, () => {
    fc.assert(
      fc.property(fc.stringMatching(/^[a-z]{0,7}$/), fc.string(), fc.string(), (user, a, b) => {
        const matches = detector.find(`${a}\n${leak(SECRET, user)}\n${b}`);
        ok(matches.some(({ source }) => source === "docker"), `not found beside ${user}`);
        ok(matches.every(({ source }) => source === "docker"), "another source");
      }),
      { numRuns: 50 },
    );
  });
}

Deno.test("CanaryDetector: finds nothing in texts without a secret", () => {
  const token = fc.uint8Array({ minLength: 30, maxLength: 30 }).map((bytes) => bytes.toBase64());
  const text = fc.oneof(fc.json(), fc.lorem(), fc.string(), token, fc.base64String());
  fc.assert(fc.property(text, (harmless) => {
    deepStrictEqual(detector.find(harmless), []);
  }));
  deepStrictEqual(detector.find(newCanary()), []);
  deepStrictEqual(detector.find(SECRET.slice(0, 11)), [], "shorter than a window");
});

Deno.test("CanaryDetector: rejects a secret that could occur by chance", () => {
  throws(() => new CanaryDetector({ short: "hunter2" }), RangeError);
});

Deno.test("CanaryDetector: returns matches without the secret", () => {
  const matches = detector.find(SECRET);
  ok(matches.length > 0);
  deepStrictEqual(detector.find(JSON.stringify(matches)), []);
});

Deno.test("containsSecret: finds a token, raw and in base64 of a user name and password", () => {
  for (const user of ["", "u", "to", "token"]) {
    ok(containsSecret(`a ${btoa(`${user}:tok-17-42`)} b`, ["other", "tok-17-42"]), user);
  }
  ok(containsSecret("x tok-17-42 y", ["tok-17-42"]));
  ok(!containsSecret("x tok-17-41 y", ["tok-17-42"]));
});
