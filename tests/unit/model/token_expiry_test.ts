import { deepEqual, equal, match, ok } from "node:assert/strict";
import fc from "fast-check";
import { type Credential, Secret, tokenExpiryOf } from "../../../lib/model/mod.ts";

const NOW_MS = Date.UTC(2026, 0, 1);
const NOW_S = NOW_MS / 1_000;
const YEAR_S = 365 * 24 * 3_600;

function basic(password: string): Credential {
  return { kind: "basic", username: "AWS", password: new Secret(password) };
}

function base64(value: unknown): string {
  return new TextEncoder().encode(JSON.stringify(value)).toBase64();
}

function part(value: unknown): string {
  return base64(value).replaceAll("+", "-").replaceAll("/", "_").replaceAll("=", "");
}

function jwt(payload: unknown, header: unknown = { alg: "RS256", typ: "JWT" }): string {
  return `${part(header)}.${part(payload)}.c2lnbmF0dXJl`;
}

function ecr(expiration: unknown): string {
  return base64({ payload: "x".repeat(50), version: "2", type: "DATA_KEY", expiration });
}

function expiryOf(token: string) {
  return tokenExpiryOf(basic(token), NOW_MS);
}

Deno.test("tokenExpiryOf: reads exp of a JWT in every form of credential", () => {
  const text = jwt({ exp: NOW_S + 3_600, sub: "é?>?>?>" });
  match(text, /[-_]/);
  const token = new Secret(text);
  const credentials: Credential[] = [
    { kind: "basic", username: "u", password: token },
    { kind: "registry-token", token },
    { kind: "identity-token", username: "u", token },
  ];
  for (const credential of credentials) {
    deepEqual(tokenExpiryOf(credential, NOW_MS), { expiresAtMs: NOW_MS + 3_600_000 });
  }
});

Deno.test("tokenExpiryOf: rounds a fraction of a second down to milliseconds", () => {
  deepEqual(expiryOf(jwt({ exp: NOW_S + 1.2345 })), { expiresAtMs: NOW_MS + 1_234 });
});

Deno.test("tokenExpiryOf: reads expiration of an ECR password", () => {
  deepEqual(expiryOf(ecr(NOW_S + 43_200)), { expiresAtMs: NOW_MS + 43_200_000 });
  const spaced = new TextEncoder().encode(`{\n "expiration": ${NOW_S + 60}}`).toBase64();
  deepEqual(expiryOf(spaced), { expiresAtMs: NOW_MS + 60_000 });
});

Deno.test("tokenExpiryOf: returns nothing for a token without an expiry", () => {
  const unavailable = [
    "",
    "hunter2",
    "ghp_0123456789abcdef",
    "eyJub3QiOiJqc29u",
    jwt({ sub: "x" }),
    jwt([1, 2, 3]),
    jwt(null),
    jwt({ exp: NOW_S + 60 }, { typ: "JWT" }),
    jwt({ exp: NOW_S + 60 }, "alg"),
    `${jwt({ exp: NOW_S + 60 })}.more`,
    jwt({ exp: NOW_S + 60 }).split(".").slice(0, 2).join("."),
    `.${part({ exp: NOW_S + 60 })}.x`,
    `*.${part({ exp: NOW_S + 60 })}.x`,
    base64({ exp: NOW_S + 60 }),
    base64({ payload: "x" }),
    base64([{ expiration: NOW_S + 60 }]),
    "[".repeat(50_000),
    base64("[".repeat(1_000)),
  ];
  for (const token of unavailable) deepEqual(expiryOf(token), {}, token.slice(0, 80));
});

Deno.test("tokenExpiryOf: ignores an expiry that is not in the future, with a warning", () => {
  for (const seconds of [NOW_S, NOW_S - 1, 0, -1, -NOW_S]) {
    for (const token of [jwt({ exp: seconds }), ecr(seconds)]) {
      const { expiresAtMs, warning } = expiryOf(token);
      equal(expiresAtMs, undefined);
      match(warning ?? "", /in the past/);
    }
  }
  deepEqual(expiryOf(jwt({ exp: NOW_S + 1 })), { expiresAtMs: NOW_MS + 1_000 });
});

Deno.test("tokenExpiryOf: ignores an expiry beyond ten years, with a warning", () => {
  for (const seconds of [NOW_MS + 3_600_000, NOW_S + 11 * YEAR_S, Number.MAX_VALUE]) {
    for (const token of [jwt({ exp: seconds }), ecr(seconds)]) {
      const { expiresAtMs, warning } = expiryOf(token);
      equal(expiresAtMs, undefined);
      match(warning ?? "", /ten years/);
    }
  }
  const tenYears = NOW_S + 10 * 366 * 24 * 3_600;
  deepEqual(expiryOf(ecr(tenYears)), { expiresAtMs: tenYears * 1_000 });
  match(expiryOf(ecr(tenYears + 1)).warning ?? "", /ten years/);
});

Deno.test("tokenExpiryOf: ignores an expiry that is not a number, with a warning", () => {
  for (const value of ["1767225600", true, {}, [NOW_S + 60]]) {
    for (const token of [jwt({ exp: value }), ecr(value)]) {
      const { expiresAtMs, warning } = expiryOf(token);
      equal(expiresAtMs, undefined);
      match(warning ?? "", /not a number/);
    }
  }
  const infinite = new TextEncoder().encode('{"expiration":1e999}').toBase64();
  match(expiryOf(infinite).warning ?? "", /not a number/);
});

Deno.test("tokenExpiryOf: ignores tokens over 64 KiB", () => {
  const token = jwt({ exp: NOW_S + 60 });
  equal(expiryOf(token.padEnd(65_536, "s")).expiresAtMs, NOW_MS + 60_000);
  deepEqual(expiryOf(token.padEnd(65_537, "s")), {});
});

Deno.test("tokenExpiryOf: never throws and never quotes the token", () => {
  const claims = fc.record({
    exp: fc.oneof(fc.double(), fc.jsonValue()),
    expiration: fc.oneof(fc.double(), fc.jsonValue()),
    pad: fc.string({ minLength: 8 }),
  }, { requiredKeys: ["pad"] });
  const token = fc.oneof(
    fc.string(),
    fc.string().map((s) => `ey${s}`),
    claims.map((c) => jwt(c)),
    claims.map(base64),
    fc.jsonValue().map((v) => jwt(v, v)),
    fc.array(fc.base64String(), { minLength: 3, maxLength: 3 }).map((a) => a.join(".")),
  );
  fc.assert(
    fc.property(token, fc.double(), (token, nowMs) => {
      const { expiresAtMs, warning } = tokenExpiryOf(basic(token), nowMs);
      ok(expiresAtMs === undefined || Number.isInteger(expiresAtMs));
      ok(expiresAtMs === undefined || warning === undefined);
      ok(token.length < 8 || !warning?.includes(token));
    }),
    { numRuns: 1_000 },
  );
});
