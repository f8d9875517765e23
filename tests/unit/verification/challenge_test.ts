import { deepEqual, equal, ok } from "node:assert/strict";
import fc from "fast-check";
import { parseChallenges } from "../../../lib/verification/probe.ts";

/** Returns challenges as plain objects. */
function plain(header: string) {
  return parseChallenges(header).map(({ scheme, params }) => ({
    scheme,
    ...Object.fromEntries(params),
  }));
}

Deno.test("parseChallenges: reads the challenges of known registries", () => {
  deepEqual(
    plain('Bearer realm="https://auth.docker.io/token",service="registry.docker.io"'),
    [{ scheme: "bearer", realm: "https://auth.docker.io/token", service: "registry.docker.io" }],
  );
  deepEqual(plain('Basic realm="https://1.dkr.ecr.eu-west-1.amazonaws.com/",service="ecr"'), [
    { scheme: "basic", realm: "https://1.dkr.ecr.eu-west-1.amazonaws.com/", service: "ecr" },
  ]);
  deepEqual(plain('Bearer realm="https://r/token",scope="repository:a/b:pull,push",error="x"'), [
    { scheme: "bearer", realm: "https://r/token", scope: "repository:a/b:pull,push", error: "x" },
  ]);
});

Deno.test("parseChallenges: separates challenges and parameters at commas", () => {
  deepEqual(plain('Bearer realm="a, Basic realm=b", service=s , Basic realm="c"'), [
    { scheme: "bearer", realm: "a, Basic realm=b", service: "s" },
    { scheme: "basic", realm: "c" },
  ]);
  // The example of RFC 9110, 11.6.1.
  deepEqual(
    plain('Basic realm="simple", Newauth realm="apps", type=1, title="Login to \\"apps\\""'),
    [
      { scheme: "basic", realm: "simple" },
      { scheme: "newauth", realm: "apps", type: "1", title: 'Login to "apps"' },
    ],
  );
  deepEqual(plain("Negotiate, NTLM TlRMTVNTUAAB==, ,, Basic realm = x"), [
    { scheme: "negotiate" },
    { scheme: "ntlm" },
    { scheme: "basic", realm: "x" },
  ]);
});

Deno.test("parseChallenges: uses the first of two parameters with one name", () => {
  deepEqual(plain('Bearer REALM="first",realm="second"'), [{ scheme: "bearer", realm: "first" }]);
});

Deno.test("parseChallenges: returns the challenges before a syntax error", () => {
  deepEqual(plain('Basic realm="a", Bearer realm="never ends'), [
    { scheme: "basic", realm: "a" },
    { scheme: "bearer" },
  ]);
  for (const nothing of ["", "  ", ",", '"quoted"', "=", "@"]) deepEqual(plain(nothing), []);
});

Deno.test("parseChallenges: ignores what exceeds 16 KiB or 16 challenges", () => {
  const padding = " ".repeat(16 * 1_024 - "Basic".length);
  deepEqual(parseChallenges(`${padding}Basic`).map(({ scheme }) => scheme), ["basic"]);
  deepEqual(parseChallenges(`${padding} Basic`).map(({ scheme }) => scheme), ["basi"]);
  equal(parseChallenges("Basic, ".repeat(17)).length, 16);
});

Deno.test("parseChallenges: terminates within limits for any text", () => {
  fc.assert(fc.property(
    fc.array(fc.constantFrom("Basic", "Bearer ", 'a="b"', ",", " ", "=", '"', "\\", "x", "é")),
    (parts) => {
      const found = parseChallenges(parts.join(""));
      ok(found.length <= 16);
      for (const { scheme } of found) equal(scheme, scheme.toLowerCase());
    },
  ));
});

Deno.test("parseChallenges: reads any quoted realm", () => {
  fc.assert(fc.property(fc.string({ unit: "grapheme-ascii" }), (realm) => {
    const quoted = realm.replaceAll(/["\\]/g, "\\$&");
    deepEqual(plain(`Basic realm="${quoted}", Bearer service="s"`), [
      { scheme: "basic", realm },
      { scheme: "bearer", service: "s" },
    ]);
  }));
});
