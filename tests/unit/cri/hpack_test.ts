import assert from "node:assert/strict";
import fc from "fast-check";
import { HpackDecoder, STATIC_TABLE } from "../../../lib/cri/hpack.ts";
import { WireError } from "../../../lib/cri/http2_frames.ts";
import { type FieldStyle, HpackEncoder } from "../../fakes/http2_peer.ts";

type Fields = (readonly [string, string])[];

function decode(decoder: HpackDecoder, block: Uint8Array): Fields {
  const fields: Fields = [];
  decoder.decode(block, (name, value) => fields.push([name, value]));
  return fields;
}

function hex(text: string): Uint8Array {
  return Uint8Array.fromHex(text.replaceAll(" ", ""));
}

/** Steps of an example: the block, its fields, and the table afterwards, newest first. */
interface Step {
  readonly block: string;
  readonly fields: Fields;
  readonly table: Fields;
  readonly bytes: number;
}

function check(steps: readonly Step[], tableBytes?: number): void {
  const decoder = new HpackDecoder();
  if (tableBytes !== undefined) {
    assert.deepEqual(decode(decoder, new HpackEncoder().resize(tableBytes)), []);
  }
  for (const { block, fields, table, bytes } of steps) {
    assert.deepEqual(decode(decoder, hex(block)), fields);
    const current = decoder.table();
    assert.deepEqual(current.fields.map(({ name, value }) => [name, value]), table);
    assert.equal(current.bytes, bytes);
  }
}

const CUSTOM: Fields = [["custom-key", "custom-header"]];

Deno.test("HpackDecoder: RFC 7541 C.1 integers: 10 and 1337 in 5 bits, 42 in 8", () => {
  // As sizes of a table (5 bits) and as the length of a string (7 bits, 42 alike).
  const decoder = new HpackDecoder();
  assert.deepEqual(decode(decoder, hex("2a")), []);
  assert.deepEqual(decode(decoder, hex("3f9a0a 82")), [[":method", "GET"]]);
  const value = "x".repeat(42);
  const block = Uint8Array.of(0, 1, 97, 42, ...new TextEncoder().encode(value));
  assert.deepEqual(decode(decoder, block), [["a", value]]);
});

Deno.test("HpackDecoder: RFC 7541 C.2.1 to C.2.4: the four representations", () => {
  check([{
    block: "400a 6375 7374 6f6d 2d6b 6579 0d63 7573 746f 6d2d 6865 6164 6572",
    fields: CUSTOM,
    table: CUSTOM,
    bytes: 55,
  }]);
  const alone = (block: string, fields: Fields) => check([{ block, fields, table: [], bytes: 0 }]);
  alone("040c 2f73 616d 706c 652f 7061 7468", [[":path", "/sample/path"]]);
  alone("1008 7061 7373 776f 7264 0673 6563 7265 74", [["password", "secret"]]);
  alone("82", [[":method", "GET"]]);
});

const REQUESTS: readonly Omit<Step, "block">[] = (() => {
  const common: Fields = [[":method", "GET"], [":scheme", "http"]];
  const authority = [":authority", "www.example.com"] as const;
  const noCache = ["cache-control", "no-cache"] as const;
  const custom = ["custom-key", "custom-value"] as const;
  return [
    { fields: [...common, [":path", "/"], authority], table: [authority], bytes: 57 },
    {
      fields: [...common, [":path", "/"], authority, noCache],
      table: [noCache, authority],
      bytes: 110,
    },
    {
      fields: [
        [":method", "GET"],
        [":scheme", "https"],
        [":path", "/index.html"],
        authority,
        custom,
      ],
      table: [custom, noCache, authority],
      bytes: 164,
    },
  ];
})();

function withBlocks(steps: readonly Omit<Step, "block">[], blocks: readonly string[]): Step[] {
  assert.equal(steps.length, blocks.length);
  return steps.map((step, i) => ({ ...step, block: blocks[i] ?? "" }));
}

Deno.test("HpackDecoder: RFC 7541 C.3: three requests on one connection, plain", () => {
  check(withBlocks(REQUESTS, [
    "8286 8441 0f77 7777 2e65 7861 6d70 6c65 2e63 6f6d",
    "8286 84be 5808 6e6f 2d63 6163 6865",
    "8287 85bf 400a 6375 7374 6f6d 2d6b 6579 0c63 7573 746f 6d2d 7661 6c75 65",
  ]));
});

