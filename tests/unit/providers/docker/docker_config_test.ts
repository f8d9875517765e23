import { deepEqual, doesNotMatch, equal, throws } from "node:assert/strict";
import { helperFor } from "../../../../lib/providers/docker/docker_config.ts";
import { findAuth, parseDockerConfig } from "../../../../lib/providers/mod.ts";

const base64 = (text: string) => new TextEncoder().encode(text).toBase64();
const withAuth = (auth: unknown) => JSON.stringify({ auths: { "quay.io": { auth } } });

Deno.test("parseDockerConfig: accepts empty files and trailing data, as docker does", () => {
  for (const text of ["", " \n", "null", "{}", '{"auths":null,"credHelpers":null}', "{} }{"]) {
    equal(parseDockerConfig(text).auths.size, 0, JSON.stringify(text));
  }
  const text = `{"a":"}\\"{","auths":{"quay.io":{"auth":"${base64("u:p")}"}}} trailing`;
  equal(parseDockerConfig(text).auths.get("quay.io")?.username, "u");
});

Deno.test("parseDockerConfig: rejects what docker rejects, without quoting it", () => {
  const refused = [
    '{"auths":',
    "nonsense",
    "[]",
    '"hunter2"',
    '{"auths":[]}',
    '{"auths":{"quay.io":"hunter2"}}',
    '{"credsStore":1}',
    '{"credHelpers":{"quay.io":1}}',
    withAuth(1),
    withAuth("aHVudGVyMg"), // no padding
    withAuth(base64("hunter2")), // no colon
    withAuth(base64(":hunter2")), // no username
    withAuth("aHVu dGVyMjo="), // a space
  ];
  for (const text of refused) {
    throws(() => parseDockerConfig(text), (error: Error) => {
      doesNotMatch(error.message, /hunter2|aHVu/);
      return "code" in error && error.code === "invalid-config";
    }, text);
  }
});

Deno.test("parseDockerConfig: decodes base64 as Go does", () => {
  const password = (auth: string) =>
    parseDockerConfig(withAuth(auth)).auths.get("quay.io")?.password.reveal();
  equal(password(base64("u:\0p\0\0")), "p");
  equal(password("dTpw\r\n"), "p");
  equal(password("dTpwcR=="), "pq", "trailing bits are not checked");
});

Deno.test("parseDockerConfig: prefers auth to username and password, in any letter case", () => {
  const text = JSON.stringify({
    AUTHS: { a: { Auth: base64("u:p"), username: "x" }, b: { USERNAME: "x", password: "y:z" } },
  });
  const { auths } = parseDockerConfig(text);
  equal(auths.get("a")?.username, "u");
  equal(auths.get("b")?.password.reveal(), "y:z");
});

Deno.test("findAuth: selects the same key of several in any order", () => {
  const auth = base64("u:p");
  const keys = ["https://quay.io/v2/", "http://quay.io", "quay.io/x"];
  for (const order of [keys, [...keys].reverse()]) {
    const auths = Object.fromEntries(order.map((key) => [key, { auth }]));
    equal(findAuth(parseDockerConfig(JSON.stringify({ auths })), "quay.io")?.key, "http://quay.io");
  }
});

Deno.test("helperFor: ignores credsStore when the registry's helper is empty", () => {
  const config = parseDockerConfig('{"credsStore":"pass","credHelpers":{"quay.io":"","a.io":"b"}}');
  deepEqual(["quay.io", "a.io", "c.io"].map((name) => helperFor(config, name)), ["", "b", "pass"]);
});
