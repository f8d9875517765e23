import assert from "node:assert/strict";
import fc from "fast-check";
import {
  type Credential,
  parseImageReference,
  repositoryReference,
  Secret,
} from "../../../lib/model/mod.ts";
import { type PullChange, PullCredentialCache } from "../../../lib/cri/mod.ts";

const NOW_MS = 1_750_000_000_000;

function shelf(options: { readonly maxImages?: number } = {}, startMs = NOW_MS) {
  const changes: string[] = [];
  let nowMs = startMs;
  const cache = new PullCredentialCache({
    now: () => nowMs++,
    changed: ({ kind, image }: PullChange) => changes.push(`${kind} ${image.text}`),
    ...options,
  });
  const pull = (name: string, password: string) =>
    cache.record({ image: parseImageReference(name), credential: basic(password) });
  const password = (name: string) => {
    const credential = cache.lookup(parseImageReference(name))?.credential;
    return credential?.kind === "basic" ? credential.password.reveal() : undefined;
  };
  return { cache, pull, password, changes };
}

function basic(password: string): Credential {
  return { kind: "basic", username: "robot", password: new Secret(password) };
}

const ID = `sha256:${"a".repeat(64)}`;
const POD = { name: "web-0", namespace: "shop", uid: "u1" };

Deno.test("PullCredentialCache: uses a new credential immediately and reports every new credential", () => {
  const { pull, password, changes, cache } = shelf();
  pull("nginx", "one");
  pull("docker.io/library/nginx:latest", "one");
  assert.deepEqual(changes, ["seen docker.io/library/nginx:latest"]);
  pull("index.docker.io/library/nginx", "two");
  assert.equal(password("nginx"), "two");
  assert.equal(cache.lookup(parseImageReference("nginx"))?.seenAtMs, NOW_MS + 2);
  assert.equal(changes.length, 2);
  assert.equal(password("nginx:1"), undefined);
});

Deno.test("PullCredentialCache: keeps credentials after a pull without one", () => {
  const { cache, pull, password, changes } = shelf();
  pull("nginx", "one");
  const ticket = cache.record({ image: parseImageReference("nginx"), pod: POD });
  cache.complete(ticket, "refused");
  cache.complete(ticket, "succeeded", ID);
  assert.equal(password("nginx"), "one");
  assert.deepEqual(changes, [
    "seen docker.io/library/nginx:latest",
    "pods docker.io/library/nginx:latest",
  ]);
  // The response contains the ID nevertheless.
  cache.forget(ID);
  assert.equal(cache.size, 0);
});

Deno.test("PullCredentialCache: keeps the confirmed credential and the three newest", () => {
  for (const [later, current] of [["one", "first"], ["two", "two"]]) {
    const { cache, pull, password } = shelf();
    cache.complete(pull("nginx", "first"), "succeeded");
    const tickets = new Map(
      ["one", "two", "three", "four"].map((secret) => [secret, pull("nginx", secret)]),
    );
    for (const [secret, ticket] of tickets) {
      cache.complete(ticket, secret === later ? "succeeded" : "refused");
    }
    assert.equal(password("nginx"), current);
  }
});

Deno.test("PullCredentialCache: uses the confirmed credential after a refusal, also after failures", () => {
  const { cache, pull, password, changes } = shelf();
  cache.complete(pull("nginx", "good"), "succeeded");
  for (let i = 0; i < 10; i++) cache.complete(pull("nginx", `bad-${i}`), "failed");
  const tickets = Array.from({ length: 4 }, (_, i) => pull("nginx", `worse-${i}`));
  for (const ticket of tickets) cache.complete(ticket, "refused");
  assert.equal(password("nginx"), "good");
  assert.equal(changes.at(-1), "refused docker.io/library/nginx:latest");
});

