import { deepEqual, equal, ok, rejects, throws } from "node:assert/strict";
import fc from "fast-check";
import { Secret } from "../../../lib/model/mod.ts";
import {
  bodyFraming,
  type ByteSource,
  type ByteStream,
  ClientConnection,
  HttpMessageError,
  MessageReader,
  readText,
  writeHead,
} from "../../../lib/platform/http1.ts";
import { growthOf } from "../../extended/growth.ts";

const bytesOf = (text: string) => new TextEncoder().encode(text);
const textOf = (bytes: Uint8Array) => new TextDecoder().decode(bytes);

/** Returns a source whose bytes arrive in pieces that end at the given offsets. */
function sourceOf(bytes: Uint8Array, cuts: readonly number[] = []): ByteSource {
  const ends = [...new Set(cuts)].filter((at) => at > 0 && at < bytes.length).sort((a, b) => a - b);
  ends.push(bytes.length);
  let from = 0;
  let piece = 0;
  return {
    read(into) {
      while (from >= (ends[piece] ?? Infinity)) piece++;
      const end = ends[piece];
      if (end === undefined) return Promise.resolve(null);
      const part = bytes.subarray(from, Math.min(end, from + into.length));
      into.set(part);
      from += part.length;
      return Promise.resolve(part.length);
    },
  };
}

/** Returns a connection to a peer that sends a text and accepts everything. */
function peerThatSends(text: string): ByteStream {
  const write = (bytes: Uint8Array) => Promise.resolve(bytes.length);
  return { ...sourceOf(bytesOf(text)), write, close: () => {} };
}

const reader = (text: string) => new MessageReader(sourceOf(bytesOf(text)));

/** Reads one message with its body; "none" if it is invalid. */
async function read(bytes: Uint8Array, cuts: readonly number[] = []): Promise<unknown> {
  const messages = new MessageReader(sourceOf(bytes, cuts));
  try {
    const head = await messages.head();
    if (head === undefined) return "none";
    const framing = bodyFraming(head.headers, { unmarked: "until-close" });
    const body = await messages.wholeBody(framing, 1_000_000);
    return { ...head, headers: [...head.headers], body: textOf(body) };
  } catch (error) {
    ok(error instanceof HttpMessageError, Deno.inspect(error));
    return "none";
  }
}

const SIZED = "HTTP/1.1 200 OK\r\nContent-Length: 5\r\nX: y\r\n\r\nhello";
const CHUNKED =
  "HTTP/1.1 401 No\r\nTransfer-Encoding: chunked\r\n\r\n3;x=1\r\nhel\r\n2\r\nlo\r\n0\r\nt: 1\r\n\r\n";
const UNMARKED = "HTTP/1.0 200\r\n\r\nhello";

Deno.test("MessageReader: reads repeated and changed heads, wherever they are cut", async () => {
  const heads = [
    "A 1\r\nX: y\r\n\r\n",
    "A 1\r\nX: y\r\n\r\n",
    "A 1\r\nX: yz\r\n\r\n",
    "A 1\r\n\r\n",
  ];
  const bytes = bytesOf(heads.join(""));
  for (let cut = 1; cut < bytes.length; cut++) {
    const messages = new MessageReader(sourceOf(bytes, [cut]));
    const values: unknown[] = [];
    for (let i = 0; i < heads.length; i++) values.push((await messages.head())?.headers.get("x"));
    deepEqual(values, ["y", "y", "yz", undefined]);
    equal(await messages.head(), undefined);
  }
});

Deno.test("MessageReader: reads bodies by length, in chunks, and up to the end", async () => {
  for (const text of [SIZED, CHUNKED, UNMARKED]) {
    const message = await read(bytesOf(text)) as { startLine: string; body: string };
    deepEqual([message.startLine, message.body], [text.split("\r\n")[0], "hello"]);
  }
});

Deno.test("MessageReader: reads several messages from one connection", async () => {
  const messages = reader(SIZED + CHUNKED + SIZED);
  for (const status of ["200 OK", "401 No", "200 OK"]) {
    const head = await messages.head();
    equal(head?.startLine, `HTTP/1.1 ${status}`);
    const framing = bodyFraming(head.headers, { unmarked: "none" });
    equal(textOf(await messages.wholeBody(framing, 5)), "hello");
  }
  equal(messages.hasBufferedBytes, false);
  equal(await messages.head(), undefined);
});

