/** Parsers of the CRI connection, on which any client can send any bytes. */
import { deepStrictEqual, ok, strictEqual } from "node:assert/strict";
import fc from "fast-check";
import type { CriNote } from "../../lib/cri/mod.ts";
import { WireError } from "../../lib/cri/http2_frames.ts";
import { Conversation, PULL, pulled } from "../fakes/cri_conversation.ts";
import { pullImageRequest } from "../fakes/cri_messages.ts";
import { joined } from "../fakes/http2_peer.ts";
import { growthOf } from "./growth.ts";
import { reader, WIRE_PARSERS, WIRE_UNITS } from "./wire_parsers.ts";

/** The bytes of a complete conversation. */
function conversation(): { readonly client: Uint8Array; readonly server: Uint8Array } {
  const conversation = new Conversation();
  const auth = { username: "u", password: "a-fuzzed-password" };
  const message = pullImageRequest({ image: "quay.io/a/b:1", auth });
  const sent = [
    ...conversation.opening(),
    ...conversation.call({ path: PULL, message, answer: pulled("sha256:aa") }),
    ...conversation.call({
      path: PULL,
      message,
      answer: { kind: "status", status: "2", text: "401" },
    }),
  ];
  const of = (from: string) =>
    joined(...sent.filter((one) => one.from === from).map((one) => one.bytes));
  return { client: of("client"), server: of("server") };
}

const { client, server } = conversation();

/** Generates valid bytes with some changed, cut, repeated or dropped. */
function mutated(bytes: Uint8Array): fc.Arbitrary<Uint8Array> {
  const change = fc.record({
    at: fc.nat({ max: bytes.length - 1 }),
    kind: fc.constantFrom("set", "drop", "insert", "double", "cut"),
    value: fc.nat({ max: 255 }),
  });
  return fc.array(change, { minLength: 1, maxLength: 6 }).map((changes) => {
    let all = [...bytes];
    for (const { at, kind, value } of changes) {
      if (kind === "set") all[at] = value;
      if (kind === "drop") all.splice(at, 1);
      if (kind === "insert") all.splice(at, 0, value);
      if (kind === "double") all.splice(at, 0, ...all.slice(at, at + value));
      if (kind === "cut") all = all.slice(0, Math.max(1, all.length - value));
    }
    return new Uint8Array(all);
  });
}

const hostile = fc.oneof(fc.uint8Array({ maxLength: 300 }), mutated(client), mutated(server));

for (const [name, parse] of Object.entries(WIRE_PARSERS)) {
  Deno.test(`${name}: throws only WireError`, () => {
    fc.assert(
      fc.property(hostile, (bytes) => {
        try {
          parse(bytes);
        } catch (error) {
          ok(error instanceof WireError, Deno.inspect(error));
        }
      }),
      { numRuns: 1_000 },
    );
  });
}

Deno.test("ConnectionReader: neither throws nor quotes a corrupted conversation in any split", () => {
  const cuts = fc.array(fc.nat({ max: 400 }), { maxLength: 8 });
  fc.assert(
    fc.property(mutated(client), mutated(server), cuts, (requested, answered, at) => {
      const notes: CriNote[] = [];
      const one = reader((note) => notes.push(note));
      let from = 0;
      for (const to of [...at.sort((a, b) => a - b), 1_000]) {
        one.fromClient(requested.subarray(from, to));
        one.fromServer(answered.subarray(from, to));
        from = to;
      }
      one.closed();
      ok(!JSON.stringify(notes).includes("fuzzed"));
    }),
    { numRuns: 1_000 },
  );
});

Deno.test("wire parsers: run in linear time", async () => {
  const slow: string[] = [];
  const preface = client.subarray(0, 24);
  const shapes = WIRE_UNITS.flatMap((unit) => [new Uint8Array(unit), joined(preface, unit)]);
  for (const [name, parse] of Object.entries(WIRE_PARSERS)) {
    for (const unit of [...shapes, client, server]) {
      const of = (n: number) => String.fromCharCode(...unit).repeat(Math.ceil(n / unit.length));
      const work = (text: string) => parse(Uint8Array.from(text, (char) => char.charCodeAt(0)));
      const growth = await growthOf(work, of, 65_536);
      if (!growth.isLinear) slow.push(`${name} of ${unit.toHex().slice(0, 20)}: ${growth.details}`);
    }
  }
  deepStrictEqual(slow, []);
});

Deno.test("ConnectionReader: ignores further bytes after an error at no cost", () => {
  const notes: CriNote[] = [];
  const one = reader((note) => notes.push(note));
  one.fromClient(new TextEncoder().encode("GET / HTTP/1.1\r\n\r\n"));
  for (let i = 0; i < 100_000; i++) one.fromClient(new Uint8Array([i % 256]));
  strictEqual(notes.length, 1, "reported more than once");
});