Deno.test("HpackDecoder: RFC 7541 C.4: the same, Huffman-coded", () => {
  check(withBlocks(REQUESTS, [
    "8286 8441 8cf1 e3c2 e5f2 3a6b a0ab 90f4 ff",
    "8286 84be 5886 a8eb 1064 9cbf",
    "8287 85bf 4088 25a8 49e9 5ba9 7d7f 8925 a849 e95b b8e8 b4bf",
  ]));
});

const RESPONSES: readonly Omit<Step, "block">[] = (() => {
  const status302 = [":status", "302"] as const;
  const status307 = [":status", "307"] as const;
  const isPrivate = ["cache-control", "private"] as const;
  const date21 = ["date", "Mon, 21 Oct 2013 20:13:21 GMT"] as const;
  const date22 = ["date", "Mon, 21 Oct 2013 20:13:22 GMT"] as const;
  const location = ["location", "https://www.example.com"] as const;
  const gzip = ["content-encoding", "gzip"] as const;
  const cookie = [
    "set-cookie",
    "foo=ASDJKHQKBZXOQWEOPIUAXQWEOIU; max-age=3600; version=1",
  ] as const;
  return [
    {
      fields: [status302, isPrivate, date21, location],
      table: [location, date21, isPrivate, status302],
      bytes: 222,
    },
    {
      fields: [status307, isPrivate, date21, location],
      table: [status307, location, date21, isPrivate],
      bytes: 222,
    },
    {
      fields: [[":status", "200"], isPrivate, date22, location, gzip, cookie],
      table: [cookie, gzip, date22],
      bytes: 215,
    },
  ];
})();

Deno.test("HpackDecoder: RFC 7541 C.5: three responses with a table of 256 bytes, plain", () => {
  check(
    withBlocks(RESPONSES, [
      "4803 3330 3258 0770 7269 7661 7465 611d 4d6f 6e2c 2032 3120 4f63 7420 3230 3133 2032 303a" +
      "3133 3a32 3120 474d 546e 1768 7474 7073 3a2f 2f77 7777 2e65 7861 6d70 6c65 2e63 6f6d",
      "4803 3330 37c1 c0bf",
      "88c1 611d 4d6f 6e2c 2032 3120 4f63 7420 3230 3133 2032 303a 3133 3a32 3220 474d 54c0 5a04" +
      "677a 6970 7738 666f 6f3d 4153 444a 4b48 514b 425a 584f 5157 454f 5049 5541 5851 5745 4f49" +
      "553b 206d 6178 2d61 6765 3d33 3630 303b 2076 6572 7369 6f6e 3d31",
    ]),
    256,
  );
});

Deno.test("HpackDecoder: RFC 7541 C.6: the same, Huffman-coded", () => {
  check(
    withBlocks(RESPONSES, [
      "4882 6402 5885 aec3 771a 4b61 96d0 7abe 9410 54d4 44a8 2005 9504 0b81 66e0 82a6 2d1b ff6e" +
      "919d 29ad 1718 63c7 8f0b 97c8 e9ae 82ae 43d3",
      "4883 640e ffc1 c0bf",
      "88c1 6196 d07a be94 1054 d444 a820 0595 040b 8166 e084 a62d 1bff c05a 839b d9ab 77ad 94e7" +
      "821d d7f2 e6c7 b335 dfdf cd5b 3960 d5af 2708 7f36 72c1 ab27 0fb5 291f 9587 3160 65c0 03ed" +
      "4ee5 b106 3d50 07",
    ]),
    256,
  );
});

const text = fc.string({
  unit: fc.integer({ min: 0, max: 255 }).map((code) => String.fromCharCode(code)),
  maxLength: 200,
});
const style: fc.Arbitrary<FieldStyle> = fc.record({
  huffman: fc.boolean(),
  literal: fc.constantFrom("incremental", "without-indexing", "never-indexed"),
  indexed: fc.boolean(),
});

Deno.test("HpackDecoder: decodes resizes, evictions and every representation", () => {
  const name = fc.constantFrom(":path", "grpc-status", "x-a", "x-b", "");
  const value = fc.oneof(fc.constantFrom("/", "/runtime.v1.ImageService/PullImage", "0"), text);
  const block = fc.record({
    resize: fc.option(fc.integer({ min: 0, max: 65_536 }), { nil: undefined }),
    fields: fc.array(fc.tuple(name, value), { maxLength: 12 }),
    style,
  });
  fc.assert(fc.property(fc.array(block, { maxLength: 12 }), (blocks) => {
    const encoder = new HpackEncoder();
    const decoder = new HpackDecoder();
    for (const { resize, fields, style } of blocks) {
      const before = resize === undefined ? new Uint8Array(0) : encoder.resize(resize);
      const bytes = Uint8Array.of(...before, ...encoder.encode(fields, style));
      assert.deepEqual(decode(decoder, bytes), fields);
      assert.ok(decoder.table().bytes <= 65_536);
    }
  }));
});