Deno.test("MessageReader: recognizes a short head that is repeated", async () => {
  const head = (length: number) => `HTTP/1.1 204 No Content\r\nX: ${"y".repeat(length)}\r\n\r\n`;
  const isSame = async (length: number) => {
    const size = head(length).length;
    const messages = new MessageReader(sourceOf(bytesOf(head(length).repeat(3)), [size, 2 * size]));
    const first = await messages.head();
    return first !== undefined && first === await messages.head() &&
      first === await messages.head();
  };
  equal(await isSame(3_000), true);
  equal(await isSame(5_000), false, "it would take too much memory");
  const repeated = head(9).repeat(3) + head(8);
  for (let at = 1; at < repeated.length; at++) {
    const messages = new MessageReader(sourceOf(bytesOf(repeated), [at, at + 20]));
    for (const length of [9, 9, 9, 8]) {
      equal((await messages.head())?.headers.get("x")?.length, length, `cut at ${at}`);
    }
    equal(await messages.head(), undefined);
  }
});

Deno.test("MessageReader: has a small buffer again after a large message", async () => {
  const sizes: number[] = [];
  const large = `HTTP/1.1 204 No Content\r\nX: ${"y".repeat(50_000)}\r\n\r\n`;
  const source = sourceOf(bytesOf(`${large}A`), [large.length]);
  const messages = new MessageReader({
    read: (into) => (sizes.push(into.length), source.read(into)),
  });
  await messages.head();
  ok(Math.max(...sizes) > 4_096);
  await messages.begin();
  equal(sizes.at(-1), 4_096);
  equal(sizes[0], 4_096);
});

Deno.test("MessageReader: reads into buffers of 4 to 64 KiB, and keeps what was read", async () => {
  for (const length of [4_096, 300_000]) {
    const body = "abcdefg".repeat(length / 7).padEnd(length, "z");
    const head = `HTTP/1.1 200 OK\r\nContent-Length: ${length}\r\n\r\n`;
    const sizes: number[] = [];
    const source = sourceOf(bytesOf(head + body), [10, head.length + 100]);
    const messages = new MessageReader({
      read: (into) => (sizes.push(into.length), source.read(into)),
    });
    const framing = bodyFraming((await messages.head())!.headers, { unmarked: "none" });
    equal(textOf(await messages.wholeBody(framing, length)), body);
    deepEqual(sizes.slice(0, 2), [4_096, 4_086]);
    ok(Math.max(...sizes) <= 65_536 && sizes.length <= 10, `${sizes}`);
  }
});

Deno.test("MessageReader: joins repeated headers and ignores the case of names", async () => {
  const head = await reader("GET / HTTP/1.1\r\nA: 1\r\nhost:x\r\na:  2 \r\n\r\n").head();
  deepEqual([...head?.headers ?? []], [["a", "1, 2"], ["host", "x"]]);
});

Deno.test("MessageReader: rejects truncated, malformed and too long messages", async () => {
  const head = "HTTP/1.1 200 OK\r\n";
  const long = `${head}X: ${"a".repeat(70_000)}\r\n\r\n`;
  const chunked = `${head}Transfer-Encoding: chunked\r\n`;
  const none = [
    "",
    "SSH-2.0-x",
    "HTTP/1.1 200 OK\nContent-Length: 0\n\n",
    "\nHTTP/1.1 200 OK\r\n\r\n",
    `${head}no colon\r\n\r\n`,
    `${head}colon\r\n\r\n`,
    `${head}A: 1\r\n folded\r\n\r\n`,
    `${head}A : 1\r\n\r\n`,
    `${head}A: \0\r\n\r\n`,
    `${head}Content-Length: -1\r\n\r\n`,
    `${head}Content-Length: 1e3\r\n\r\n`,
    `${head}Content-Length: 1\r\nContent-Length: 2\r\n\r\nab`,
    `${chunked}Content-Length: 5\r\n\r\n0\r\n\r\n`,
    `${head}Transfer-Encoding: gzip, chunked\r\n\r\n0\r\n\r\n`,
    `${chunked}\r\nx\r\n\r\n`,
    `${chunked}\r\n5x\nhello\r\n0\r\n\r\n`,
    "HTTP/1.1 200 OKx\n\r\n",
    `${chunked}\r\n3\r\nhello\r\n0\r\n\r\n`,
    long,
  ];
  for (const text of none) equal(await read(bytesOf(text)), "none", text.slice(0, 60));
  for (const text of [SIZED, CHUNKED]) {
    for (let at = 1; at < text.length; at++) {
      equal(await read(bytesOf(text.slice(0, at))), "none", `cut at ${at}`);
    }
  }
  await rejects(reader(long).head(), { reason: "too-long" });
  await rejects(reader(SIZED).head({ maxBytes: 20 }), { reason: "too-long" });
  const [short] = SIZED.split("\r\n\r\n", 1);
  const maxBytes = `${short}\r\n`.length; // without the empty line
  equal((await reader(SIZED).head({ maxBytes }))?.startLine, "HTTP/1.1 200 OK");
  await rejects(reader(SIZED).head({ maxBytes: maxBytes - 1 }), { reason: "too-long" });
  await rejects(reader("x".repeat(11)).head({ maxBytes: 10 }), { reason: "incomplete" });
  await rejects(reader("x".repeat(12)).head({ maxBytes: 10 }), { reason: "too-long" });
  await rejects(reader("GET").head(), { reason: "incomplete" });
  ok(await reader(SIZED).head({ maxFields: 2 }));
  await rejects(reader(SIZED).head({ maxFields: 1 }), { reason: "too-long" });
  const message = "failed to read an HTTP message: malformed";
  await rejects(reader("\nHTTP/1.1 200 OK\r\n\r\n").head(), { reason: "malformed", message });
});