Deno.test("PullCredentialCache: keeps only the pods after a refusal without an earlier credential", () => {
  const { cache, pull, password } = shelf();
  cache.complete(pull("nginx", "bad"), "refused");
  assert.equal(cache.size, 0);
  const image = parseImageReference("redis");
  cache.complete(cache.record({ image, credential: basic("bad"), pod: POD }), "refused");
  assert.equal(password("redis"), undefined);
  assert.deepEqual(cache.pods(image), [POD]);
});

Deno.test("PullCredentialCache: a success replaces older credentials, but not newer ones", () => {
  const { cache, pull, password } = shelf();
  const old = pull("nginx", "old");
  const middle = pull("nginx", "middle");
  const newest = pull("nginx", "newest");
  cache.complete(middle, "succeeded");
  assert.equal(password("nginx"), "newest");
  cache.complete(old, "refused");
  cache.complete(newest, "refused");
  assert.equal(password("nginx"), "middle");
  cache.complete(old, "succeeded");
  assert.equal(password("nginx"), "middle");
});

Deno.test("lookup: a reference without tag and digest matches the newest of its repository", () => {
  const { cache, pull } = shelf();
  pull("quay.io/team/app:v1", "one");
  pull("quay.io/team/app:v2", "two");
  pull("quay.io/team/application:v1", "other");
  pull("quay.io/team/app:v1", "three");
  cache.record({ image: parseImageReference("quay.io/team/app:v3"), pod: POD });
  const credential = cache.lookup(repositoryReference("quay.io", "team/app"))?.credential;
  assert.equal(credential?.kind === "basic" && credential.password.reveal(), "three");
  assert.equal(cache.lookup(repositoryReference("quay.io", "team/none")), undefined);
});

Deno.test("forget: removes an image by reference and by ID", () => {
  const { cache, pull, changes } = shelf();
  const inSync = (name: string, imageId: string) =>
    cache.complete(pull(name, "pw"), "succeeded", imageId);
  inSync("one", ID);
  inSync("two", ID);
  inSync("three", `sha256:${"b".repeat(64)}`);
  pull("four", "pw");
  changes.length = 0;
  for (const absent of ["five", "sha256:cccc", "c".repeat(64), "", "UPPER", "four@sha256:a"]) {
    cache.forget(absent);
  }
  assert.equal(cache.size, 4);
  cache.forget("docker.io/library/two:latest");
  assert.deepEqual(changes, ["one", "two"].map((n) => `forgotten docker.io/library/${n}:latest`));
  cache.forget("b".repeat(64));
  cache.forget("four");
  assert.equal(cache.size, 0);
});

Deno.test("forget: removes an image by a prefix of its ID", () => {
  for (const prefix of ["b".repeat(13), "b", `sha256:${"b".repeat(13)}`]) {
    const { cache, pull } = shelf();
    cache.complete(pull("one", "pw"), "succeeded", ID);
    cache.complete(pull("two", "pw"), "succeeded", `sha256:${"b".repeat(64)}`);
    cache.complete(pull("other", "pw"), "succeeded", "s.example/b@sha256:b");
    for (const absent of ["s", "sha256:", "sha256", "bbbba", "b".repeat(65)]) cache.forget(absent);
    assert.equal(cache.size, 3);
    cache.forget(prefix);
    assert.equal(cache.size, 2, prefix);
    assert.equal(cache.lookup(parseImageReference("two")), undefined);
  }
});

Deno.test("forget: prefers a reference over an ID prefix", () => {
  const { cache, pull } = shelf();
  cache.complete(pull("one", "pw"), "succeeded", ID);
  cache.complete(pull("aaaa", "pw"), "succeeded", `sha256:${"b".repeat(64)}`);
  cache.forget("aaaa");
  assert.equal(cache.size, 1);
  assert.equal(cache.lookup(parseImageReference("aaaa")), undefined);
});

Deno.test("PullCredentialCache: evicts the least recently pulled image above the limit", () => {
  const { pull, password, changes, cache } = shelf({ maxImages: 3 });
  for (const name of ["one", "two", "three", "one", "four"]) pull(name, "pw");
  assert.equal(cache.size, 3);
  assert.equal(password("two"), undefined);
  assert.equal(password("one"), "pw");
  assert.deepEqual(changes.filter((line) => line.startsWith("forgotten")), [
    "forgotten docker.io/library/two:latest",
  ]);
});

