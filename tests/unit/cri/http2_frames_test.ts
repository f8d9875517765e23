import assert from "node:assert/strict";
import fc from "fast-check";
import { ByteBuffer } from "../../../lib/cri/http2_frames.ts";

Deno.test("ByteBuffer: contains the appended bytes, and overwrites them", () => {
  const pieces = fc.array(fc.uint8Array({ maxLength: 2_000 }), { maxLength: 20 });
  fc.assert(fc.property(fc.array(pieces, { maxLength: 3 }), (rounds) => {
    const buffer = new ByteBuffer();
    for (const round of rounds) {
      for (const piece of round) buffer.append(piece);
      const view = buffer.view();
      assert.equal(buffer.length, view.length);
      assert.equal(view.toHex(), round.map((piece) => piece.toHex()).join(""));
      buffer.clear();
      assert.equal(buffer.length, 0);
      assert.ok(view.every((byte) => byte === 0));
    }
  }));
});

Deno.test("ByteBuffer: keeps its memory for the next use, but not more than 16 KiB", () => {
  for (const [bytes, isKept] of [[16_000, true], [17_000, false]] as const) {
    const buffer = new ByteBuffer();
    buffer.append(new Uint8Array(bytes));
    const before = buffer.view().buffer;
    buffer.clear();
    buffer.append(new Uint8Array(1));
    assert.equal(buffer.view().buffer === before, isKept);
  }
});
