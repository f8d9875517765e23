import { deepStrictEqual, notStrictEqual, ok, strictEqual } from "node:assert/strict";
import fc from "fast-check";
import {
  type CredentialHost,
  type Endpoint,
  endpointOf,
  type ImageReference,
  parseImageReference,
  type RegistryBackend,
  subjectKey,
  subjectOf,
  unapprovedHosts,
} from "../../../lib/model/mod.ts";

const APP = parseImageReference("registry.example.com/team/app:v1");
const HUB = parseImageReference("nginx:1");

function backend(change: Partial<RegistryBackend>): RegistryBackend {
  return { skipVerify: false, caFiles: [], mirrors: [], ...change };
}

function endpoint(
  image: ImageReference,
  change: Partial<RegistryBackend>,
  nameOf: (host: CredentialHost) => string | undefined = () => undefined,
): Promise<Endpoint | undefined> {
  return endpointOf(image, backend(change), (host) => Promise.resolve(nameOf(host)));
}

Deno.test("endpointOf: returns undefined when nydusd reads from the image's registry", async () => {
  const own: [ImageReference, Partial<RegistryBackend>][] = [
    [APP, { host: "registry.example.com", repo: "team/app" }],
    [APP, { host: "Registry.Example.com" }],
    [APP, { host: "registry.example.com:443", scheme: "https" }],
    [APP, { host: "registry.example.com:80", scheme: "http" }],
    [parseImageReference("reg.io:80/app:1"), { host: "reg.io:80", scheme: "http" }],
    [HUB, { host: "index.docker.io", repo: "library/nginx" }],
    [HUB, { host: "registry-1.docker.io", repo: "library/nginx" }],
    [HUB, { host: "docker.io" }],
    [APP, { host: "registry.example.com", mirrors: ["https://registry.example.com"] }],
  ];
  for (const [image, change] of own) {
    const found = await endpoint(image, change, () => {
      throw new Error("the image's registry needs no approval");
    });
    strictEqual(found, undefined, JSON.stringify(change));
  }
});

Deno.test("endpointOf: returns an endpoint when the host only resembles the image's registry", async () => {
  const foreign: [ImageReference, Partial<RegistryBackend>][] = [
    [APP, { host: "registry.example.com.evil.example" }],
    [APP, { host: "registry.example.com:8443" }],
    [APP, { host: "registry.example.com:443", scheme: "http" }],
    [APP, { host: "evil.example" }],
    [APP, { host: "registry.example.com@evil.example" }],
    [APP, { host: "registry-1.docker.io" }],
    [HUB, { host: "docker.io.evil.example" }],
    [HUB, { host: "hub.docker.io" }],
    [HUB, { host: "index.docker.io:5000" }],
  ];
  for (const [image, change] of foreign) {
    const found = await endpoint(image, change);
    ok(found !== undefined, JSON.stringify(change));
    strictEqual(unapprovedHosts(found, {}).length, 1, JSON.stringify(change));
  }
});

Deno.test("endpointOf: targets nydusd's repository with the tag of the image", async () => {
  const mirror = await endpoint(APP, { host: "mirror:5000" });
  strictEqual(mirror?.target?.text, "mirror:5000/team/app:v1");
  const cache = await endpoint(HUB, { host: "cache.example.com", repo: "hub/library/nginx" });
  strictEqual(cache?.target?.text, "cache.example.com/hub/library/nginx:1");
  strictEqual(cache?.target?.registry, "cache.example.com");
  // A host without dot and port is not part of a name on Docker Hub.
  strictEqual((await endpoint(APP, { host: "harbor" }))?.target?.registry, "harbor");
  const digest = parseImageReference(`r.io/a@sha256:${"0".repeat(64)}`);
  strictEqual((await endpoint(digest, { host: "m.io" }))?.target?.digest, digest.digest);
  // Another repository of the same registry is the target.
  const other = await endpoint(APP, { host: "registry.example.com", repo: "cache/team/app" });
  strictEqual(other?.target?.text, "registry.example.com/cache/team/app:v1");
  deepStrictEqual(unapprovedHosts(other, {}), []);
  // An invalid reference has no target, and its host is unapproved.
  const invalid = await endpoint(APP, { host: "registry.example.com@evil.example" });
  strictEqual(invalid?.target, undefined);
  deepStrictEqual(unapprovedHosts(invalid, {}), ["evil.example"]);
});

Deno.test("endpointOf: includes a proxy only if it receives the credential", async () => {
  const proxy = { url: "http://127.0.0.1:65001", useHttp: false, fallback: true };
  const host = "registry.example.com";
  strictEqual(await endpoint(APP, { host, scheme: "https", proxy }), undefined);
  for (const change of [{ scheme: "http" }, { proxy: { ...proxy, useHttp: true } }]) {
    const found = await endpoint(APP, { host, proxy, ...change });
    deepStrictEqual(unapprovedHosts(found, {}), ["127.0.0.1:65001"]);
    strictEqual(found?.target, undefined, "the target is still the image's registry");
  }
});

Deno.test("unapprovedHosts: an entry for the endpoint approves its host, but no mirror", async () => {
  const mirrors = ["http://m1:5000", "http://m2:5000"];
  const found = await endpoint(
    APP,
    { host: "mirror:5000", mirrors },
    ({ host }) => host === "m1:5000" ? "a file" : undefined,
  );
  deepStrictEqual(unapprovedHosts(found, {}), ["mirror:5000", "m2:5000"]);
  deepStrictEqual(unapprovedHosts(found, { forEndpoint: true }), ["m2:5000"]);
  deepStrictEqual(unapprovedHosts(undefined, {}), []);
});

Deno.test("subjectKey: differs by endpoint and is the image's text without one", async () => {
  const a = await endpoint(APP, { host: "a:1" });
  const b = await endpoint(APP, { host: "b:1" });
  ok(a && b);
  const keyOf = (place?: Endpoint) => {
    const subject = subjectOf({ image: APP, ...(place && { endpoint: place }) });
    return subject && subjectKey(subject);
  };
  strictEqual(keyOf(), APP.text);
  notStrictEqual(keyOf(a), keyOf(b));
  notStrictEqual(keyOf(a), keyOf());
  strictEqual(subjectOf({}), undefined);
});

Deno.test("unapprovedHosts: lists every host except the image's registry in any notation", async () => {
  const label = fc.stringMatching(/^[a-z0-9]{1,8}$/);
  const host = fc.tuple(label, label, fc.option(fc.integer({ min: 1, max: 65_535 }))).map(
    ([x, y, port]) => `${x}.${y}${port === null ? "" : `:${port}`}`,
  );
  await fc.assert(fc.asyncProperty(host, fc.constantFrom("http", "https"), async (one, scheme) => {
    const found = await endpoint(APP, { host: one, scheme });
    strictEqual(unapprovedHosts(found, {}).length, one.startsWith("registry.example.com") ? 0 : 1);
  }));
});
