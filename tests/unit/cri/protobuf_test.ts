import assert from "node:assert/strict";
import fc from "fast-check";
import {
  readPullImageRequest,
  readPullImageResponse,
  readRemoveImageRequest,
} from "../../../lib/cri/cri_messages.ts";
import { messageField, readFields, stringField } from "../../../lib/cri/protobuf.ts";
import {
  field,
  numberField,
  pullImageRequest,
  pullImageResponse,
  removeImageRequest,
  varint,
} from "../../fakes/cri_messages.ts";
import { joined } from "../../fakes/http2_peer.ts";

/** Fields of every wire type around the fields that are read, and groups with the same numbers. */
const STRANGERS: readonly Uint8Array[] = [
  numberField(1, 2 ** 40),
  numberField(99, 0),
  joined(varint(7 * 8 + 0), new Array(9).fill(255), [1]), // a negative number
  joined(varint(2 * 8 + 1), new Uint8Array(8)),
  joined(varint(3 * 8 + 5), new Uint8Array(4)),
  joined(varint(1 * 8 + 3), field(1, field(1, "fake")), varint(1 * 8 + 4)),
  joined([5 * 8 + 3, 6 * 8 + 3, 8, 1, 6 * 8 + 4, 5 * 8 + 4]),
  field(2 ** 29 - 1, "x"),
];

Deno.test("readFields: skips unknown fields of every wire type", () => {
  const auth = {
    username: "u",
    password: "p",
    auth: "a",
    serverAddress: "s",
    identityToken: "i",
    registryToken: "r",
  };
  const pod = { name: "n", uid: "u", namespace: "ns" };
  const known = pullImageRequest({ image: "nginx", auth, pod, extra: joined(...STRANGERS) });
  const message = joined(...STRANGERS, known, ...STRANGERS);
  assert.deepEqual(readPullImageRequest(message), { image: "nginx", auth, pod });
  assert.deepEqual(readFields(joined(...STRANGERS))?.map(({ number }) => number), [2 ** 29 - 1]);
});

Deno.test("messageField: merges occurrences; stringField uses the last one", () => {
  const message = joined(
    field(1, joined(field(1, "first"), field(1, "second"))),
    field(2, field(1, "user")),
    field(2, field(2, "password")),
    field(1, field(2, "an annotation")),
  );
  const request = readPullImageRequest(message);
  assert.equal(request?.image, "second");
  assert.equal(request?.auth.username, "user");
  assert.equal(request?.auth.password, "password");
});

Deno.test("readPullImageRequest: a truncated message is malformed or a shorter message", () => {
  const auth = { username: "user", password: "secret" };
  const whole = pullImageRequest({ image: "nginx", auth });
  const boundaries = [0, field(1, field(1, "nginx")).length, whole.length];
  for (let length = 0; length <= whole.length; length++) {
    const request = readPullImageRequest(whole.subarray(0, length));
    assert.equal(request !== undefined, boundaries.includes(length), `${length} bytes`);
  }
});

Deno.test("readFields: rejects malformed messages", () => {
  const refused: readonly (readonly [string, Uint8Array | readonly number[]])[] = [
    ["field number 0", [0x02, 0]],
    ["wire type 6", [0x0e, 0]],
    ["wire type 7", [0x0f, 0]],
    ["an endless varint", new Array(11).fill(255)],
    ["a field number of 30 bits", [...varint(2 ** 29 * 8 + 2), 0]],
    ["a group that does not end", [0x0b, 8, 1]],
    ["a group's end without a group", [0x0c]],
    ["a group that another one ends", [0x0b, 0x14]],
    ["groups without end", new Array(200).fill(0x0b)],
    ["101 groups in each other", [...new Array(101).fill(0x0b), ...new Array(101).fill(0x0c)]],
    ["a length beyond the message", [0x0a, 5, 1]],
    ["an absurd length", [0x0a, ...new Array(9).fill(255), 1]],
    ["too many fields", new Array(2 * 70_000).fill(0).map((_, i) => i % 2 === 0 ? 0x0a : 0)],
  ];
  for (const [name, bytes] of refused) {
    assert.equal(readFields(Uint8Array.from(bytes)), undefined, name);
  }
  const nested = Uint8Array.from([...new Array(100).fill(0x0b), ...new Array(100).fill(0x0c)]);
  assert.deepEqual(readFields(nested), [], "100 of them are passed over");
  assert.equal(readPullImageRequest(field(2, Uint8Array.of(0x0f))), undefined);
  assert.equal(readPullImageRequest(field(3, field(1, Uint8Array.of(0x0a, 9)))), undefined);
});

Deno.test("stringField: rejects text that is not UTF-8, and keeps a byte order mark", () => {
  const bad = Uint8Array.of(0xff);
  assert.equal(readPullImageRequest(field(1, field(1, bad))), undefined);
  assert.equal(readPullImageRequest(field(2, field(2, bad))), undefined);
  const fields = readFields(field(1, "\ufeffx"));
  assert.equal(fields && stringField(fields, 1), "\ufeffx");
});

Deno.test("readPullImageRequest: an empty request has neither image nor credential", () => {
  const request = readPullImageRequest(new Uint8Array(0));
  assert.equal(request?.image, "");
  assert.equal(request?.pod, undefined);
  assert.deepEqual(new Set(Object.values(request?.auth ?? {})), new Set([""]));
});

Deno.test("readPullImageRequest: ignores a pod without name or namespace, or with too long ones", () => {
  const pod = { name: "n", uid: "u", namespace: "ns" };
  const read = (change: Partial<typeof pod>) =>
    readPullImageRequest(pullImageRequest({ image: "nginx", pod: { ...pod, ...change } }))?.pod;
  assert.deepEqual(read({ uid: "" }), { ...pod, uid: "" });
  assert.equal(read({ name: "" }), undefined);
  assert.equal(read({ namespace: "" }), undefined);
  assert.equal(read({ uid: "x".repeat(513) }), undefined);
});

Deno.test("readPullImageResponse and readRemoveImageRequest: return the image", () => {
  assert.equal(readPullImageResponse(pullImageResponse("sha256:aa")), "sha256:aa");
  assert.equal(readPullImageResponse(pullImageResponse("")), undefined);
  assert.equal(readPullImageResponse(pullImageResponse("x".repeat(600))), undefined);
  assert.equal(readPullImageResponse(Uint8Array.of(0x0a, 9)), undefined);
  assert.equal(readRemoveImageRequest(removeImageRequest("nginx")), "nginx");
  assert.equal(readRemoveImageRequest(Uint8Array.of(0x0a, 9)), undefined);
});

Deno.test("readFields: reads or rejects any bytes", () => {
  fc.assert(fc.property(fc.uint8Array({ maxLength: 200 }), (bytes) => {
    const fields = readFields(bytes);
    if (fields === undefined) return;
    for (const { number } of fields) {
      stringField(fields, number);
      messageField(fields, number);
    }
  }));
});
