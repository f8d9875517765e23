import assert from "node:assert/strict";
import fc from "fast-check";
import { parseImageReference } from "../../../lib/model/mod.ts";
import { CriConnectionReader, type CriNote, PullCredentialCache } from "../../../lib/cri/mod.ts";
import { readRecording, type Sent } from "../../fakes/cri_conversation.ts";
import { corrupted } from "../../fakes/cri_corruption.ts";
import { cut } from "../../fakes/http2_peer.ts";

const NOW_MS = 1_750_000_000_000;

function recording(name: string): Sent[] {
  return readRecording(
    Deno.readTextFileSync(new URL(`./recordings/${name}.txt`, import.meta.url)),
  );
}

/** The result of a conversation: cache, changes and notes. */
function hear(conversation: Iterable<Sent>) {
  const changes: string[] = [];
  const notes: CriNote[] = [];
  const cache = new PullCredentialCache({
    now: () => NOW_MS,
    changed: ({ kind, image }) => changes.push(`${kind} ${image.text}`),
  });
  const reader = new CriConnectionReader({ cache, note: (note) => notes.push(note) });
  for (const { from, bytes } of conversation) {
    if (from === "client") reader.fromClient(bytes);
    else reader.fromServer(bytes);
  }
  reader.closed();
  return { cache, changes, notes };
}

function shown(cache: PullCredentialCache, image: string): string | undefined {
  const credential = cache.lookup(parseImageReference(image))?.credential;
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

Deno.test("CriConnectionReader: reads a conversation of grpc-go", () => {
  const { cache, changes, notes } = hear(recording("grpc-go"));
  const app = "registry.example/team/app:v1";
  const disk = "registry.example/team/full-disk:v1";
  const parallel = Array.from({ length: 6 }, (_, i) => `docker.io/team/parallel-${i}:latest`);
  const gone = "registry.example/team/gone:v1";
  const kept = "registry.example/team/kept:v1";
  assert.deepEqual(notes, []);
  assert.equal(shown(cache, app), "robot fake-password:with:colons");
  assert.deepEqual(cache.pods(parseImageReference(app)), [
    { name: "web-0", uid: "0b1f8f1e-4f6f-4c4e-9d39-2f1f5a4d6c11", namespace: "shop" },
  ]);
  assert.equal(shown(cache, disk), "robot fake-pair");
  assert.equal(shown(cache, gone), "registry-token fake-registry-token");
  assert.equal(shown(cache, kept), "identity-token fake-identity-token");
  assert.equal(cache.size, 4);
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

Deno.test("CriConnectionReader: reads a conversation of grpc-js", () => {
  const { cache, changes, notes } = hear(recording("grpc-js"));
  const nginx = "docker.io/library/nginx:latest";
  const other = "registry.example/team/other:v1";
  const parallel = Array.from(
    { length: 5 },
    (_, i) => `registry.example:5000/team/parallel-${i}:latest`,
  );
  assert.deepEqual(notes, [
    { kind: "skipped", method: "PullImage", reason: "other-registry", image: other },
  ]);
  assert.equal(shown(cache, nginx), "robot fake-password");
  assert.deepEqual(cache.pods(parseImageReference("nginx")), [
    { name: "job-7", uid: "5d1c", namespace: "batch" },
  ]);
  assert.equal(shown(cache, other), undefined);
  assert.equal(cache.size, 1);
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

  Deno.test(`CriConnectionReader: reads the ${name} recording regardless of chunk boundaries`, () => {
    const shares = fc.array(fc.double({ min: 0, max: 1, noNaN: true }), { maxLength: 6 });
    const cuts = fc.array(shares, { minLength: original.length, maxLength: original.length });
    fc.assert(
      fc.property(cuts, (cuts) => {
        const chunks = original.flatMap(({ from, bytes }, i) =>
          cut(bytes, cuts[i] ?? []).map((part) => ({ from, bytes: part }))
        );
        const { cache, changes, notes } = hear(chunks);
        assert.deepEqual([changes, notes], [expected.changes, expected.notes]);
        assert.equal(cache.serialize().reveal(), expected.cache.serialize().reveal());
      }),
      { numRuns: 60 },
    );
  });

  Deno.test(`CriConnectionReader: reads the ${name} recording byte by byte from reused buffers`, () => {
    const buffer = new Uint8Array(1);
    const chunks = function* (): Generator<Sent> {
      for (const { from, bytes } of original) {
        for (const byte of bytes) {
          buffer[0] = byte;
          yield { from, bytes: buffer };
        }
      }
    };
    const { cache, changes } = hear(chunks());
    assert.deepEqual(changes, expected.changes);
    assert.equal(cache.serialize().reveal(), expected.cache.serialize().reveal());
  });

  Deno.test(`CriConnectionReader: a corrupted ${name} recording only loses pulls, and changes no byte`, () => {
    fc.assert(
      fc.property(corrupted(original), (chunks) => {
        const before = chunks.map(({ bytes }) => bytes.toHex());
        const { cache, notes } = hear(chunks);
        assert.deepEqual(chunks.map(({ bytes }) => bytes.toHex()), before);
        assert.ok(notes.every((note) => !("reason" in note) || note.reason !== "internal-error"));
        assert.ok(notes.filter(({ kind }) => kind === "lost").length <= 2);
        assert.ok(cache.size <= 20);
      }),
      { numRuns: 300 },
    );
  });
}

Deno.test("CriConnectionReader: never throws and records nothing for random bytes", () => {
  const opening = recording("grpc-js").slice(0, 3);
  const noise = fc.array(
    fc.record({
      from: fc.constantFrom("client", "server"),
      bytes: fc.uint8Array({ maxLength: 500 }),
    }),
    { maxLength: 10 },
  );
  fc.assert(fc.property(noise, fc.boolean(), (noise, opened) => {
    const { cache, notes } = hear([...(opened ? opening : []), ...noise]);
    assert.equal(cache.size, 0);
    assert.ok(notes.length <= 2);
    assert.ok(notes.every((note) => note.kind === "lost" && note.reason !== "internal-error"));
  }));
});
