import assert from "node:assert/strict";
import { parseImageReference } from "../../../lib/model/mod.ts";
import {
  CriConnectionReader,
  type CriNote,
  type PullChange,
  PullCredentialCache,
} from "../../../lib/cri/mod.ts";
import {
  Conversation,
  PLAIN,
  PULL,
  pulled,
  REMOVE,
  type Sent,
  type WireCall,
} from "../../fakes/cri_conversation.ts";
import {
  field,
  pullImageRequest,
  pullImageResponse,
  removeImageRequest,
} from "../../fakes/cri_messages.ts";
import {
  cut,
  dataFrame,
  FLAG,
  FRAME,
  frame,
  grpcMessage,
  HpackEncoder,
  joined,
  PREFACE,
} from "../../fakes/http2_peer.ts";

const NOW_MS = 1_750_000_000_000;

/** A reader, its cache, and its notes. */
function desk() {
  const notes: CriNote[] = [];
  const changes: string[] = [];
  const changed = ({ kind, image }: PullChange) => changes.push(`${kind} ${image.text}`);
  const cache = new PullCredentialCache({ now: () => NOW_MS, changed });
  const reader = new CriConnectionReader({ cache, note: (note) => notes.push(note) });
  const hear = (sent: Iterable<Sent>) => {
    for (const { from, bytes } of sent) {
      if (from === "client") reader.fromClient(bytes);
      else reader.fromServer(bytes);
    }
  };
  const password = (image: string) => {
    const credential = cache.lookup(parseImageReference(image))?.credential;
    return credential?.kind === "basic" ? credential.password.reveal() : credential?.kind;
  };
  return { cache, reader, notes, changes, hear, password };
}

function pull(image: string, password: string, answer: WireCall["answer"]): WireCall {
  const auth = { username: "robot", password };
  return { path: PULL, message: pullImageRequest({ image, auth }), answer };
}

const OK = pulled(`sha256:${"a".repeat(64)}`);
const REFUSED: WireCall["answer"] = {
  kind: "status",
  status: "2",
  text: "failed to resolve reference: unexpected status from HEAD request: 401 Unauthorized",
};
const NO_SPACE: WireCall["answer"] = {
  kind: "status",
  status: "2",
  text: "failed to extract layer: no space left on device",
};

Deno.test("CriConnectionReader: counts calls of any method in flight", () => {
  for (const end of ["message", "status", "server", "client", "none"] as const) {
    const { reader, hear } = desk();
    const conversation = new Conversation();
    hear(conversation.opening());
    assert.equal(reader.callsInFlight, 0);
    const answer: WireCall["answer"] = end === "message"
      ? OK
      : end === "status"
      ? REFUSED
      : end === "none"
      ? { kind: "none" }
      : { kind: "reset", by: end };
    const steps: Sent[] = [
      ...conversation.call({ path: "/any/Method", message: new Uint8Array(9), answer }),
    ];
    for (const [i, step] of steps.entries()) {
      hear([step]);
      assert.equal(reader.callsInFlight, end !== "none" && i === steps.length - 1 ? 0 : 1, end);
    }
    const other = [...conversation.call(pull("nginx", "pw", { kind: "none" }))];
    hear(other);
    assert.equal(reader.callsInFlight, end === "none" ? 2 : 1);
    reader.closed();
    assert.equal(reader.callsInFlight, 0);
  }
});

Deno.test("CriConnectionReader: has no calls in flight after a direction was lost", () => {
  for (const side of ["fromClient", "fromServer"] as const) {
    const { reader, hear } = desk();
    const conversation = new Conversation();
    hear(conversation.opening());
    hear(conversation.call(pull("nginx", "pw", { kind: "none" })));
    assert.equal(reader.callsInFlight, 1);
    reader[side](new Uint8Array(64).fill(255));
    reader[side](new Uint8Array(20_000_000).fill(1));
    assert.equal(reader.callsInFlight, 0, side);
  }
});

