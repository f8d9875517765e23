import assert from "node:assert/strict";
import fc from "fast-check";
import { GatheredBytes } from "../../../lib/cri/gathered_bytes.ts";

Deno.test("GatheredBytes holds what was appended, and wipes it", () => {
  const pieces = fc.array(fc.uint8Array({ maxLength: 2_000 }), { maxLength: 20 });
  fc.assert(fc.property(fc.array(pieces, { maxLength: 3 }), (rounds) => {
    const gathered = new GatheredBytes();
    for (const round of rounds) {
      for (const piece of round) gathered.append(piece);
      const view = gathered.view();
      assert.equal(gathered.length, view.length);
      assert.equal(view.toHex(), round.map((piece) => piece.toHex()).join(""));
      gathered.clear();
      assert.equal(gathered.length, 0);
      assert.ok(view.every((byte) => byte === 0));
    }
  }));
});
