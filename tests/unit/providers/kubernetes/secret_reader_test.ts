import { deepEqual, doesNotMatch, equal, match } from "node:assert/strict";
import fc from "fast-check";
import { credentialSecret, credentialUsername } from "../../../../lib/model/mod.ts";
import {
  type PullSecret,
  readPullSecret,
} from "../../../../lib/providers/kubernetes/secret_provider.ts";
import { encode, secretObject } from "./secrets.ts";

function shown({ entries }: PullSecret): string[][] {
  return entries.map(({ key, credentials }) => [
    key,
    ...credentials.map((credential) =>
      `${credential.kind} ${credentialUsername(credential)} ${
        credentialSecret(credential).reveal()
      }`
    ),
  ]);
}

Deno.test("readPullSecret: reads both types", () => {
  const auths = { "reg.example.com": { username: "u", password: "p" } };
  for (const type of ["kubernetes.io/dockerconfigjson", "kubernetes.io/dockercfg"]) {
    const secret = readPullSecret(secretObject({ type, auths, namespace: "a", name: "b" }));
    deepEqual([secret.namespace, secret.name, secret.problems], ["a", "b", []]);
    deepEqual(shown(secret), [["reg.example.com", "basic u p"]]);
  }
});

Deno.test("readPullSecret: returns every kind of credential", () => {
  const auths = {
    a: { auth: encode("u:p:q") },
    b: { auth: encode("u:pw").replaceAll("=", "") },
    c: { username: "u", identitytoken: "it" },
    d: { registrytoken: "rt" },
    e: { username: "u", password: "p", identitytoken: "it", registrytoken: "rt" },
    f: {},
  };
  deepEqual(shown(readPullSecret(secretObject({ auths }))), [
    ["a", "basic u p:q"],
    ["b", "basic u pw"],
    ["c", "identity-token u it"],
    ["d", "registry-token  rt"],
    ["e", "basic u p", "registry-token  rt", "identity-token u it"],
    ["f"],
  ]);
});

Deno.test("readPullSecret: returns the valid entries when others are invalid", () => {
  const auths = { good: { username: "u", password: "p" }, bad: { auth: "hunter2!" }, worse: 3 };
  const secret = readPullSecret(secretObject({ auths }));
  deepEqual(shown(secret), [["good", "basic u p"]]);
  deepEqual(secret.problems, ["auths.bad.auth is not base64", "auths.worse is not an object"]);
});

Deno.test("readPullSecret: reports problems without values", () => {
  const cases: [Record<string, unknown>, RegExp][] = [
    [secretObject({ type: "Opaque" }), /type is "Opaque", which is not a pull secret/],
    ...["hunter2!", encode("hunter2"), encode('"hunter2"'), "/////w=="].map((raw) =>
      [secretObject({ raw }), /\.dockerconfigjson is not a JSON object in base64/] as [
        Record<string, unknown>,
        RegExp,
      ]
    ),
    [secretObject({ raw: encode('{"auths":"hunter2"}') }), /auths in \.dockerconfigjson/],
    [secretObject({ raw: "" }), /is missing or empty/],
    [{}, /type is ""/],
    [{ type: "x".repeat(100) }, /type is "x{80}",/],
  ];
  for (const [object, expected] of cases) {
    const { entries, problems } = readPullSecret(object);
    deepEqual(entries, []);
    equal(problems.length, 1);
    match(problems[0] ?? "", expected);
    doesNotMatch(problems.join(), /hunter2/);
  }
});

Deno.test("readPullSecret: never throws", () => {
  fc.assert(fc.property(fc.jsonValue(), fc.string(), (auths, raw) => {
    readPullSecret(secretObject({ auths }));
    readPullSecret(secretObject({ raw: encode(raw) }));
    readPullSecret({ metadata: auths, data: auths, type: "kubernetes.io/dockercfg" });
  }));
});