Deno.test("CriConnectionReader: records a pull when its request is complete, and confirms it by its response", () => {
  const { cache, hear, changes, password } = desk();
  const talk = new Conversation();
  hear(talk.opening());
  const style = { ...PLAIN, dataCuts: [0.3, 0.9] };
  const steps = [...talk.call({ ...pull("nginx", "pw", OK), style })];
  const requestSteps = steps.filter(({ from }) => from === "client").length;
  hear(steps.slice(0, requestSteps - 1));
  assert.equal(cache.size, 0);
  hear(steps.slice(requestSteps - 1, requestSteps));
  assert.equal(password("docker.io/library/nginx:latest"), "pw");
  assert.deepEqual(changes, ["seen docker.io/library/nginx:latest"]);
  hear(steps.slice(requestSteps));
  assert.deepEqual(changes.slice(1), ["confirmed docker.io/library/nginx:latest"]);
  assert.equal(cache.lookup(parseImageReference("nginx"))?.seenAtMs, NOW_MS);
});

Deno.test("CriConnectionReader: a refused pull restores the previous credential, another failure does not", () => {
  const { hear, password, notes } = desk();
  const talk = new Conversation();
  hear(talk.opening());
  hear(talk.call(pull("nginx", "good", OK)));
  hear(talk.call(pull("nginx", "wrong", REFUSED)));
  assert.equal(password("nginx"), "good");
  hear(talk.call(pull("nginx", "newer", NO_SPACE)));
  assert.equal(password("nginx"), "newer");
  hear(talk.call(pull("nginx", "denied", { kind: "status", status: "16", text: "" })));
  assert.equal(password("nginx"), "newer");
  hear(talk.call(pull("redis", "wrong", REFUSED)));
  assert.equal(password("redis"), undefined);
  for (const by of ["client", "server"] as const) {
    hear(talk.call(pull("redis", by, { kind: "reset", by })));
    assert.equal(password("redis"), by);
  }
  assert.deepEqual(notes, []);
});

Deno.test("CriConnectionReader: completes concurrent pulls of one image independently", () => {
  const { hear, password } = desk();
  const talk = new Conversation();
  hear(talk.opening());
  const first = [...talk.call(pull("nginx", "first", OK))];
  const second = [...talk.call(pull("nginx", "second", REFUSED))];
  const ofClient = ({ from }: Sent) => from === "client";
  const ofServer = ({ from }: Sent) => from === "server";
  hear([...first.filter(ofClient), ...second.filter(ofClient)]);
  assert.equal(password("nginx"), "second");
  // HPACK depends on the order: the first response was encoded first.
  hear([...first.filter(ofServer), ...second.filter(ofServer)]);
  assert.equal(password("nginx"), "first");
});

Deno.test("CriConnectionReader: RemoveImage removes after success, by reference and by ID", () => {
  const { hear, password, changes } = desk();
  const talk = new Conversation();
  const remove = (image: string, answer: WireCall["answer"]) =>
    hear(talk.call({ path: REMOVE, message: removeImageRequest(image), answer }));
  const done: WireCall["answer"] = { kind: "message", message: new Uint8Array(0) };
  hear(talk.opening());
  hear(talk.call(pull("nginx", "one", OK)));
  hear(talk.call(pull("other.example/same:image", "two", OK)));
  hear(talk.call(pull("redis", "three", pulled(`sha256:${"b".repeat(64)}`))));
  remove("nginx", NO_SPACE);
  remove("nginx", { kind: "reset", by: "client" });
  remove("postgres", done);
  remove(`sha256:${"c".repeat(64)}`, done);
  assert.equal(password("nginx"), "one");
  remove("b".repeat(64), done);
  assert.equal(password("redis"), undefined);
  // A runtime removes all references of an image.
  remove("nginx", done);
  assert.equal(password("nginx"), undefined);
  assert.equal(password("other.example/same:image"), undefined);
  assert.equal(changes.filter((line) => line.startsWith("forgotten")).length, 3);
});

Deno.test("CriConnectionReader: records the pod of a pull, with and without a credential", () => {
  const { hear, cache } = desk();
  const talk = new Conversation();
  const pod = { name: "web-0", uid: "u1", namespace: "shop" };
  const message = pullImageRequest({ image: "nginx", pod, extra: field(7, "x".repeat(40_000)) });
  hear(talk.opening());
  hear(talk.call({ path: PULL, message, answer: OK }));
  const image = parseImageReference("nginx");
  assert.deepEqual(cache.pods(image), [pod]);
  assert.equal(cache.lookup(image), undefined);
});

