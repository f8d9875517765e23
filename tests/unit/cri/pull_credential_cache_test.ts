import assert from "node:assert/strict";
import fc from "fast-check";
import {
  type Credential,
  parseImageReference,
  repositoryReference,
  Secret,
} from "../../../lib/model/mod.ts";
import { type CriNote, type PullChange, PullCredentialCache } from "../../../lib/cri/mod.ts";

const NOW_MS = 1_750_000_000_000;

function shelf(options: { readonly maxImages?: number } = {}, startMs = NOW_MS) {
  const changes: string[] = [];
  const notes: CriNote[] = [];
  let nowMs = startMs;
  const book = new PullCredentialCache({
    now: () => nowMs++,
    changed: ({ kind, image }: PullChange) => changes.push(`${kind} ${image.text}`),
    note: (note) => notes.push(note),
    ...options,
  });
  const pull = (name: string, password: string) =>
    book.record({ image: parseImageReference(name), credential: basic(password) });
  const password = (name: string) => {
    const credential = book.lookup(parseImageReference(name))?.credential;
    return credential?.kind === "basic" ? credential.password.reveal() : undefined;
  };
  return { book, pull, password, changes, notes };
}

function basic(password: string): Credential {
  return { kind: "basic", username: "robot", password: new Secret(password) };
}

const ID = `sha256:${"a".repeat(64)}`;
const POD = { name: "web-0", namespace: "shop", uid: "u1" };

Deno.test("the newest pull counts from its request on, and every new credential is announced", () => {
  const { pull, password, changes, book } = shelf();
  pull("nginx", "one");
  pull("docker.io/library/nginx:latest", "one");
  assert.deepEqual(changes, ["seen docker.io/library/nginx:latest"]);
  pull("index.docker.io/library/nginx", "two");
  assert.equal(password("nginx"), "two");
  assert.equal(book.lookup(parseImageReference("nginx"))?.seenAtMs, NOW_MS + 2);
  assert.equal(changes.length, 2);
  assert.equal(password("nginx:1"), undefined);
});

Deno.test("a pull without a credential takes none away", () => {
  const { book, pull, password, changes } = shelf();
  pull("nginx", "one");
  const ticket = book.record({ image: parseImageReference("nginx"), pod: POD });
  book.settle(ticket, { kind: "refused" });
  book.settle(ticket, { kind: "succeeded", imageId: ID });
  assert.equal(password("nginx"), "one");
  assert.deepEqual(changes, [
    "seen docker.io/library/nginx:latest",
    "pods docker.io/library/nginx:latest",
  ]);
  // Its answer told the ID all the same.
  book.forget(ID);
  assert.equal(book.size, 0);
});

Deno.test("a refusal brings back what was confirmed, however many failed since", () => {
  const { book, pull, password, changes } = shelf();
  book.settle(pull("nginx", "good"), { kind: "succeeded" });
  for (let i = 0; i < 10; i++) book.settle(pull("nginx", `bad-${i}`), { kind: "failed" });
  const tickets = Array.from({ length: 4 }, (_, i) => pull("nginx", `worse-${i}`));
  for (const ticket of tickets) book.settle(ticket, { kind: "refused" });
  assert.equal(password("nginx"), "good");
  assert.equal(changes.at(-1), "refused docker.io/library/nginx:latest");
});

Deno.test("a refusal with nothing before it leaves nothing, but the pods", () => {
  const { book, pull, password } = shelf();
  book.settle(pull("nginx", "bad"), { kind: "refused" });
  assert.equal(book.size, 0);
  const image = parseImageReference("redis");
  book.settle(book.record({ image, credential: basic("bad"), pod: POD }), { kind: "refused" });
  assert.equal(password("redis"), undefined);
  assert.deepEqual(book.pods(image), [POD]);
});

Deno.test("success takes the place of what was seen before, not of what was seen since", () => {
  const { book, pull, password } = shelf();
  const old = pull("nginx", "old");
  const middle = pull("nginx", "middle");
  const newest = pull("nginx", "newest");
  book.settle(middle, { kind: "succeeded" });
  assert.equal(password("nginx"), "newest");
  book.settle(old, { kind: "refused" });
  book.settle(newest, { kind: "refused" });
  assert.equal(password("nginx"), "middle");
  book.settle(old, { kind: "succeeded" });
  assert.equal(password("nginx"), "middle");
});

Deno.test("a reference without tag and digest finds the newest of its repository", () => {
  const { book, pull } = shelf();
  pull("quay.io/team/app:v1", "one");
  pull("quay.io/team/app:v2", "two");
  pull("quay.io/team/application:v1", "other");
  pull("quay.io/team/app:v1", "three");
  book.record({ image: parseImageReference("quay.io/team/app:v3"), pod: POD });
  const credential = book.lookup(repositoryReference("quay.io", "team/app"))?.credential;
  assert.equal(credential?.kind === "basic" && credential.password.reveal(), "three");
  assert.equal(book.lookup(repositoryReference("quay.io", "team/none")), undefined);
});

