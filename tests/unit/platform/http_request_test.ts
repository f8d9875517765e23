import { deepEqual, equal, rejects } from "node:assert/strict";
import { MessageReader } from "../../../lib/platform/http1.ts";
import { readRequest, RequestError } from "../../../lib/platform/http_server.ts";

/** Returns a reader of a text that arrives in pieces of `pieceBytes`. */
function readerOf(text: string, pieceBytes = Infinity): MessageReader {
  let rest = new TextEncoder().encode(text);
  const read = (into: Uint8Array) => {
    if (rest.length === 0) return Promise.resolve(null);
    const piece = rest.subarray(0, Math.min(pieceBytes, into.length));
    into.set(piece);
    rest = rest.subarray(piece.length);
    return Promise.resolve(piece.length);
  };
  return new MessageReader({ read }, { strict: true });
}

const HOST = "host: localhost\r\n";

async function statusOf(text: string): Promise<number | "read" | "ended"> {
  try {
    return await readRequest(readerOf(text)) === undefined ? "ended" : "read";
  } catch (error) {
    if (error instanceof RequestError) return error.status;
    throw error;
  }
}

Deno.test("readRequest: reads requests one after another, in pieces of any size", async () => {
  const text = `GET /a?b=1 HTTP/1.1\r\n${HOST}X-A:  b \r\n\r\n` +
    `POST /c HTTP/1.1\r\n${HOST}Content-Length: 3\r\n\r\nabc` +
    `PUT /d HTTP/1.1\r\n${HOST}Transfer-Encoding: Chunked\r\n\r\n2\r\nab\r\n1\r\nc\r\n0\r\n\r\n` +
    `GET http://localhost/e HTTP/1.1\r\n${HOST}Connection: x, Close\r\n\r\n` +
    "GET / HTTP/1.0\r\n\r\n";
  for (const pieceBytes of [1, 3, 7, Infinity]) {
    const reader = readerOf(text, pieceBytes);
    const seen: string[] = [];
    while (true) {
      const next = await readRequest(reader);
      if (next === undefined) break;
      const { request, keepAlive } = next;
      const target = request.url.replace("http://localhost", "");
      seen.push(`${request.method} ${target} "${await request.text()}" ${keepAlive}`);
      if (target.startsWith("/a")) equal(request.headers.get("x-a"), "b");
    }
    deepEqual(seen, [
      'GET /a?b=1 "" true',
      'POST /c "abc" true',
      'PUT /d "abc" true',
      'GET /e "" false',
      'GET / "" false',
    ]);
  }
});

Deno.test("readRequest: ignores the body of a GET, and limits the length of a target", async () => {
  const withBody = `GET / HTTP/1.1\r\n${HOST}Content-Length: 3\r\n\r\nabc`;
  equal((await readRequest(readerOf(withBody)))?.request.body, null);
  const target = (length: number) => `GET /${"x".repeat(length - 1)} HTTP/1.1\r\n${HOST}\r\n`;
  equal(await statusOf(target(8_192)), "read");
  equal(await statusOf(target(8_193)), 414);
});

