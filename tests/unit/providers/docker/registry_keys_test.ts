import { deepEqual, equal } from "node:assert/strict";
import { parseImageReference, parseImageTarget } from "../../../../lib/model/mod.ts";
import {
  findEntries,
  patternOfKey,
  registryOfKey,
} from "../../../../lib/providers/docker/docker_config.ts";

function secret(name: string, ...keys: string[]) {
  const entries = keys.flatMap((key) => {
    const pattern = patternOfKey(key);
    return pattern === undefined ? [] : [{ key, pattern, credentials: [] }];
  });
  return { name, entries };
}

/** Returns the name and key of the matching entries, best first. */
function found(secrets: readonly ReturnType<typeof secret>[], image: string): string[] {
  const target = parseImageTarget(parseImageReference(image).text);
  return findEntries(secrets, target).map(({ secret, entry }) => `${secret.name} ${entry.key}`);
}

Deno.test("findEntries: returns the most specific key first", () => {
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

Deno.test("findEntries: keeps the order of equal keys", () => {
  const secrets = [secret("b", "h.io", "*.io"), secret("a", "h.io"), secret("c", "https://h.io")];
  deepEqual(found(secrets, "h.io/x:1"), ["b h.io", "a h.io", "c https://h.io", "b *.io"]);
});

Deno.test("findEntries: finds Docker Hub under each of its aliases", () => {
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

Deno.test("patternOfKey: returns nothing for a key that is not a registry", () => {
  deepEqual(["reg[x", "h.io", "h.io:port"].map((key) => patternOfKey(key)?.text), [
    undefined,
    "h.io",
    undefined,
  ]);
});

Deno.test("registryOfKey: removes only an API version at the start of the path", () => {
  equal(registryOfKey("h.io/v2team/app"), "h.io/v2team/app");
  equal(registryOfKey("h.io/v1/team"), "h.io/team");
  equal(registryOfKey("https://h.io:5000/v2/"), "h.io:5000");
});