Deno.test("forget goes by reference, and by the ID that a pull was answered with", () => {
  const { book, pull, changes } = shelf();
  const inSync = (name: string, imageId: string) =>
    book.settle(pull(name, "pw"), { kind: "succeeded", imageId });
  inSync("one", ID);
  inSync("two", ID);
  inSync("three", `sha256:${"b".repeat(64)}`);
  pull("four", "pw");
  changes.length = 0;
  for (const absent of ["five", "sha256:cccc", "c".repeat(64), "", "UPPER", "four@sha256:a"]) {
    book.forget(absent);
  }
  assert.equal(book.size, 4);
  book.forget("docker.io/library/two:latest");
  assert.deepEqual(changes, ["one", "two"].map((n) => `forgotten docker.io/library/${n}:latest`));
  book.forget("b".repeat(64));
  book.forget("four");
  assert.equal(book.size, 0);
});

Deno.test("PullBook: forgets an image that is removed by a prefix of its ID", () => {
  for (const prefix of ["b".repeat(13), "b", `sha256:${"b".repeat(13)}`]) {
    const { book, pull } = shelf();
    book.settle(pull("one", "pw"), { kind: "succeeded", imageId: ID });
    book.settle(pull("two", "pw"), { kind: "succeeded", imageId: `sha256:${"b".repeat(64)}` });
    book.settle(pull("other", "pw"), { kind: "succeeded", imageId: "s.example/b@sha256:b" });
    for (const absent of ["s", "sha256:", "sha256", "bbbba", "b".repeat(65)]) book.forget(absent);
    assert.equal(book.size, 3);
    book.forget(prefix);
    assert.equal(book.size, 2, prefix);
    assert.equal(book.lookup(parseImageReference("two")), undefined);
  }
});

Deno.test("PullBook: a name that reads as a prefix forgets the image of that name", () => {
  const { book, pull } = shelf();
  book.settle(pull("one", "pw"), { kind: "succeeded", imageId: ID });
  book.settle(pull("aaaa", "pw"), { kind: "succeeded", imageId: `sha256:${"b".repeat(64)}` });
  book.forget("aaaa");
  assert.equal(book.size, 1);
  assert.equal(book.lookup(parseImageReference("aaaa")), undefined);
});

Deno.test("the image that was pulled longest ago goes beyond the limit", () => {
  const { pull, password, changes, book } = shelf({ maxImages: 3 });
  for (const name of ["one", "two", "three", "one", "four"]) pull(name, "pw");
  assert.equal(book.size, 3);
  assert.equal(password("two"), undefined);
  assert.equal(password("one"), "pw");
  assert.deepEqual(changes.filter((line) => line.startsWith("forgotten")), [
    "forgotten docker.io/library/two:latest",
  ]);
});

Deno.test("large credentials are bounded together", () => {
  const { book, pull } = shelf();
  for (let i = 0; i < 1_100; i++) pull(`app-${i}`, "x".repeat(32_000));
  assert.ok(book.size > 1_000 && book.size < 1_060, `${book.size} images`);
  for (let i = 0; i < 1_100; i++) book.forget(`app-${i}`);
  for (let i = 0; i < 1_000; i++) pull(`later-${i}`, "x".repeat(32_000));
  assert.equal(book.size, 1_000);
  // What was refused weighs nothing.
  for (let i = 0; i < 1_100; i++) {
    book.settle(pull("later-999", `${i}`.padEnd(32_000)), { kind: "refused" });
  }
  assert.equal(book.size, 1_000);
});

Deno.test("pods are the last 16, each once, newest first", () => {
  const { book } = shelf();
  const image = parseImageReference("nginx");
  for (const uid of [...Array(20).keys(), 10]) {
    book.record({ image, pod: { name: `p${uid}`, namespace: "n", uid: `${uid}` } });
  }
  const uids = book.pods(image).map(({ uid }) => Number(uid));
  assert.deepEqual(uids, [10, 19, 18, 17, 16, 15, 14, 13, 12, 11, 9, 8, 7, 6, 5, 4]);
  assert.deepEqual(book.pods(parseImageReference("redis")), []);
});

Deno.test("serialize and restore keep credentials, times, confirmations, pods and IDs", () => {
  const { book, pull } = shelf();
  book.settle(pull("one", "good"), { kind: "succeeded", imageId: ID });
  const bad = pull("one", "unsettled");
  assert.ok(bad.sequence > 0);
  const token = new Secret("t");
  book.record({ image: parseImageReference("two"), credential: { kind: "registry-token", token } });
  book.record({
    image: parseImageReference("quay.io/a/three@" + ID),
    credential: { kind: "identity-token", username: "u", token },
    pod: POD,
  });
  const text = book.serialize();
  assert.equal(`${text}`, "[secret]");
  const later = shelf({}, NOW_MS + 60_000);
  assert.equal(later.book.restore(text), true);
  assert.equal(later.book.serialize().reveal(), text.reveal());
  assert.deepEqual(later.changes, []);
  assert.equal(later.password("one"), "unsettled");
  later.book.forget(ID);
  assert.equal(later.book.size, 2);
});