Deno.test("readRequest: rejects requests that could be used for request smuggling", async () => {
  const chunked = "Transfer-Encoding: chunked\r\n";
  const heads: readonly (readonly [string, number])[] = [
    [`${HOST}Content-Length: 3\r\n${chunked}`, 400],
    [`${HOST}${chunked}Content-Length: 3\r\n`, 400],
    [`${HOST}Content-Length: 3\r\nContent-Length: 3\r\n`, 400],
    [`${HOST}Content-Length: 3, 3\r\n`, 400],
    [`${HOST}Content-Length: +3\r\n`, 400],
    [`${HOST}Content-Length: 0x3\r\n`, 400],
    [`${HOST}Content-Length:\r\n`, 400],
    [`${HOST}Content-Length : 3\r\n`, 400],
    [`${HOST}${chunked}${chunked}`, 400],
    [`${HOST}Transfer-Encoding: gzip, chunked\r\n`, 501],
    [`${HOST}Transfer-Encoding: identity\r\n`, 501],
    [`${HOST}a: b\r\n c: d\r\n`, 400],
    [`${HOST}a: b\nc: d\r\n`, 400],
    [`${HOST}a: b\rc: d\r\n`, 400],
    [`${HOST}a: b\0\r\n`, 400],
    [`${HOST}: b\r\n`, 400],
    [`${HOST}a\r\n`, 400],
    [`${HOST}${HOST}`, 400],
    ["host: a/b\r\n", 400],
    ["", 400],
  ];
  for (const [head, status] of heads) {
    equal(await statusOf(`POST / HTTP/1.1\r\n${head}\r\nabc`), status, head);
  }
  equal(await statusOf(`POST / HTTP/1.0\r\n${HOST}${chunked}\r\n0\r\n\r\n`), 400);
  const bodies = [
    "3;a=b\r\nabc\r\n0\r\n\r\n",
    "3\nabc\r\n0\r\n\r\n",
    "-1\r\n",
    "\r\n",
    " 3\r\nabc\r\n",
  ];
  for (const body of [...bodies, "3\r\nabcd\r\n", "0\r\na: b\r\n\r\n", "1".repeat(300)]) {
    equal(await statusOf(`POST / HTTP/1.1\r\n${HOST}${chunked}\r\n${body}`), 400, body);
  }
});

Deno.test("readRequest: rejects other request lines and versions", async () => {
  const lines: readonly (readonly [string, number])[] = [
    ["GET / HTTP/2.0", 505],
    ["GET / HTTP/0.9", 505],
    ["GET /", 400],
    ["GET  / HTTP/1.1", 400],
    ["get / HTTP/1.1", 400],
    ["GET * HTTP/1.1", 400],
    ["GET a HTTP/1.1", 400],
    ["GET /a#b HTTP/1.1", 400],
    ["GET /\u00e9 HTTP/1.1", 400],
    ["GET http://other/ HTTP/1.1", 400],
    ["CONNECT localhost:1 HTTP/1.1", 400],
    ["TRACE / HTTP/1.1", 400],
    ["", 400],
  ];
  for (const [line, status] of lines) equal(await statusOf(`${line}\r\n${HOST}\r\n`), status, line);
  equal(await statusOf("PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"), "ended");
});

Deno.test("readRequest: limits the head, the target and the body", async () => {
  const post = `POST / HTTP/1.1\r\n${HOST}`;
  equal(await statusOf(`GET /${"a".repeat(9_000)} HTTP/1.1\r\n${HOST}\r\n`), 414);
  equal(await statusOf(`GET /${"a".repeat(8_000)} HTTP/1.1\r\n${HOST}\r\n`), "read");
  equal(await statusOf(`${post}a: ${"b".repeat(17_000)}`), 431);
  equal(await statusOf(`${post}${"a: b\r\n".repeat(100)}\r\n`), 431);
  equal(await statusOf(`${post}Content-Length: 65537\r\n\r\n`), 413);
  equal(await statusOf(`${post}Content-Length: 65536\r\n\r\n${"x".repeat(65_536)}`), "read");
  const chunk = `8000\r\n${"x".repeat(0x8000)}\r\n`;
  const chunked = `${post}Transfer-Encoding: chunked\r\n\r\n`;
  equal(await statusOf(`${chunked}${chunk}${chunk}0\r\n\r\n`), "read");
  equal(await statusOf(`${chunked}${chunk}${chunk}1\r\nx\r\n0\r\n\r\n`), 413);
  equal(await statusOf(`${chunked}ffffffff\r\n`), 413);
  equal(await statusOf(`${post}Content-Length: 3\r\n\r\nab`), "ended");
  await rejects(
    readRequest(readerOf("\0")).then(() => readRequest(readerOf("GET\r\n\r\n"))),
    RequestError,
  );
});