Deno.test("MessageReader: rejects a body over the limit", async () => {
  for (const text of [SIZED, CHUNKED, UNMARKED]) {
    const messages = reader(text);
    const framing = bodyFraming((await messages.head())!.headers, { unmarked: "until-close" });
    await rejects(messages.wholeBody(framing, 4), { reason: "too-large" });
    const exactly = reader(text);
    await exactly.head();
    equal(textOf(await exactly.wholeBody(framing, 5)), "hello");
  }
});

Deno.test("ClientConnection: sends a length where a body is expected, also if writes are partial", async () => {
  const sent = async (method: string, body?: string) => {
    let text = "";
    const stream: ByteStream = {
      ...peerThatSends("HTTP/1.1 204 No Content\r\n\r\n"),
      write(bytes) {
        text += String.fromCharCode(bytes[0] ?? 0);
        return Promise.resolve(1);
      },
    };
    await new ClientConnection(stream).send({
      method,
      target: "/",
      headers: [],
      ...(body !== undefined && { body: new Secret(body) }),
    });
    return text;
  };
  for (const method of ["GET", "HEAD"]) equal(await sent(method), `${method} / HTTP/1.1\r\n\r\n`);
  for (const method of ["PUT", "POST"]) {
    equal(await sent(method), `${method} / HTTP/1.1\r\nContent-Length: 0\r\n\r\n`);
    const withBody = `${method} / HTTP/1.1\r\nContent-Length: 2\r\n\r\nab`;
    equal(await sent(method, "ab"), withBody);
  }
});

Deno.test("ClientConnection: can be used again only after a response with a length over HTTP/1.1", async () => {
  const keepsAlive = async (head: string) => {
    const connection = new ClientConnection(peerThatSends(`${head}\r\n\r\n`));
    return (await connection.send({ method: "GET", target: "/", headers: [] })).keepAlive;
  };
  equal(await keepsAlive("HTTP/1.1 200 OK\r\nContent-Length: 1"), true);
  equal(await keepsAlive("HTTP/1.0 200 OK\r\nContent-Length: 1"), false);
  equal(await keepsAlive("HTTP/1.1 200 OK"), false);
  const closing = "HTTP/1.1 200 OK\r\nContent-Length: 1\r\nConnection: x, Close";
  equal(await keepsAlive(closing), false);
  equal(await keepsAlive("HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 204 No Content"), true);
  await rejects(keepsAlive("HTTP/1.1 099 Too Low"), { reason: "malformed" });
});

Deno.test("MessageReader: reads a chunk size of at most 256 characters", async () => {
  const head = "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n";
  const message = (extension: number) => `${head}5;${"x".repeat(extension)}\r\nhello\r\n0\r\n\r\n`;
  ok(await read(bytesOf(message(254))) !== "none");
  equal(await read(bytesOf(message(255))), "none");
});

Deno.test("ClientConnection: a response to HEAD, and one with status 204 or 304, has no body", async () => {
  const framing = async (status: number, method = "GET") => {
    const stream = peerThatSends(`HTTP/1.1 ${status} X\r\nContent-Length: 9\r\n\r\n`);
    const response = await new ClientConnection(stream).send({ method, target: "/", headers: [] });
    return response.framing.kind;
  };
  deepEqual(await Promise.all([200, 204, 304].map((status) => framing(status))), [
    "length",
    "none",
    "none",
  ]);
  equal(await framing(200, "HEAD"), "none");
});

