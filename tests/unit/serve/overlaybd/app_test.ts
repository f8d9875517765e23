import { deepEqual, equal, ok } from "node:assert/strict";
import fc from "fast-check";
import { type Credential, type ImageReference, Secret } from "../../../../lib/model/mod.ts";
import { openOverlaybd } from "../../../../lib/serve/mod.ts";
import { readBlobUrl } from "../../../../lib/serve/overlaybd/blob_url.ts";

const DIGEST = `sha256:${"ab".repeat(32)}`;
const BLOB = `https://registry.example.com:5000/v2/team/app/blobs/${DIGEST}`;
const BASIC: Credential = { kind: "basic", username: "u", password: new Secret("p:q") };

async function ask(
  url: string,
  credential: (image: ImageReference) => Promise<Credential | undefined> = () =>
    Promise.resolve(BASIC),
  headers: Readonly<Record<string, string>> = { host: "localhost" },
) {
  const app = await openOverlaybd({ credential });
  const response = await app.request(`http://localhost${url}`, { headers });
  return { status: response.status, body: await response.json() };
}

/**
 * What overlaybd makes of an answer, by `load_cred_from_uds` and `parse_auths` of its
 * `src/image_service.cpp` (063821f): only 200 counts, then `success`, then the entry whose key is a
 * prefix of the URL's host and path segments.
 */
function overlaybdReads(url: string, { status, body }: Awaited<ReturnType<typeof ask>>) {
  if (status !== 200 || body.success !== true) return { username: "", password: "" };
  const [host = "", , ...rest] = url.replace(/^https?:\/\//, "").split("/").slice(0, -1);
  const prefixes = [host, ...rest].map((_, i, all) => all.slice(0, i + 1).join("/"));
  for (const [key, entry] of Object.entries(body.data.auths)) {
    if (prefixes.includes(key)) return entry;
  }
  return { username: "", password: "" };
}

Deno.test("overlaybd is given the pair of the registry that its URL names", async () => {
  const asked: string[] = [];
  const answer = await ask(`/auth?remote_url=${BLOB}`, (image) => {
    asked.push(image.text);
    return Promise.resolve(BASIC);
  });
  deepEqual(asked, ["registry.example.com:5000/team/app"]);
  deepEqual(overlaybdReads(BLOB, answer), { username: "u", password: "p:q" });
  deepEqual(Object.keys(answer.body).sort(), ["data", "success", "traceId"]);
  const escaped = await ask(`/auth?remote_url=${encodeURIComponent(BLOB)}`);
  deepEqual(overlaybdReads(BLOB, escaped), { username: "u", password: "p:q" });
});

Deno.test("Docker Hub is found under the host that overlaybd calls", async () => {
  const url = `https://registry-1.docker.io/v2/library/alpine/blobs/${DIGEST}`;
  const asked: string[] = [];
  const answer = await ask(`/auth?remote_url=${url}`, (image) => {
    asked.push(image.text);
    return Promise.resolve(BASIC);
  });
  deepEqual(asked, ["docker.io/library/alpine"]);
  deepEqual(overlaybdReads(url, answer), { username: "u", password: "p:q" });
});

Deno.test("nobody has a credential: anonymous; a form that overlaybd lacks: no success", async () => {
  const none = await ask(`/auth?remote_url=${BLOB}`, () => Promise.resolve(undefined));
  deepEqual([none.status, none.body.success, none.body.data], [200, true, { auths: {} }]);
  const token: Credential = { kind: "registry-token", token: new Secret("t") };
  const bearer = await ask(`/auth?remote_url=${BLOB}`, () => Promise.resolve(token));
  deepEqual([bearer.body.success, bearer.body.data], [false, { auths: {} }]);
  const failing = await ask(`/auth?remote_url=${BLOB}`, () => Promise.reject(new Error("secret")));
  equal(failing.body.success, false);
  ok(!JSON.stringify(failing.body).includes("secret"));
});

Deno.test("web pages, and names that were pointed at loopback, are refused", async () => {
  let asked = 0;
  const count = () => {
    asked++;
    return Promise.resolve(BASIC);
  };
  for (
    const headers of [
      { host: "evil.example.com" },
      { host: "localhost", origin: "https://evil.example.com" },
      { host: "localhost", "sec-fetch-site": "cross-site" },
    ]
  ) {
    equal((await ask(`/auth?remote_url=${BLOB}`, count, headers)).status, 403);
  }
  equal(asked, 0);
  equal((await ask("/other", count)).status, 404);
});

Deno.test("readBlobUrl takes what a registry serves, and nothing else", () => {
  for (
    const text of [
      "",
      "registry.example.com/v2/a/blobs/x",
      "ftp://registry.example.com/v2/a/blobs/x",
      "https://registry.example.com/a/blobs/x",
      "https://u:p@registry.example.com/v2/a/blobs/x",
      "https://registry.example.com/v2/a/blobs/",
      "https://registry.example.com/v2/../etc/blobs/x",
      `https://registry.example.com/v2/${"a".repeat(5_000)}/blobs/x`,
    ]
  ) equal(readBlobUrl(text), undefined, text);
  fc.assert(fc.property(fc.string({ unit: "binary" }), fc.webUrl(), (text, url) => {
    for (const one of [text, url, `${url}/v2/${text}/blobs/x`]) {
      const read = readBlobUrl(one);
      if (read !== undefined) ok(one.includes(`//${read.host}/v2/`), one);
    }
  }));
});