Deno.test("CriConnectionReader: reads runtime.v1alpha2, but no other services and methods", () => {
  const { hear, password, cache } = desk();
  const talk = new Conversation();
  const auth = { username: "robot", password: "pw" };
  const message = (image: string) => pullImageRequest({ image, auth });
  hear(talk.opening());
  hear(talk.call({ path: PULL.replace("v1", "v1alpha2"), message: message("old"), answer: OK }));
  const others = [
    "/runtime.v1.ImageService/ImageStatus",
    "/runtime.v2.ImageService/PullImage",
    "/runtime.v1.RuntimeService/PullImage",
    "/runtime.v1.ImageService/PullImage/",
    "",
  ];
  for (const path of others) hear(talk.call({ path, message: message("other"), answer: OK }));
  assert.equal(password("old"), "pw");
  assert.equal(cache.size, 1);
});

Deno.test("CriConnectionReader: skips unreadable messages with a note and reads on", () => {
  const { hear, cache, notes, password } = desk();
  const talk = new Conversation();
  hear(talk.opening());
  const send = (message: Uint8Array, rest: Partial<WireCall> = {}) =>
    hear(talk.call({ path: PULL, message, answer: OK, ...rest }));
  const auth = { username: "robot", password: "pw" };
  send(pullImageRequest({ image: "nginx", auth }), { flag: 1 });
  send(
    pullImageRequest({
      image: "nginx",
      auth,
      pod: { name: "p", uid: "", namespace: "n" },
      extra: field(7, "x".repeat(1_100_000)),
    }),
  );
  send(pullImageRequest({ image: "nginx", auth }).subarray(0, -1));
  send(pullImageRequest({ image: "nginx", auth }), { flag: 2 });
  send(pullImageRequest({ image: "a".repeat(64), auth }));
  send(pullImageRequest({ image: "nginx", auth: { auth: "?" } }));
  send(pullImageRequest({ image: "nginx", auth: { ...auth, serverAddress: "quay.io" } }));
  send(pullImageRequest({ image: "nginx", auth: { ...auth, password: "x".repeat(40_000) } }));
  send(removeImageRequest("nginx").subarray(1), { path: REMOVE });
  assert.equal(cache.size, 0);
  const image = "docker.io/library/nginx:latest";
  assert.deepEqual(notes, [
    { kind: "skipped", method: "PullImage", reason: "compressed" },
    { kind: "skipped", method: "PullImage", reason: "message-too-large" },
    { kind: "skipped", method: "PullImage", reason: "malformed-message" },
    { kind: "skipped", method: "PullImage", reason: "malformed-message" },
    { kind: "skipped", method: "PullImage", reason: "malformed-image" },
    { kind: "skipped", method: "PullImage", reason: "malformed-auth", image },
    { kind: "skipped", method: "PullImage", reason: "other-registry", image },
    { kind: "skipped", method: "PullImage", reason: "credential-too-large", image },
    { kind: "skipped", method: "RemoveImage", reason: "malformed-message" },
  ]);
  send(pullImageRequest({ image: "nginx", auth }));
  assert.equal(password("nginx"), "pw");
});

Deno.test("CriConnectionReader: reads requests of exactly a mebibyte", () => {
  for (const [bytes, expected] of [[1_048_576, []], [1_048_577, ["message-too-large"]]] as const) {
    const { hear, notes } = desk();
    const talk = new Conversation();
    hear(talk.opening());
    hear(talk.call({ path: PULL, message: big("nginx", bytes), answer: OK }));
    assert.deepEqual(notes.map((note) => note.kind === "skipped" && note.reason), expected);
  }
});

