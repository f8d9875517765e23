import assert from "node:assert/strict";
import {
  readFields,
  readPullImageRequest,
  readPullImageResponse,
  readRemoveImageRequest,
} from "../../../lib/cri/cri_messages.ts";
import { WireError } from "../../../lib/cri/http2_frames.ts";
import {
  field,
  numberField,
  pullImageRequest,
  pullImageResponse,
  removeImageRequest,
  varint,
} from "../../fakes/cri_messages.ts";
import { joined } from "../../fakes/http2_peer.ts";

/** Fields of every wire type around the fields that are read. */
const STRANGERS: readonly Uint8Array[] = [
  numberField(1, 2 ** 40),
  numberField(99, 0),
  joined(varint(7 * 8 + 0), new Array(9).fill(255), [1]), // a negative number
  joined(varint(2 * 8 + 1), new Uint8Array(8)),
  joined(varint(3 * 8 + 5), new Uint8Array(4)),
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
  assert.equal(readFields(joined(...STRANGERS)).size, 0);
});

Deno.test("readPullImageRequest: uses the last occurrence of a field", () => {
  const message = joined(
    field(1, field(1, "first")),
    field(1, joined(field(1, "second"), field(1, "third"))),
    field(6, "x"),
    field(7, "too high to be kept"),
  );
  assert.equal(readPullImageRequest(message).image, "third");
  assert.deepEqual([...readFields(message).keys()], [1, 6]);
});

function isMalformed(read: () => unknown): boolean {
  try {
    read();
    return false;
  } catch (error) {
    return error instanceof WireError && error.reason === "malformed-message";
  }
}

Deno.test("readPullImageRequest: a truncated message is malformed or a shorter message", () => {
  const auth = { username: "user", password: "secret" };
  const whole = pullImageRequest({ image: "nginx", auth });
  const boundaries = [0, field(1, field(1, "nginx")).length, whole.length];
  for (let length = 0; length <= whole.length; length++) {
    const isCut = isMalformed(() => readPullImageRequest(whole.subarray(0, length)));
    assert.equal(isCut, !boundaries.includes(length), `${length} bytes`);
  }
});

Deno.test("readFields: rejects malformed messages", () => {
  const refused: readonly (readonly [string, Uint8Array | readonly number[]])[] = [
    ["field number 0", [0x02, 0]],
    ["wire type 6", [0x0e, 0]],
    ["wire type 7", [0x0f, 0]],
    ["an endless varint", new Array(11).fill(255)],
    ["a field number of 30 bits", [...varint(2 ** 29 * 8 + 2), 0]],
    ["a group", [0x0b, 8, 1, 0x0c]],
    ["a group's end", [0x0c]],
    ["a length beyond the message", [0x0a, 5, 1]],
    ["an absurd length", [0x0a, ...new Array(9).fill(255), 1]],
    ["a number cut short", [0x0d, 0, 0, 0]],
    ["a long number cut short", [0x09, 0, 0, 0, 0, 0, 0, 0]],
  ];
  for (const [name, bytes] of refused) {
    assert.ok(isMalformed(() => readFields(Uint8Array.from(bytes))), name);
  }
  for (
    const message of [field(2, Uint8Array.of(0x0f)), field(3, field(1, Uint8Array.of(0x0a, 9)))]
  ) {
    assert.ok(isMalformed(() => readPullImageRequest(message)));
  }
});

Deno.test("readPullImageRequest: rejects text that is not UTF-8, and keeps a byte order mark", () => {
  const bad = Uint8Array.of(0xff);
  for (const message of [field(1, field(1, bad)), field(2, field(2, bad))]) {
    assert.ok(isMalformed(() => readPullImageRequest(message)));
  }
  assert.equal(readPullImageRequest(field(1, field(1, "\ufeffx"))).image, "\ufeffx");
});

Deno.test("readPullImageRequest: an empty request has neither image nor credential", () => {
  const request = readPullImageRequest(new Uint8Array(0));
  assert.equal(request.image, "");
  assert.equal(request.pod, undefined);
  assert.deepEqual(new Set(Object.values(request.auth)), new Set([""]));
});

Deno.test("readPullImageRequest: ignores a pod without name or namespace, or with too long ones", () => {
  const pod = { name: "n", uid: "u", namespace: "ns" };
  const read = (change: Partial<typeof pod>) =>
    readPullImageRequest(pullImageRequest({ image: "nginx", pod: { ...pod, ...change } })).pod;
  assert.deepEqual(read({ uid: "" }), { ...pod, uid: "" });
  assert.equal(read({ name: "" }), undefined);
  assert.equal(read({ namespace: "" }), undefined);
  assert.equal(read({ uid: "x".repeat(512) })?.uid.length, 512);
  assert.equal(read({ uid: "x".repeat(513) }), undefined);
});

Deno.test("readPullImageResponse and readRemoveImageRequest: return the image", () => {
  assert.equal(readPullImageResponse(pullImageResponse("sha256:aa")), "sha256:aa");
  assert.equal(readPullImageResponse(pullImageResponse("")), undefined);
  assert.equal(readPullImageResponse(pullImageResponse("x".repeat(512)))?.length, 512);
  assert.equal(readPullImageResponse(pullImageResponse("x".repeat(513))), undefined);
  assert.ok(isMalformed(() => readPullImageResponse(Uint8Array.of(0x0a, 9))));
  assert.equal(readRemoveImageRequest(removeImageRequest("nginx")), "nginx");
  assert.ok(isMalformed(() => readRemoveImageRequest(Uint8Array.of(0x0a, 9))));
});
