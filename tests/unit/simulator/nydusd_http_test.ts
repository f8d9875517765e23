import { deepEqual, equal, match, ok } from "node:assert/strict";
import { type RawMessage, RequestReader } from "../../../lib/simulator/nydusd_http.ts";

/** Reads all messages from bytes that arrive in pieces of `size`. */
async function messages(text: string, size = 16 * 1024): Promise<RawMessage[]> {
  let rest = new TextEncoder().encode(text);
  const reader = new RequestReader({
    read(into) {
      if (rest.length === 0) return Promise.resolve(null);
      const piece = rest.subarray(0, Math.min(size, into.length));
      into.set(piece);
      rest = rest.subarray(piece.length);
      return Promise.resolve(piece.length);
    },
  });
  const all: RawMessage[] = [];
  for (let next = await reader.next(); next; next = await reader.next()) all.push(next);
  return all;
}

function put(body: string): string {
  const head = `PUT /api/v1/config?id=%2F7 HTTP/1.1\r\nContent-Length: ${body.length}`;
  return `${head}\r\n\r\n${body}`;
}

const GET = "GET /api/v1/daemon HTTP/1.1\r\n\r\n";

function summary(message: RawMessage): string {
  if (message.kind === "refused") return "refused";
  const { method, path, query, body } = message.request;
  return `${method} ${path} ${query.get("id")} ${body}`;
}

Deno.test("RequestReader: reads two requests from one chunk", async () => {
  deepEqual((await messages(put("{}") + GET)).map(summary), [
    "PUT /api/v1/config /7 {}",
    "GET /api/v1/daemon null ",
  ]);
});

Deno.test("RequestReader: reads requests byte by byte", async () => {
  const text = put('{"a":"b"}') + GET + put("{}");
  deepEqual(await messages(text, 1), await messages(text));
  equal((await messages(text, 1)).length, 3);
});

Deno.test("RequestReader: ignores a truncated request", async () => {
  deepEqual(await messages(put("{}").slice(0, -1)), []);
  deepEqual(await messages(GET.slice(0, -2)), []);
});

Deno.test("RequestReader: accepts the absolute form of proxy clients", async () => {
  const [message] = await messages("GET http://nydusd/api/v1/config?id=/ HTTP/1.1\r\n\r\n");
  equal(message && summary(message), "GET /api/v1/config / ");
});

Deno.test("RequestReader: rejects a chunked body with invalid JSON", async () => {
  const head = "PUT /api/v1/config HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n";
  const [message, ...more] = await messages(`${head}2\r\n{}\r\n0\r\n\r\n`);
  ok(message?.kind === "refused");
  let parsed = true;
  try {
    JSON.parse(message.text);
  } catch {
    parsed = false;
  }
  equal(parsed, false);
  deepEqual(more, []);
});

Deno.test("RequestReader: accepts a body of 51,200 bytes", async () => {
  const all = await messages(put("x".repeat(51_200)));
  deepEqual(all.map(({ kind }) => kind), ["request"]);
});

Deno.test("RequestReader: rejects a larger body, and echoes 1 KiB of it in the second error", async () => {
  const all = await messages(put("s".repeat(51_201)));
  ok(all.every(({ kind }) => kind === "refused"));
  const [first, second] = all.map((message) => message.kind === "refused" ? message.text : "");
  match(first ?? "", /payload with size 51201 is larger than the limit of 51200/);
  equal(first?.includes("sss"), false);
  equal(/s{500,}/.exec(second ?? "")?.[0].length, 1_024);
});

Deno.test("RequestReader: the rest of a large body corrupts the next request", async () => {
  const all = await messages(put("s".repeat(51_300)) + GET);
  deepEqual(all.filter(({ kind }) => kind === "request"), []);
});

Deno.test("RequestReader: rejects and echoes a header line over 1 KiB", async () => {
  const line = (length: number) => `X-A: ${"s".repeat(length - 5)}`;
  const text = (length: number) => `GET /api/v1/daemon HTTP/1.1\r\n${line(length)}\r\n\r\n`;
  deepEqual((await messages(text(1_022))).map(({ kind }) => kind), ["request"]);
  const [first] = await messages(text(1_026));
  ok(first?.kind === "refused" && first.text.includes("sssss"));
});
