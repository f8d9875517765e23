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