Deno.test("CriConnectionReader: reads responses of exactly 4 KiB", () => {
  const id = `sha256:${"b".repeat(64)}`;
  for (const [bytes, removed] of [[4_096, true], [4_097, false]] as const) {
    const { hear, password } = desk();
    const talk = new Conversation();
    hear(talk.opening());
    const plain = pullImageResponse(id);
    const extra = field(7, "x".repeat(bytes - plain.length - 3));
    const message = joined(plain, extra);
    assert.equal(message.length, bytes);
    hear(talk.call(pull("nginx", "pw", { kind: "message", message })));
    const done: WireCall["answer"] = { kind: "message", message: new Uint8Array(0) };
    hear(talk.call({ path: REMOVE, message: removeImageRequest(id), answer: done }));
    assert.equal(password("nginx") === undefined, removed, `${bytes} bytes`);
  }
});

Deno.test("CriConnectionReader: counts at most 10,000 calls in flight", () => {
  const { reader, hear } = desk();
  const talk = new Conversation();
  hear(talk.opening());
  const message = new Uint8Array(0);
  for (let i = 0; i < 10_001; i++) {
    hear(talk.call({ path: "/any/Method", message, answer: { kind: "none" } }));
  }
  assert.equal(reader.callsInFlight, 10_000);
});

/** Returns a pull request of a mebibyte. */
function big(image: string, bytes = 1_048_576): Uint8Array {
  const withPadding = (padding: number) =>
    pullImageRequest({
      image,
      auth: { username: "robot", password: "pw" },
      pod: { name: "p", uid: "u", namespace: "n" },
      extra: field(7, "x".repeat(padding)),
    });
  return withPadding(bytes - (withPadding(1_000_000).length - 1_000_000));
}

Deno.test("CriConnectionReader: limits the incomplete messages of a connection", () => {
  const { reader, hear, notes, password } = desk();
  const talk = new Conversation();
  hear(talk.opening());
  const calls = Array.from({ length: 6 }, (_, i) => {
    const style = { ...PLAIN, dataCuts: [0.5] };
    const message = big(`big-${i}`);
    return [...talk.call({ path: PULL, message, answer: { kind: "none" }, style })];
  });
  for (const step of [0, 1, 2]) hear(calls.flatMap((steps) => steps.slice(step, step + 1)));
  const skipped = notes.map((note) => note.kind === "skipped" ? note.reason : note.kind);
  assert.deepEqual(skipped, ["buffer-limit", "buffer-limit"]);
  assert.deepEqual(
    Array.from({ length: 6 }, (_, i) => password(`big-${i}`)),
    ["pw", "pw", "pw", "pw", undefined, undefined],
  );
  // Their memory is released.
  const style = { ...PLAIN, dataCuts: [0.5] };
  hear(talk.call({ path: PULL, message: big("later"), answer: OK, style }));
  assert.equal(password("later"), "pw");
  reader.closed();
});

Deno.test("CriConnectionReader: releases the message of a call that either side resets", () => {
  for (const side of ["fromClient", "fromServer"] as const) {
    const { reader, hear, notes } = desk();
    const talk = new Conversation();
    hear(talk.opening());
    for (let i = 0; i < 9; i++) {
      const message = big("nginx");
      const style = { ...PLAIN, dataCuts: [0.5] };
      const steps = talk.call({ path: PULL, message, answer: { kind: "none" }, style });
      hear([steps.next().value, steps.next().value] as Sent[]);
      reader[side](frame(FRAME.reset, 0, 2 * i + 1, [0, 0, 0, 8]));
    }
    assert.deepEqual(notes, [], side);
    assert.equal(reader.callsInFlight, 0);
  }
});

Deno.test("CriConnectionReader: drops the oldest of more than 256 calls", () => {
  const { hear, password } = desk();
  const talk = new Conversation();
  hear(talk.opening());
  hear(talk.call(pull("redis", "proven", OK)));
  const oldest = talk.call(pull("redis", "oldest", REFUSED));
  const begin = (steps: Iterator<Sent>, count: number) =>
    hear(Array.from({ length: count }, () => steps.next().value as Sent));
  begin(oldest, 2);
  const second = talk.call(pull("nginx", "second", REFUSED));
  begin(second, 2);
  for (let i = 0; i < 255; i++) hear(talk.call(pull(`app-${i}`, "pw", { kind: "none" })));
  // The oldest call is no longer tracked, so its response has no effect.
  hear(oldest);
  assert.equal(password("redis"), "oldest");
  hear(second);
  assert.equal(password("nginx"), undefined);
});

