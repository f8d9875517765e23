import assert from "node:assert/strict";
import fc from "fast-check";
import { parseImageReference } from "../../../lib/model/mod.ts";
import { createCriReader, type CriNote, PullCredentialCache } from "../../../lib/cri/mod.ts";
import { readRecording, type Sent } from "../../fakes/cri_conversation.ts";
import { corrupted } from "../../fakes/cri_corruption.ts";
import { cut } from "../../fakes/http2_peer.ts";

const NOW_MS = 1_750_000_000_000;

function recording(name: string): Sent[] {
  return readRecording(
    Deno.readTextFileSync(new URL(`./recordings/${name}.txt`, import.meta.url)),
  );
}

/** What a conversation leaves behind: book, changes and notes. */
function hear(conversation: Iterable<Sent>) {
  const changes: string[] = [];
  const notes: CriNote[] = [];
  const book = new PullCredentialCache({
    now: () => NOW_MS,
    changed: ({ kind, image }) => changes.push(`${kind} ${image.text}`),
  });
  const reader = createCriReader({ book, note: (note) => notes.push(note) });
  for (const { from, bytes } of conversation) {
    if (from === "client") reader.fromClient(bytes);
    else reader.fromServer(bytes);
  }
  reader.closed();
  return { book, changes, notes };
}

function shown(book: PullCredentialCache, image: string): string | undefined {
  const credential = book.lookup(parseImageReference(image))?.credential;
  switch (credential?.kind) {
    case "basic":
      return `${credential.username} ${credential.password.reveal()}`;
    case "identity-token":
    case "registry-token":
      return `${credential.kind} ${credential.token.reveal()}`;
    default:
      return undefined;
  }
}

function sorted(lines: readonly string[]): string[] {
  return [...lines].sort();
}

Deno.test("a conversation of grpc-go is read whole", () => {
  const { book, changes, notes } = hear(recording("grpc-go"));
  const app = "registry.example/team/app:v1";
  const disk = "registry.example/team/full-disk:v1";
  const parallel = Array.from({ length: 6 }, (_, i) => `docker.io/team/parallel-${i}:latest`);
  const gone = "registry.example/team/gone:v1";
  const kept = "registry.example/team/kept:v1";
  assert.deepEqual(notes, []);
  assert.equal(shown(book, app), "robot fake-password:with:colons");
  assert.deepEqual(book.pods(parseImageReference(app)), [
    { name: "web-0", uid: "0b1f8f1e-4f6f-4c4e-9d39-2f1f5a4d6c11", namespace: "shop" },
  ]);
  assert.equal(shown(book, disk), "robot fake-pair");
  assert.equal(shown(book, gone), "registry-token fake-registry-token");
  assert.equal(shown(book, kept), "identity-token fake-identity-token");
  assert.equal(book.size, 4);
  assert.deepEqual(changes.slice(0, 5), [
    `seen ${app}`,
    `confirmed ${app}`,
    `seen ${app}`,
    `refused ${app}`,
    `seen ${disk}`,
  ]);
  const rest = changes.slice(5);
  assert.deepEqual(
    sorted(rest.filter((line) => line.includes("parallel"))),
    sorted(
      parallel.flatMap((image) => [`seen ${image}`, `confirmed ${image}`, `forgotten ${image}`]),
    ),
  );
  assert.deepEqual(
    rest.filter((line) => !line.includes("parallel")),
    [`seen ${gone}`, `confirmed ${gone}`, `seen ${kept}`, `confirmed ${kept}`],
  );
});

Deno.test("a conversation of grpc-js is read whole", () => {
  const { book, changes, notes } = hear(recording("grpc-js"));
  const nginx = "docker.io/library/nginx:latest";
  const other = "registry.example/team/other:v1";
  const parallel = Array.from(
    { length: 5 },
    (_, i) => `registry.example:5000/team/parallel-${i}:latest`,
  );
  assert.deepEqual(notes, [
    { kind: "skipped", method: "PullImage", reason: "other-registry", image: other },
  ]);
  assert.equal(shown(book, nginx), "robot fake-password");
  assert.deepEqual(book.pods(parseImageReference("nginx")), [
    { name: "job-7", uid: "5d1c", namespace: "batch" },
  ]);
  assert.equal(shown(book, other), undefined);
  assert.equal(book.size, 1);
  assert.deepEqual(
    sorted(changes),
    sorted([
      `seen ${nginx}`,
      `confirmed ${nginx}`,
      `seen ${nginx}`,
      `refused ${nginx}`,
      ...parallel.flatMap((image) => [`seen ${image}`, `confirmed ${image}`, `forgotten ${image}`]),
    ]),
  );
});

for (const name of ["grpc-go", "grpc-js"]) {
  const original = recording(name);
  const expected = hear(original);

  Deno.test(`any way of cutting the ${name} recording gives the same`, () => {
    const shares = fc.array(fc.double({ min: 0, max: 1, noNaN: true }), { maxLength: 6 });
    const cuts = fc.array(shares, { minLength: original.length, maxLength: original.length });
    fc.assert(
      fc.property(cuts, (cuts) => {
        const chunks = original.flatMap(({ from, bytes }, i) =>
          cut(bytes, cuts[i] ?? []).map((part) => ({ from, bytes: part }))
        );
        const { book, changes, notes } = hear(chunks);
        assert.deepEqual([changes, notes], [expected.changes, expected.notes]);
        assert.equal(book.serialize().reveal(), expected.book.serialize().reveal());
      }),
      { numRuns: 60 },
    );
  });

  Deno.test(`the ${name} recording, byte by byte, in buffers that are used again`, () => {
    const buffer = new Uint8Array(1);
    const chunks = function* (): Generator<Sent> {
      for (const { from, bytes } of original) {
        for (const byte of bytes) {
          buffer[0] = byte;
          yield { from, bytes: buffer };
        }
      }
    };
    const { book, changes } = hear(chunks());
    assert.deepEqual(changes, expected.changes);
    assert.equal(book.serialize().reveal(), expected.book.serialize().reveal());
  });

  Deno.test(`any corruption of the ${name} recording loses at most, and changes no byte`, () => {
    fc.assert(
      fc.property(corrupted(original), (chunks) => {
        const before = chunks.map(({ bytes }) => bytes.toHex());
        const { book, notes } = hear(chunks);
        assert.deepEqual(chunks.map(({ bytes }) => bytes.toHex()), before);
        assert.ok(notes.every((note) => !("reason" in note) || note.reason !== "internal-error"));
        assert.ok(notes.filter(({ kind }) => kind === "lost").length <= 2);
        assert.ok(book.size <= 20);
      }),
      { numRuns: 300 },
    );
  });
}

Deno.test("random bytes on both sides never throw, and never make a pull", () => {
  const opening = recording("grpc-js").slice(0, 3);
  const noise = fc.array(
    fc.record({
      from: fc.constantFrom("client", "server"),
      bytes: fc.uint8Array({ maxLength: 500 }),
    }),
    { maxLength: 10 },
  );
  fc.assert(fc.property(noise, fc.boolean(), (noise, opened) => {
    const { book, notes } = hear([...(opened ? opening : []), ...noise]);
    assert.equal(book.size, 0);
    assert.ok(notes.length <= 2);
    assert.ok(notes.every((note) => note.kind === "lost" && note.reason !== "internal-error"));
  }));
});