Deno.test("ClientConnection: reports that the peer has closed an idle connection, or failed", async () => {
  for (const outcome of [() => Promise.resolve(null), () => Promise.reject(new Error("reset"))]) {
    const ended = Promise.withResolvers<void>();
    const stream = { read: outcome, write: () => Promise.resolve(1), close: () => {} };
    new ClientConnection(stream).idle(ended.resolve);
    await ended.promise;
  }
});

Deno.test("ClientConnection: keeps the process alive only during a request", async () => {
  const calls: string[] = [];
  const answer = "HTTP/1.1 204 No Content\r\n\r\n";
  const connection = new ClientConnection({
    ...sourceOf(bytesOf(answer.repeat(2)), [answer.length]),
    write: (bytes) => (calls.push("write"), Promise.resolve(bytes.length)),
    close: () => calls.push("close"),
    ref: () => calls.push("ref"),
    unref: () => calls.push("unref"),
  });
  const request = { method: "GET", target: "/", headers: [] };
  await connection.send(request);
  connection.idle(() => {});
  await connection.send(request);
  connection.close();
  deepEqual(calls, ["ref", "write", "unref", "ref", "write", "close"]);
});

Deno.test("readText: reads up to a limit", async () => {
  const chunks = () => ReadableStream.from([bytesOf("ab"), bytesOf("cd")]);
  deepEqual(await readText(chunks(), 4), { text: "abcd", isCut: false });
  deepEqual(await readText(chunks(), 3), { text: "abc", isCut: true });
  const bytes = ReadableStream.from([...bytesOf("aé")].map((byte) => Uint8Array.of(byte)));
  deepEqual(await readText(bytes, 4), { text: "aé", isCut: false });
});

Deno.test("writeHead: writes what MessageReader reads, and rejects line breaks", async () => {
  const head = writeHead("GET /a?b HTTP/1.1", [["Host", "x"], ["A", "1"]]);
  equal(head, "GET /a?b HTTP/1.1\r\nHost: x\r\nA: 1\r\n\r\n");
  deepEqual([...(await reader(head).head())?.headers ?? []], [["host", "x"], ["a", "1"]]);
  throws(() => writeHead("GET / HTTP/1.1", [["A", "secret\r\nB: 2"]]), /^TypeError: [^]*header$/);
  throws(() => writeHead("GET /\r\nA: b HTTP/1.1", []), TypeError);
  throws(() => writeHead("GET / HTTP/1.1", [["A b", "1"]]), TypeError);
});

/** Messages with some of their bytes changed or dropped. */
const hostile = fc.tuple(
  fc.constantFrom(SIZED, CHUNKED, UNMARKED),
  fc.array(
    fc.tuple(fc.nat({ max: 99 }), fc.constantFrom("", "\r", "\n", ":", "f", "\0", "é", "9")),
  ),
).map(([text, changes]) => {
  let changed = text;
  for (const [at, by] of changes) changed = changed.slice(0, at) + by + changed.slice(at + 1);
  return bytesOf(changed);
});

Deno.test("MessageReader: the result does not depend on how the bytes are split", async () => {
  const cuts = fc.array(fc.nat({ max: 120 }), { maxLength: 12 });
  await fc.assert(
    fc.asyncProperty(
      fc.oneof(hostile, fc.uint8Array({ maxLength: 200 })),
      cuts,
      async (all, at) => deepEqual(await read(all, at), await read(all)),
    ),
    { numRuns: 1_000 },
  );
});

Deno.test("MessageReader: takes linear time, also for pieces of one byte", async () => {
  const every = (bytes: Uint8Array) => Array.from(bytes, (_, i) => i);
  const shapes: readonly (readonly [string, (n: number) => string, boolean])[] = [
    ["a head, byte by byte", (n) => `HTTP/1.1 200 OK\r\nX: ${"a".repeat(n)}\r\n\r\n`, true],
    ["a head without end", (n) => "HTTP/1.1 200 OK\r\n" + "a: b\r\n".repeat(n / 6), false],
    ["chunks of one byte", (n) => {
      const head = "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n";
      return `${head}${"1\r\nx\r\n".repeat(n / 6)}0\r\n\r\n`;
    }, false],
  ];
  for (const [name, of, byBytes] of shapes) {
    const work = (text: string) => {
      const bytes = bytesOf(text);
      return read(bytes, byBytes ? every(bytes) : []);
    };
    const growth = await growthOf(work, of, 60_000);
    ok(growth.isLinear, `${name}: ${growth.details}`);
  }
});