Deno.test("CriConnectionReader: a response without trailers ends its call", () => {
  const { reader, hear, password } = desk();
  const talk = new Conversation();
  hear(talk.opening());
  const waiting = talk.call(pull("redis", "waits", REFUSED));
  hear([waiting.next().value, waiting.next().value] as Sent[]);
  for (let i = 0; i < 300; i++) {
    hear(talk.call(pull(`app-${i}`, "pw", { kind: "none" })));
    reader.fromServer(dataFrame(2 * i + 3, Uint8Array.of(0), { endStream: true }));
  }
  hear(waiting);
  assert.equal(password("redis"), undefined, "300 others did not push it out");
});

Deno.test("CriConnectionReader: trailers of the client do not start an ended call again", () => {
  const { reader, hear } = desk();
  const talk = new Conversation();
  hear(talk.opening());
  hear(talk.call(pull("nginx", "pw", REFUSED)));
  assert.equal(reader.callsInFlight, 0);
  reader.fromClient(trailersOnly(1, "0"));
  assert.equal(reader.callsInFlight, 0);
});

Deno.test("CriConnectionReader: reads only the first message of a stream", () => {
  const { reader, hear, password, notes } = desk();
  const talk = new Conversation();
  hear(talk.opening());
  const auth = { username: "robot", password: "pw" };
  const first = grpcMessage(pullImageRequest({ image: "nginx", auth }));
  const both = joined(first, grpcMessage(pullImageRequest({ image: "redis", auth })));
  for (const [i, cuts] of [[], [0.1], [0.2, 0.7]].entries()) {
    const none = { kind: "none" } as const;
    const [head] = talk.call({ path: PULL, message: new Uint8Array(0), answer: none });
    if (head !== undefined) hear([head]);
    // Stream IDs are 1, 3, 5; the reserved bit is ignored.
    for (const part of cut(both, cuts)) {
      const sent = dataFrame(2 * i + 1, part);
      sent[5] = 0x80;
      reader.fromClient(sent);
    }
    assert.equal(password("nginx"), "pw");
    reader.fromServer(trailersOnly(2 * i + 1, "16"));
    assert.equal(password("nginx"), undefined);
  }
  assert.equal(password("redis"), undefined);
  assert.deepEqual(notes, []);
});

/** A refusal whose fields are not added to the table. */
function trailersOnly(streamId: number, status: string): Uint8Array {
  const block = new HpackEncoder().encode([["grpc-status", status]], {
    huffman: false,
    literal: "without-indexing",
    indexed: false,
  });
  return frame(FRAME.headers, FLAG.endHeaders | FLAG.endStream, streamId, block);
}

Deno.test("CriConnectionReader: stops reading other protocols with one note", () => {
  const http1 = new TextEncoder().encode("GET / HTTP/1.1\r\nHost: x\r\n\r\n");
  const client = desk();
  for (let i = 0; i < 3; i++) client.reader.fromClient(http1);
  client.reader.fromServer(http1);
  assert.deepEqual(client.notes, [{ kind: "lost", side: "client", reason: "not-http2" }]);
  const server = desk();
  for (let i = 0; i < 3; i++) server.reader.fromServer(http1);
  assert.deepEqual(server.notes, [{ kind: "lost", side: "server", reason: "not-http2" }]);
  const acknowledging = desk();
  acknowledging.reader.fromServer(frame(FRAME.settings, FLAG.ack, 0));
  assert.equal(acknowledging.notes.length, 1);
});