Deno.test("each credential is written once", () => {
  const { book, pull } = shelf();
  for (let i = 0; i < 100; i++) pull(`app-${i}`, "the-shared-password");
  assert.equal(book.serialize().reveal().split("the-shared-password").length, 2);
});

Deno.test("what was seen since counts as newer than what is restored", () => {
  const before = shelf({ maxImages: 3 });
  for (const name of ["one", "two", "three"]) before.pull(name, "old");
  const after = shelf({ maxImages: 3 });
  const ticket = after.pull("one", "new");
  after.pull("four", "new");
  after.book.restore(before.book.serialize());
  assert.equal(after.book.size, 3);
  assert.deepEqual(["one", "two", "three", "four"].map(after.password), [
    "new",
    undefined,
    "old",
    "new",
  ]);
  after.book.settle(ticket, { kind: "refused" });
  assert.equal(after.password("one"), undefined);
});

Deno.test("a time in the future is taken for now", () => {
  const { book } = shelf();
  const text = '{"version":1,"credentials":[{"kind":"basic","username":"u","secret":"s"}],' +
    '"images":[{"image":"docker.io/library/nginx:latest","pods":[],' +
    '"pulls":[{"credential":0,"seenAtMs":9e15,"confirmed":true}]}]}';
  assert.equal(book.restore(new Secret(text)), true);
  assert.equal(book.lookup(parseImageReference("nginx"))?.seenAtMs, NOW_MS);
});

Deno.test("text that cannot be used changes nothing and is noted", () => {
  const { book, pull, notes } = shelf();
  pull("nginx", "pw");
  const before = book.serialize().reveal();
  assert.equal(book.restore(new Secret(before.replace('"version":1', '"version":2'))), false);
  for (
    const [from, to] of [
      ['"credential":0', '"credential":1'],
      ['"credential":0', '"credential":"0"'],
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
    assert.equal(book.restore(new Secret(broken)), false, to);
  }
  assert.equal(book.serialize().reveal(), before);
  assert.equal(notes.length, 11);
  assert.deepEqual(notes[0], { kind: "book-refused", reason: "unknown-version" });
  assert.deepEqual(notes[1], { kind: "book-refused", reason: "malformed" });
});

Deno.test("restore never throws, whatever the text", () => {
  const good = (() => {
    const { book, pull } = shelf();
    pull("nginx", "pw");
    book.record({ image: parseImageReference("redis"), pod: POD });
    return book.serialize().reveal();
  })();
  const cutText = fc.tuple(fc.nat({ max: good.length }), fc.nat({ max: good.length }), fc.string())
    .map(([from, to, middle]) => good.slice(0, from) + middle + good.slice(to));
  fc.assert(fc.property(fc.oneof(fc.string(), fc.json(), cutText), (text) => {
    const { book, notes } = shelf();
    assert.equal(book.restore(new Secret(text)) ? 0 : 1, notes.length);
    // A cut may tell an image twice, in two spellings.
    assert.ok(book.size <= text.split('"image":').length - 1);
  }));
});

Deno.test("confirmed is the newest that pulled while this book was open, not one restored", () => {
  const { book, pull } = shelf();
  const image = parseImageReference("reg.io/app:1");
  const found = () => {
    const credential = book.confirmed(image)?.credential;
    return credential?.kind === "basic" ? credential.password.reveal() : undefined;
  };
  const first = pull("reg.io/app:1", "first");
  assert.equal(found(), undefined, "it may still be refused");
  book.settle(first, { kind: "succeeded", imageId: ID });
  assert.equal(found(), "first");
  const second = pull("reg.io/app:1", "second");
  assert.equal(found(), "first");
  assert.deepEqual(book.remembered(image), book.confirmed(image), "the second may be refused");
  book.settle(second, { kind: "refused" });
  assert.equal(found(), "first");
  assert.equal(book.pulls, 2);
  const later = shelf();
  assert.ok(later.book.restore(book.serialize()));
  assert.equal(later.password("reg.io/app:1"), "first");
  assert.equal(later.book.confirmed(image), undefined);
  assert.deepEqual(later.book.remembered(image), later.book.lookup(image));
  assert.equal(later.book.pulls, 0);
  later.book.settle(later.pull("reg.io/app:1", "third"), { kind: "succeeded" });
  assert.ok(later.book.confirmed(image));
});

Deno.test("a pull without a credential that succeeded tells of its pod", () => {
  const { book, changes } = shelf();
  const image = parseImageReference("reg.io/app:1");
  book.settle(book.record({ image, pod: POD }), { kind: "succeeded", imageId: ID });
  assert.deepEqual(changes, ["pods reg.io/app:1"]);
  assert.deepEqual(book.pods(image), [POD]);
});
