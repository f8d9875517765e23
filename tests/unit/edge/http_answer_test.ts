import { deepEqual, equal, ok, rejects } from "node:assert/strict";
import fc from "fast-check";
import { readHttpAnswer } from "../../../lib/edge/http_answer.ts";
import { AgentError } from "../../../lib/model/mod.ts";
import { growthOf } from "../fuzz/growth.ts";

const bytesOf = (text: string) => new TextEncoder().encode(text);

/** Bytes in pieces that end at some places. */
async function* pieces(bytes: Uint8Array, cuts: readonly number[]): AsyncGenerator<Uint8Array> {
  let from = 0;
  for (const to of [...new Set(cuts)].sort((a, b) => a - b)) {
    if (to >= bytes.length) break;
    yield bytes.slice(from, to);
    from = to;
  }
  yield bytes.slice(from);
}

/** What is read, or that it is none. */
async function read(bytes: Uint8Array, cuts: readonly number[] = []): Promise<unknown> {
  try {
    const { status, headers, body } = await readHttpAnswer(pieces(bytes, cuts));
    const decoder = new TextDecoder();
    let text = "";
    for await (const piece of body) text += decoder.decode(piece, { stream: true });
    return { status, headers: [...headers], text };
  } catch (error) {
    ok(error instanceof AgentError && error.code === "invalid-response", Deno.inspect(error));
    return "none";
  }
}

const SIZED = "HTTP/1.1 200 OK\r\nContent-Length: 5\r\nX: y\r\n\r\nhello";
const CHUNKED =
  "HTTP/1.1 401 No\r\nTransfer-Encoding: chunked\r\n\r\n3;x=1\r\nhel\r\n2\r\nlo\r\n0\r\n\r\n";
const OPEN = "HTTP/1.0 200\r\n\r\nhello";

Deno.test("readHttpAnswer reads a body by its length, in chunks, and to the end", async () => {
  for (const [text, status] of [[SIZED, 200], [CHUNKED, 401], [OPEN, 200]] as const) {
    const answer = await read(bytesOf(text)) as { readonly status: number; readonly text: string };
    deepEqual([answer.status, answer.text], [status, "hello"]);
  }
  const head = await readHttpAnswer(pieces(bytesOf(SIZED), []), { hasBody: false });
  equal((await Array.fromAsync(head.body)).length, 0);
});

Deno.test("readHttpAnswer refuses what is cut, too long, or no answer", async () => {
  const long = `HTTP/1.1 200 OK\r\nX: ${"a".repeat(70_000)}\r\n\r\n`;
  const head = "HTTP/1.1 200 OK\r\n";
  const bodies = [`${head}Content-Length: -1\r\n\r\n`, `${head}Content-Length: 1e3\r\n\r\n`];
  const none = [...bodies, "", "SSH-2.0-x\r\n\r\n", `${head}no colon\r\n\r\n`, long];
  for (const text of none) equal(await read(bytesOf(text)), "none", text.slice(0, 60));
  for (let at = 1; at < SIZED.length; at++) {
    equal(await read(bytesOf(SIZED.slice(0, at))), "none", `cut at ${at}`);
  }
  await rejects(readHttpAnswer(pieces(bytesOf(long), [])), { code: "invalid-response" });
});

/** Answers with a few of their bytes changed, dropped or doubled. */
const hostile = fc.tuple(
  fc.constantFrom(SIZED, CHUNKED, OPEN),
  fc.array(
    fc.tuple(fc.nat({ max: 99 }), fc.constantFrom("", "\r", "\n", ":", "f", "\0", "é", "9")),
  ),
).map(([text, changes]) => {
  let changed = text;
  for (const [at, by] of changes) changed = changed.slice(0, at) + by + changed.slice(at + 1);
  return bytesOf(changed);
});

Deno.test("readHttpAnswer of any bytes: an answer or its own error, however they are cut", async () => {
  const cuts = fc.array(fc.nat({ max: 120 }), { maxLength: 12 });
  await fc.assert(
    fc.asyncProperty(
      fc.oneof(hostile, fc.uint8Array({ maxLength: 200 })),
      cuts,
      async (all, at) => {
        deepEqual(await read(all, at), await read(all), "it depends on the pieces");
      },
    ),
    { numRuns: 1_000 },
  );
});

Deno.test("readHttpAnswer takes time in proportion to what comes, in pieces of one byte too", async () => {
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
    let growth = await growthOf(work, of, 60_000);
    if (!growth.isLinear) growth = await growthOf(work, of, 60_000);
    ok(growth.isLinear, `${name}: ${growth.told}`);
  }
});