Deno.test("CriConnectionReader: without responses, records pulls and applies removals on request", () => {
  const { reader, hear, password } = desk();
  const talk = new Conversation();
  hear(talk.opening());
  hear(talk.call(pull("nginx", "good", OK)));
  const waiting = [...talk.call({
    path: REMOVE,
    message: removeImageRequest("nginx"),
    answer: { kind: "none" },
  })];
  hear(waiting);
  assert.equal(password("nginx"), "good");
  reader.fromServer(frame(FRAME.continuation, FLAG.endHeaders, 1, [0x82]));
  assert.equal(password("nginx"), undefined);
  hear(talk.call(pull("nginx", "unconfirmed", REFUSED)));
  assert.equal(password("nginx"), "unconfirmed");
  hear(talk.call({ path: REMOVE, message: removeImageRequest("nginx"), answer: NO_SPACE }));
  assert.equal(password("nginx"), undefined);
});

/** Invalid frames, each after the start of its direction. */
const BREACHES: readonly (readonly [string, Uint8Array])[] = [
  ["CONTINUATION without HEADERS", frame(FRAME.continuation, FLAG.endHeaders, 1, [0x82])],
  [
    "HEADERS inside a header block",
    joined(
      frame(FRAME.headers, 0, 1, [0x82]),
      frame(FRAME.headers, FLAG.endHeaders, 1, [0x82]),
    ),
  ],
  [
    "CONTINUATION of another stream",
    joined(
      frame(FRAME.headers, 0, 1, [0x82]),
      frame(FRAME.continuation, FLAG.endHeaders, 3, [0x82]),
    ),
  ],
  ["HEADERS on stream 0", frame(FRAME.headers, FLAG.endHeaders, 0, [0x82])],
  ["DATA on stream 0", dataFrame(0, Uint8Array.of(1))],
  ["padding longer than the frame", frame(FRAME.headers, FLAG.endHeaders | FLAG.padded, 1, [9, 1])],
  ["priority cut short", frame(FRAME.headers, FLAG.endHeaders | FLAG.priority, 1, [0, 0])],
  ["RST_STREAM of three bytes", frame(FRAME.reset, 0, 1, [0, 0, 0])],
  ["RST_STREAM of five bytes", frame(FRAME.reset, 0, 1, [0, 0, 0, 8, 0])],
  ["RST_STREAM on stream 0", frame(FRAME.reset, 0, 0, [0, 0, 0, 8])],
  [
    "CONTINUATION on stream 0",
    joined(frame(FRAME.headers, 0, 1, [0x82]), frame(FRAME.continuation, FLAG.endHeaders, 0, [])),
  ],
  ["PUSH_PROMISE", frame(FRAME.pushPromise, FLAG.endHeaders, 1, [0, 0, 0, 2, 0x82])],
  ["a header block of nonsense", frame(FRAME.headers, FLAG.endHeaders, 1, [0x80])],
];

Deno.test("CriConnectionReader: stops reading after invalid frames, with one note", () => {
  for (const [name, bytes] of BREACHES) {
    for (const side of ["client", "server"] as const) {
      const { reader, notes, hear } = desk();
      hear(new Conversation().opening());
      const give = (chunk: Uint8Array) =>
        side === "client" ? reader.fromClient(chunk) : reader.fromServer(chunk);
      give(bytes);
      give(bytes);
      assert.equal(notes.length, 1, `${name}, ${side}`);
      assert.deepEqual({ ...notes[0], reason: "" }, { kind: "lost", side, reason: "" }, name);
    }
  }
});

Deno.test("CriConnectionReader: stops reading when padding is longer than the data", () => {
  for (const [payload, isValid] of [[[1, 9], true], [[2, 9], false], [[], false]] as const) {
    const { reader, notes, hear } = desk();
    const talk = new Conversation();
    hear(talk.opening());
    const [head] = talk.call(pull("nginx", "pw", OK));
    if (head !== undefined) hear([head]);
    reader.fromClient(frame(FRAME.data, FLAG.padded, 1, payload));
    const lost: CriNote = { kind: "lost", side: "client", reason: "malformed-frame" };
    assert.deepEqual(notes, isValid ? [] : [lost], `${payload}`);
  }
});

