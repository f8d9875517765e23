import assert from "node:assert/strict";
import fc from "fast-check";
import { decodeHuffman, latin1 } from "../../../lib/cri/hpack.ts";
import { encodeHuffman, huffmanBits } from "../../fakes/http2_peer.ts";

Deno.test("decodeHuffman: uses the code of RFC 7541, appendix B", () => {
  // Taken from the appendix: symbol, code, length; the first and the last of most lengths.
  const rows: readonly (readonly [number, number, number])[] = [
    [48, 0x0, 5],
    [116, 0x9, 5],
    [32, 0x14, 6],
    [117, 0x2d, 6],
    [58, 0x5c, 7],
    [122, 0x7b, 7],
    [38, 0xf8, 8],
    [90, 0xfd, 8],
    [33, 0x3f8, 10],
    [63, 0x3fc, 10],
    [39, 0x7fa, 11],
    [124, 0x7fc, 11],
    [35, 0xffa, 12],
    [62, 0xffb, 12],
    [0, 0x1ff8, 13],
    [126, 0x1ffd, 13],
    [94, 0x3ffc, 14],
    [125, 0x3ffd, 14],
    [60, 0x7ffc, 15],
    [123, 0x7ffe, 15],
    [92, 0x7fff0, 19],
    [208, 0x7fff2, 19],
    [128, 0xfffe6, 20],
    [226, 0xfffed, 20],
    [153, 0x1fffdc, 21],
    [230, 0x1fffe8, 21],
    [129, 0x3fffd2, 22],
    [1, 0x7fffd8, 23],
    [9, 0xffffea, 24],
    [199, 0x1ffffec, 25],
    [192, 0x3ffffe0, 26],
    [203, 0x7ffffde, 27],
    [2, 0xfffffe2, 28],
    [249, 0xffffffe, 28],
    [10, 0x3ffffffc, 30],
    [22, 0x3ffffffe, 30],
    [256, 0x3fffffff, 30],
  ];
  for (const [symbol, code, length] of rows) {
    assert.equal(huffmanBits(symbol), code.toString(2).padStart(length, "0"), `symbol ${symbol}`);
  }
});

Deno.test("decodeHuffman: decodes every encoded byte string", () => {
  fc.assert(fc.property(fc.uint8Array({ maxLength: 100 }), (bytes) => {
    assert.equal(decodeHuffman(Uint8Array.from(encodeHuffman(bytes))), latin1(bytes));
  }));
});

Deno.test("decodeHuffman: rejects invalid padding and EOS", () => {
  assert.equal(decodeHuffman(Uint8Array.of(0x07)), "0"); // "0" is 00000, then three ones
  assert.equal(decodeHuffman(Uint8Array.of(0x00)), undefined); // padded with zeros
  assert.equal(decodeHuffman(Uint8Array.of(0x07, 0xff)), undefined); // one more byte of padding
  assert.equal(decodeHuffman(Uint8Array.of(0xff, 0xff, 0xff, 0xff)), undefined); // EOS
  assert.equal(decodeHuffman(Uint8Array.of(0xff, 0xff)), undefined); // truncated symbol
});

Deno.test("latin1: decodes any length", () => {
  const bytes = new Uint8Array(1_000_000).map((_, i) => i % 256);
  const text = latin1(bytes);
  assert.equal(text.length, bytes.length);
  assert.equal(text.charCodeAt(999_999), bytes[999_999]);
});