Deno.test("PullCredentialCache: limits the total size of credentials", () => {
  const { cache, pull } = shelf();
  for (let i = 0; i < 1_100; i++) pull(`app-${i}`, "x".repeat(32_000));
  assert.ok(cache.size > 1_000 && cache.size < 1_060, `${cache.size} images`);
  for (let i = 0; i < 1_100; i++) cache.forget(`app-${i}`);
  for (let i = 0; i < 1_000; i++) pull(`later-${i}`, "x".repeat(32_000));
  assert.equal(cache.size, 1_000);
  // Refused credentials do not count.
  for (let i = 0; i < 1_100; i++) {
    cache.complete(pull("later-999", `${i}`.padEnd(32_000)), "refused");
  }
  assert.equal(cache.size, 1_000);
});

Deno.test("PullCredentialCache: keeps credentials of exactly 32 Mi characters", () => {
  const { pull, password } = shelf();
  const mebi = 1_048_576;
  for (let i = 0; i < 32; i++) pull(`app-${i}`, "x".repeat(mebi - "robot".length));
  assert.equal(password("app-0")?.length, mebi - 5);
  pull("app-31", "new");
  assert.equal(password("app-0"), undefined, "both credentials of an image count");
  assert.equal(password("app-1")?.length, mebi - 5);
});

Deno.test("pods: returns the last 16 distinct pods, newest first", () => {
  const { cache } = shelf();
  const image = parseImageReference("nginx");
  for (const uid of [...Array(20).keys(), 10]) {
    cache.record({ image, pod: { name: `p${uid}`, namespace: "n", uid: `${uid}` } });
  }
  const uids = cache.pods(image).map(({ uid }) => Number(uid));
  assert.deepEqual(uids, [10, 19, 18, 17, 16, 15, 14, 13, 12, 11, 9, 8, 7, 6, 5, 4]);
  assert.deepEqual(cache.pods(parseImageReference("redis")), []);
});

Deno.test("serialize and restore: keep credentials, times, confirmations, pods and IDs", () => {
  const { cache, pull } = shelf();
  cache.complete(pull("one", "good"), "succeeded", ID);
  const bad = pull("one", "unsettled");
  assert.ok(bad.sequence > 0);
  const token = new Secret("t");
  cache.record({
    image: parseImageReference("two"),
    credential: { kind: "registry-token", token },
  });
  cache.record({
    image: parseImageReference("quay.io/a/three@" + ID),
    credential: { kind: "identity-token", username: "u", token },
    pod: POD,
  });
  const text = cache.serialize();
  assert.equal(`${text}`, "[secret]");
  const later = shelf({}, NOW_MS + 60_000);
  assert.equal(later.cache.restore(text), true);
  assert.equal(later.cache.serialize().reveal(), text.reveal());
  assert.deepEqual(later.changes, []);
  assert.equal(later.password("one"), "unsettled");
  later.cache.forget(ID);
  assert.equal(later.cache.size, 2);
});

Deno.test("restore: keeps entries that were recorded meanwhile as the newer ones", () => {
  const before = shelf({ maxImages: 3 });
  for (const name of ["one", "two", "three"]) before.pull(name, "old");
  const after = shelf({ maxImages: 3 });
  const ticket = after.pull("one", "new");
  after.pull("four", "new");
  after.cache.restore(before.cache.serialize());
  assert.equal(after.cache.size, 3);
  assert.deepEqual(["one", "two", "three", "four"].map(after.password), [
    "new",
    undefined,
    "old",
    "new",
  ]);
  after.cache.complete(ticket, "refused");
  assert.equal(after.password("one"), undefined);
});