Deno.test("CriConnectionReader: reads header blocks of exactly the limit", () => {
  const limit = 256 * 1_024;
  const block = (bytes: number) => new Uint8Array(bytes).fill(0x82); // :method GET
  const { reader, notes, hear } = desk();
  hear(new Conversation().opening());
  reader.fromClient(frame(FRAME.headers, FLAG.endHeaders, 1, block(limit)));
  reader.fromClient(frame(FRAME.headers, 0, 3, block(limit - 9)));
  reader.fromClient(frame(FRAME.continuation, FLAG.endHeaders, 3, block(9)));
  assert.deepEqual([notes, reader.callsInFlight], [[], 2]);
  reader.fromClient(frame(FRAME.headers, 0, 5, block(limit - 9)));
  reader.fromClient(frame(FRAME.continuation, FLAG.endHeaders, 5, block(10)));
  assert.deepEqual(notes, [{ kind: "lost", side: "client", reason: "headers-too-large" }]);
});

Deno.test("CriConnectionReader: stops reading after a header block over the limit", () => {
  const block = new Uint8Array(100_000);
  const flood = joined(
    frame(FRAME.headers, 0, 1, block),
    frame(FRAME.continuation, 0, 1, block),
    frame(FRAME.continuation, FLAG.endHeaders, 1, block),
  );
  for (const bytes of [flood, frame(FRAME.headers, FLAG.endHeaders, 1, new Uint8Array(300_000))]) {
    const { reader, notes, hear } = desk();
    hear(new Conversation().opening());
    reader.fromClient(bytes);
    assert.deepEqual(notes, [{ kind: "lost", side: "client", reason: "headers-too-large" }]);
  }
});

Deno.test("CriConnectionReader: reads responses of a half-closed client, and nothing after close", () => {
  const { hear, reader, password } = desk();
  const talk = new Conversation();
  hear(talk.opening());
  hear(talk.call(pull("nginx", "good", OK)));
  const steps = [...talk.call(pull("nginx", "wrong", REFUSED))];
  hear(steps.filter(({ from }) => from === "client"));
  reader.clientEnded();
  assert.equal(password("nginx"), "wrong");
  hear(steps.filter(({ from }) => from === "server"));
  assert.equal(password("nginx"), "good");
  const after = [...talk.call(pull("nginx", "after", OK))];
  hear(after);
  reader.closed();
  hear(after);
  assert.equal(password("nginx"), "good");
});

Deno.test("CriConnectionReader: does not propagate errors of callbacks", () => {
  const cache = new PullCredentialCache({
    now: () => NOW_MS,
    changed: () => {
      throw new Error("changed");
    },
  });
  const notes: CriNote[] = [];
  const reader = new CriConnectionReader({
    cache,
    note: (note) => {
      notes.push(note);
      throw new Error("note");
    },
  });
  const talk = new Conversation();
  for (const { from, bytes } of [...talk.opening(), ...talk.call(pull("nginx", "pw", OK))]) {
    if (from === "client") reader.fromClient(bytes);
    else reader.fromServer(bytes);
  }
  assert.deepEqual(notes, [{ kind: "lost", side: "client", reason: "internal-error" }]);
});

Deno.test("CriConnectionReader: skips 16 MiB of another method", () => {
  const { reader, hear, password } = desk();
  const talk = new Conversation();
  hear(talk.opening());
  const path = "/runtime.v1.ImageService/ListImages";
  const none = { kind: "none" } as const;
  const empty = [...talk.call({ path, message: new Uint8Array(0), answer: none })];
  hear(empty.slice(0, 1));
  const piece = dataFrame(1, new Uint8Array(16_384));
  for (let i = 0; i < 1_024; i++) reader.fromClient(piece);
  hear(talk.call(pull("nginx", "pw", OK)));
  assert.equal(password("nginx"), "pw");
});

Deno.test("CriConnectionReader: reads a preface byte by byte", () => {
  const { reader, hear, notes, password } = desk();
  const talk = new Conversation();
  for (const { from, bytes } of talk.opening()) {
    for (const byte of bytes) hear([{ from, bytes: Uint8Array.of(byte) }]);
  }
  hear(talk.call(pull("nginx", "pw", OK)));
  assert.equal(password("nginx"), "pw");
  assert.deepEqual(notes, []);
  const other = desk();
  other.reader.fromClient(joined(PREFACE.subarray(0, 23), [0]));
  assert.equal(other.notes.length, 1);
  reader.closed();
});
