import { deepEqual, equal } from "node:assert/strict";
import fc from "fast-check";
import { parseImageReference, parseImageTarget } from "../../../../lib/model/mod.ts";
import { registryOfKey, SecretKeyring } from "../../../../lib/providers/docker/secret_keyring.ts";
import type { PullSecret } from "../../../../lib/providers/docker/secret_keyring.ts";

function secret(at: string, ...keys: string[]): PullSecret {
  const [namespace = "", name = ""] = at.split("/");
  return { namespace, name, entries: keys.map((key) => ({ key, credentials: [] })), problems: [] };
}

/** Returns `namespace/name key` of the matching entries, best first. */
function found(secrets: readonly PullSecret[], image: string): string[] {
  const target = parseImageTarget(parseImageReference(image).text);
  return new SecretKeyring(secrets).find(target)
    .map(({ secret, entry }) => `${secret.namespace}/${secret.name} ${entry.key}`);
}

Deno.test("SecretKeyring: returns the most specific key first", () => {
  const secrets = [
    secret("a/host", "reg.example.com"),
    secret("a/team", "https://reg.example.com/v2/team"),
    secret("a/app", "reg.example.com/team/app"),
    secret("a/wild", "*.example.com"),
    secret("a/port", "reg.example.com:5000"),
    secret("a/other", "reg.example.com/other"),
  ];
  deepEqual(found(secrets, "reg.example.com/team/app:1"), [
    "a/app reg.example.com/team/app",
    "a/team https://reg.example.com/v2/team",
    "a/host reg.example.com",
    "a/wild *.example.com",
  ]);
  deepEqual(found(secrets, "reg.example.com:5000/team/app:1"), ["a/port reg.example.com:5000"]);
  deepEqual(found(secrets, "example.com/team/app:1"), []);
});

Deno.test("SecretKeyring: orders equal keys by namespace and name", () => {
  const secrets = [secret("b/a", "h.io"), secret("a/b", "h.io"), secret("a/a", "https://h.io")];
  const expected = ["a/a https://h.io", "a/b h.io", "b/a h.io"];
  fc.assert(
    fc.property(fc.shuffledSubarray(secrets, { minLength: 3 }), (shuffled) => {
      deepEqual(found(shuffled, "h.io/x:1"), expected);
    }),
  );
});

Deno.test("SecretKeyring: finds Docker Hub under each of its aliases", () => {
  for (
    const key of [
      "https://index.docker.io/v1/",
      "https://index.docker.io/v1",
      "index.docker.io",
      "docker.io",
      "https://registry-1.docker.io/v2/",
      "http://docker.io/",
      "registry.hub.docker.com",
    ]
  ) {
    equal(registryOfKey(key), "docker.io", key);
    deepEqual(found([secret("a/hub", key)], "nginx"), [`a/hub ${key}`]);
  }
  deepEqual(found([secret("a/hub", "docker.io/team")], "team/app"), ["a/hub docker.io/team"]);
  deepEqual(found([secret("a/hub", "docker.io/team")], "nginx"), []);
});

Deno.test("SecretKeyring: lists keys that are not a registry separately", () => {
  const keyring = new SecretKeyring([secret("a/a", "reg[x", "h.io", "h.io:port")]);
  deepEqual(keyring.unusable.map(({ key }) => key), ["reg[x", "h.io:port"]);
  equal(keyring.find(parseImageTarget("h.io/x")).length, 1);
});

Deno.test("registryOfKey: removes only an API version at the start of the path", () => {
  equal(registryOfKey("h.io/v2team/app"), "h.io/v2team/app");
  equal(registryOfKey("h.io/v1/team"), "h.io/team");
  equal(registryOfKey("https://h.io:5000/v2/"), "h.io:5000");
});