Deno.test("restore: replaces a time in the future by the current time", () => {
  const { cache } = shelf();
  const text = '{"version":2,"images":[{"image":"docker.io/library/nginx:latest","pods":[],' +
    '"credentials":[{"kind":"basic","username":"u","secret":"s",' +
    '"seenAtMs":9e15,"confirmed":true}]}]}';
  assert.equal(cache.restore(new Secret(text)), true);
  assert.equal(cache.lookup(parseImageReference("nginx"))?.seenAtMs, NOW_MS);
});

Deno.test("restore: rejects unusable text and changes nothing", () => {
  const { cache, pull } = shelf();
  pull("nginx", "pw");
  const before = cache.serialize().reveal();
  assert.equal(cache.restore(new Secret(before.replace('"version":2', '"version":1'))), false);
  for (
    const [from, to] of [
      ['"credentials":', '"pulls":'],
      ['"confirmed":false', '"confirmed":0'],
      ['"seenAtMs":', '"seenAtMs":"x","y":'],
      ["library/nginx", "Library/nginx"],
      ['"secret":"pw"', '"secret":""'],
      ['"kind":"basic"', '"kind":"other"'],
      ['"pods":[]', '"pods":[{"name":1}]'],
      ['"images":[', '"images":[null,'],
      ['"images":[', '"pictures":['],
      ["{", "["],
    ] as const
  ) {
    const broken = before.replace(from, to);
    assert.notEqual(broken, before);
    assert.equal(cache.restore(new Secret(broken)), false, to);
  }
  assert.equal(cache.serialize().reveal(), before);
});

Deno.test("restore: never throws", () => {
  const good = (() => {
    const { cache, pull } = shelf();
    pull("nginx", "pw");
    cache.record({ image: parseImageReference("redis"), pod: POD });
    return cache.serialize().reveal();
  })();
  const cutText = fc.tuple(fc.nat({ max: good.length }), fc.nat({ max: good.length }), fc.string())
    .map(([from, to, middle]) => good.slice(0, from) + middle + good.slice(to));
  fc.assert(fc.property(fc.oneof(fc.string(), fc.json(), cutText), (text) => {
    const { cache } = shelf();
    cache.restore(new Secret(text));
    // The text may contain an image twice, in two spellings.
    assert.ok(cache.size <= text.split('"image":').length - 1);
  }));
});

Deno.test("confirmed: returns the newest credential of a pull, but not a restored one", () => {
  const { cache, pull } = shelf();
  const image = parseImageReference("reg.io/app:1");
  const found = () => {
    const credential = cache.confirmed(image)?.credential;
    return credential?.kind === "basic" ? credential.password.reveal() : undefined;
  };
  const first = pull("reg.io/app:1", "first");
  assert.equal(found(), undefined, "it may still be refused");
  cache.complete(first, "succeeded", ID);
  assert.equal(found(), "first");
  const second = pull("reg.io/app:1", "second");
  assert.equal(found(), "first");
  assert.deepEqual(cache.remembered(image), cache.confirmed(image), "the second may be refused");
  cache.complete(second, "refused");
  assert.equal(found(), "first");
  assert.equal(cache.pulls, 2);
  const later = shelf();
  assert.ok(later.cache.restore(cache.serialize()));
  assert.equal(later.password("reg.io/app:1"), "first");
  assert.equal(later.cache.confirmed(image), undefined);
  assert.deepEqual(later.cache.remembered(image), later.cache.lookup(image));
  assert.equal(later.cache.pulls, 0);
  later.cache.complete(later.pull("reg.io/app:1", "third"), "succeeded");
  assert.ok(later.cache.confirmed(image));
});

Deno.test("PullCredentialCache: reports the pod of a successful pull without a credential", () => {
  const { cache, changes } = shelf();
  const image = parseImageReference("reg.io/app:1");
  cache.complete(cache.record({ image, pod: POD }), "succeeded", ID);
  assert.deepEqual(changes, ["pods reg.io/app:1"]);
  assert.deepEqual(cache.pods(image), [POD]);
});