function refuses(block: string, reason: WireError["reason"]): void {
  assert.throws(
    () => decode(new HpackDecoder(), hex(block)),
    (error) => error instanceof WireError && error.reason === reason,
    block,
  );
}

Deno.test("HpackDecoder: rejects malformed blocks", () => {
  refuses("80", "malformed-headers"); // index 0
  refuses("be", "malformed-headers"); // index 62 of an empty table
  refuses("ff ff ff ff ff ff ff 7f", "malformed-headers"); // an index over the limit
  refuses(`00 01 61 7f ${"80".repeat(200)} 00 82`, "malformed-headers"); // an endless integer
  refuses("3f 80 80 80 80 02 82", "headers-too-large"); // a size of 512 MiB
  refuses("3f 80 80 80 80 7f 82", "headers-too-large"); // a size of 34 GB
  refuses("40 05 61", "malformed-headers"); // a string beyond the block
  refuses("00 01 61 05 62", "malformed-headers"); // a value beyond the block
  refuses("40", "malformed-headers"); // no name
  refuses("00 81 ff 00", "malformed-headers"); // padding of 8 bits
  refuses("00 84 ffff fffc 00", "malformed-headers"); // EOS
  refuses("82 20", "malformed-headers"); // a resize after a field
  refuses("3f e2 ff 03 82", "headers-too-large"); // a table of 65,537 bytes
  assert.deepEqual(decode(new HpackDecoder(), hex("3f e1 ff 03 82")), [[":method", "GET"]]);
});

Deno.test("HpackDecoder: reads integers with at most four bytes more than needed", () => {
  const padded = (bytes: number) => `00 01 61 7f ${"80".repeat(bytes)} 00 ${"62".repeat(127)}`;
  assert.deepEqual(decode(new HpackDecoder(), hex(padded(4))), [["a", "b".repeat(127)]]);
  refuses(padded(5), "malformed-headers");
});

Deno.test("HpackDecoder: evicts the oldest fields when the table is made smaller", () => {
  const decoder = new HpackDecoder();
  decode(decoder, hex("40 01 61 01 62 40 01 63 01 64")); // a: b, and then c: d
  assert.equal(decoder.table().bytes, 68);
  decode(decoder, hex("3f 03")); // 34 bytes
  assert.deepEqual(decoder.table(), { fields: [{ name: "c", value: "d" }], bytes: 34 });
  assert.throws(() => decode(decoder, hex("bf")), WireError);
});

Deno.test("HpackDecoder: keeps fields that fill the table exactly", () => {
  const decoder = new HpackDecoder();
  decode(decoder, new HpackEncoder().resize(68));
  decode(decoder, hex("40 01 61 01 62 40 01 63 01 64")); // a: b, and then c: d
  assert.deepEqual(decode(decoder, hex("bf")), [["a", "b"]]);
});

Deno.test("HpackDecoder: decodes the last index of the static table", () => {
  assert.deepEqual(decode(new HpackDecoder(), hex("bd")), [["www-authenticate", ""]]);
});

Deno.test("HpackDecoder: decodes or rejects any bytes", () => {
  fc.assert(fc.property(fc.array(fc.uint8Array({ maxLength: 300 })), (blocks) => {
    const decoder = new HpackDecoder();
    for (const block of blocks) {
      try {
        decode(decoder, block);
      } catch (error) {
        assert.ok(error instanceof WireError);
        return;
      }
      assert.ok(decoder.table().bytes <= 65_536);
    }
  }));
});

Deno.test("STATIC_TABLE: has the fields of RFC 7541, appendix A, at their positions", () => {
  assert.equal(STATIC_TABLE.length, 61);
  const fields = [1, 8, 16, 17, 23, 28, 32, 39, 49, 57, 61].map((index) => STATIC_TABLE[index - 1]);
  assert.deepEqual(fields.map((field) => `${field?.name} ${field?.value}`.trim()), [
    ":authority",
    ":status 200",
    "accept-encoding gzip, deflate",
    "accept-language",
    "authorization",
    "content-length",
    "cookie",
    "if-match",
    "proxy-authorization",
    "transfer-encoding",
    "www-authenticate",
  ]);
});
