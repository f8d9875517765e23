import { deepEqual, equal, match, ok, rejects } from "node:assert/strict";
import {
  type Handler,
  HttpServer,
  type HttpServerOptions,
} from "../../../lib/platform/http_server.ts";
import { writeAll } from "../../../lib/platform/http1.ts";
import { FakeClock } from "../../fakes/clock.ts";

const GET = "GET / HTTP/1.1\r\nhost: localhost\r\n\r\n";
/** Larger than the kernel's buffers for a client that does not read. */
const HUGE = new Uint8Array(16 * 1024 * 1024);

interface Stage {
  readonly clock: FakeClock;
  readonly warnings: string[];
  connect(): Promise<Deno.TcpConn>;
}

async function onServer(
  handler: Handler,
  test: (stage: Stage) => Promise<void>,
  options: HttpServerOptions = {},
  wrap: (listener: Deno.TcpListener) => Deno.TcpListener = (listener) => listener,
): Promise<void> {
  const clock = new FakeClock();
  const warnings: string[] = [];
  const listener = Deno.listen({ hostname: "127.0.0.1", port: 0 });
  const { port } = listener.addr;
  const warn = (text: string) => void warnings.push(text);
  const server = new HttpServer(wrap(listener), handler, { clock, warn, ...options });
  const connections: Deno.TcpConn[] = [];
  try {
    await test({
      clock,
      warnings,
      async connect() {
        const connection = await Deno.connect({ hostname: "127.0.0.1", port });
        connections.push(connection);
        return connection;
      },
    });
  } finally {
    for (const connection of connections) {
      try {
        connection.close();
      } catch {
        // Closed by the test.
      }
    }
    await msUntil(clock, server[Symbol.asyncDispose]());
    equal(clock.sleeping, 0);
  }
}

async function send(connection: Deno.TcpConn, text: string): Promise<void> {
  await writeAll(connection, new TextEncoder().encode(text));
}

/** Reads until a text has arrived or the stream ends. */
async function receive(connection: Deno.TcpConn, until = "\0never"): Promise<string> {
  const buffer = new Uint8Array(65_536);
  let text = "";
  while (!text.includes(until)) {
    const count = await connection.read(buffer).catch(() => null);
    if (count === null) break;
    text += new TextDecoder().decode(buffer.subarray(0, count));
  }
  return text;
}

/** Returns whether the server has closed the connection after its response. */
async function isClosed(connection: Deno.TcpConn): Promise<true> {
  await receive(connection);
  return true;
}

/** Waits until sent bytes have arrived. */
async function pass(): Promise<void> {
  for (let i = 0; i < 50; i++) await new Promise<void>((resolve) => setImmediate(resolve));
}

/** Advances the clock until a condition is true, and returns by how much. */
async function msUntil(clock: FakeClock, happened: Promise<unknown>): Promise<number> {
  let is = false;
  void happened.then(() => is = true);
  const startMs = clock.monotonicMs();
  while (!is) {
    await clock.advance(500);
    await pass();
  }
  return clock.monotonicMs() - startMs;
}

/** Returns a response whose bytes are shared, to save memory. */
const huge: Handler = () =>
  new Response(ReadableStream.from([HUGE]), { headers: { "content-length": String(HUGE.length) } });

/** Starts as many large responses as are sent side by side. */
async function eightResponses(connect: Stage["connect"]): Promise<readonly Deno.TcpConn[]> {
  const connections: Deno.TcpConn[] = [];
  for (let i = 0; i < 8; i++) {
    const connection = await connect();
    await send(connection, GET);
    await receive(connection, "\r\n\r\n");
    connections.push(connection);
  }
  return connections;
}

/** Responds with bodies that do not end, and keeps the streams that they are read from. */
function endless() {
  const streams: ReadableStreamDefaultController<Uint8Array>[] = [];
  const handler: Handler = () => {
    const body = new ReadableStream<Uint8Array>({ start: (stream) => void streams.push(stream) });
    return new Response(body, { headers: { "content-length": "1000000" } });
  };
  return { streams, handler };
}

const hello: Handler = () => new Response("hello");
const echo: Handler = async (request) =>
  new Response(`${request.method} ${new URL(request.url).pathname} "${await request.text()}"`);

Deno.test("HttpServer: keeps HTTP/1.1 connections open, and closes them on request and for HTTP/1.0", () =>
  onServer(echo, async ({ connect }) => {
    const connection = await connect();
    for (const path of ["/a", "/b"]) {
      await send(connection, `POST ${path} HTTP/1.1\r\nhost: x\r\ncontent-length: 2\r\n\r\nhi`);
      match(
        await receive(connection, '"hi"'),
        new RegExp(`^HTTP/1.1 200 [^]*connection: keep-alive\r\n\r\nPOST ${path} "hi"$`),
      );
    }
    await send(connection, "GET /c HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n");
    match(await receive(connection), /connection: close\r\n\r\nGET \/c ""$/);
    const old = await connect();
    await send(old, "GET /d HTTP/1.0\r\n\r\n");
    match(await receive(old), /connection: close\r\n\r\nGET \/d ""$/);
  }));

Deno.test("HttpServer: responds to HEAD without a body, in order to pipelined requests, and to Expect", () =>
  onServer(echo, async ({ connect }) => {
    const connection = await connect();
    const expect =
      "PUT /b HTTP/1.1\r\nhost: x\r\nexpect: 100-continue\r\ncontent-length: 1\r\n\r\nx";
    const last = "GET /c HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n";
    await send(connection, `HEAD /a HTTP/1.1\r\nhost: x\r\n\r\n${expect}${last}`);
    const [head, put, get] = (await receive(connection)).split("HTTP/1.1 200 ").slice(1);
    ok(head?.endsWith("\r\n\r\n"), head);
    ok(put?.endsWith('\r\n\r\nPUT /b "x"'), put);
    ok(get?.endsWith('\r\n\r\nGET /c ""'), get);
  }));

Deno.test("HttpServer: drops the body of a response to HEAD", async () => {
  const cancelled = Promise.withResolvers<void>();
  const body = () =>
    new ReadableStream({
      cancel() {
        cancelled.resolve();
        throw new Error("failed to cancel");
      },
    });
  await onServer(() => new Response(body()), async ({ connect }) => {
    const connection = await connect();
    await send(connection, "HEAD / HTTP/1.1\r\nhost: x\r\n\r\n");
    match(await receive(connection, "\r\n\r\n"), /^HTTP\/1\.1 200 /);
    await cancelled.promise;
  });
});

Deno.test("HttpServer: sends no length with a status that has no body", () =>
  onServer((request) => {
    return new Response(null, { status: Number(new URL(request.url).pathname.slice(1)) });
  }, async ({ connect }) => {
    for (const [status, expected] of [[200, true], [204, false], [304, false]] as const) {
      const connection = await connect();
      await send(connection, `GET /${status} HTTP/1.1\r\nhost: x\r\n\r\n`);
      const answer = await receive(connection, "\r\n\r\n");
      equal(answer.includes("content-length"), expected, answer);
    }
  }));

Deno.test("HttpServer: keeps a connection open only while its unread responses are small", () =>
  onServer((request) => {
    const { pathname } = new URL(request.url);
    return new Response("x".repeat(Number(pathname.slice(1))));
  }, async ({ connect }) => {
    for (const [bytes, expected] of [[2_048, "keep-alive"], [2_049, "close"]] as const) {
      const connection = await connect();
      await send(connection, `GET /${bytes} HTTP/1.1\r\nhost: x\r\n\r\n`);
      const [, found] = /connection: (.*)\r\n/.exec(await receive(connection, "x".repeat(bytes))) ??
        [];
      equal(found, expected);
    }
  }));

Deno.test("HttpServer: checks deadlines only while there are clients", () =>
  onServer(hello, async ({ clock, connect }) => {
    const connection = await connect();
    await send(connection, "GET / HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n");
    await receive(connection);
    connection.close();
    while (clock.sleeping > 0) {
      await pass();
      await clock.advance(500);
    }
    ok(await msUntil(clock, isClosed(await connect())) >= 15_000, "checks the next client");
  }));

Deno.test("HttpServer: responds to malformed requests with 400 and closes the connection", () =>
  onServer(hello, async ({ connect }) => {
    const wrong = [
      "GET /\r\n\r\n",
      "POST / HTTP/1.1\r\nhost: x\r\ncontent-length: 1\r\ntransfer-encoding: chunked\r\n\r\n",
      "POST / HTTP/1.1\r\nhost: x\r\ntransfer-encoding: chunked\r\n\r\n1;x=y\r\na\r\n0\r\n\r\n",
    ];
    for (const text of wrong) {
      const connection = await connect();
      await send(connection, text + GET);
      const answer = await receive(connection);
      match(answer, /^HTTP\/1\.1 400 [^]*\r\n\r\n$/, text);
      match(answer, /\r\ncontent-length: 0\r\nconnection: close\r\n/);
    }
    const http2 = await connect();
    await send(http2, "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n");
    equal(await receive(http2), "", "HTTP/2 is not answered");
  }));

Deno.test("HttpServer: responds with 500 without details when a handler throws", () =>
  onServer(() => {
    throw new Error("hunter2-canary");
  }, async ({ connect }) => {
    const connection = await connect();
    await send(connection, GET);
    const text = await receive(connection, "\r\n\r\n");
    match(text, /^HTTP\/1\.1 500 /);
    ok(!text.includes("canary"));
  }));

Deno.test("HttpServer: closes connections whose head, body or next request does not come", () =>
  onServer(hello, async ({ clock, connect }) => {
    const cases: readonly (readonly [string, number])[] = [
      ["", 15_000],
      ["GET / HTTP/1.1\r\n", 5_000],
      ["POST / HTTP/1.1\r\nhost: x\r\ncontent-length: 9\r\n\r\nabc", 10_000],
      [GET, 15_000],
    ];
    for (const [text, afterMs] of cases) {
      const connection = await connect();
      await send(connection, text);
      const ms = await msUntil(clock, isClosed(connection));
      ok(ms >= afterMs && ms <= afterMs + 1_500, `"${text}": ${ms} ms`);
    }
  }));

Deno.test("HttpServer: serves a request although 64 others never finish their bodies", () =>
  onServer(echo, async ({ connect }) => {
    const unfinished = "POST / HTTP/1.1\r\nhost: x\r\ncontent-length: 9\r\n\r\nabc";
    for (let i = 0; i < 64; i++) await send(await connect(), unfinished);
    await pass();
    const other = await connect();
    await send(other, GET);
    match(await receive(other, '""'), /^HTTP\/1\.1 200 [^]*GET \/ ""$/);
  }, { maxConnections: 32 }));

Deno.test("HttpServer: a header that trickles does not extend the deadline", () =>
  onServer(hello, async ({ clock, connect }) => {
    const connection = await connect();
    await send(connection, "GET / HTTP/1.1\r\n");
    let isOpen = true;
    const trickle = (async () => {
      while (isOpen) {
        await send(connection, "a: b\r\n").catch(() => {});
        await new Promise((resolve) => setTimeout(resolve, 1));
      }
    })();
    const ms = await msUntil(clock, isClosed(connection));
    isOpen = false;
    await trickle;
    ok(ms <= 6_500, `${ms} ms`);
  }));

Deno.test("HttpServer: a client that does not read is cut off after 5 s", {
  ignore: /^2\.[0-8]\./.test(Deno.version.deno), // closing does not cancel a write there,
}, () =>
  onServer(huge, async ({ clock, connect }) => {
    const connection = await connect();
    await send(connection, GET);
    for (let ms = 0; ms < 8_000; ms += 500) {
      await pass();
      await clock.advance(500);
    }
    let received = 0;
    const buffer = new Uint8Array(65_536);
    for (let count; (count = await connection.read(buffer)) !== null;) received += count;
    ok(received < HUGE.length, `${received} bytes`);
  }));

Deno.test("HttpServer: stalled large responses do not block small ones", () =>
  onServer(
    (request) => request.url.endsWith("/livez") ? new Response("ok") : huge(request),
    async ({ clock, connect }) => {
      for (let i = 0; i < 100; i++) await send(await connect(), GET);
      await clock.waiting();
      const probe = await connect();
      await send(probe, "GET /livez HTTP/1.1\r\nhost: x\r\n\r\n");
      match(await receive(probe, "ok"), /^HTTP\/1\.1 200 [^]*ok$/);
    },
    { maxConnections: 32 },
  ));

Deno.test("HttpServer: a large response starts when another has ended", () =>
  onServer((request) => {
    const { pathname } = new URL(request.url);
    if (pathname === "/small") return new Response("ok");
    return pathname === "/next" ? new Response("x".repeat(5_000)) : huge(request);
  }, async ({ connect }) => {
    const slow = await eightResponses(connect);
    const next = await connect();
    await send(next, "GET /next HTTP/1.1\r\nhost: x\r\n\r\n");
    let isStarted = false;
    const answer = receive(next, "x".repeat(5_000)).finally(() => isStarted = true);
    for (let i = 0; i < 3; i++) {
      const small = await connect();
      await send(small, "GET /small HTTP/1.1\r\nhost: x\r\n\r\n");
      await receive(small, "ok");
    }
    equal(isStarted, false);
    slow[0]?.close();
    match(await answer, /^HTTP\/1\.1 200 /);
  }));

Deno.test("HttpServer: responds with 503 when no other large response ends in time", async () => {
  const { streams, handler } = endless();
  await onServer(handler, async ({ clock, connect }) => {
    const slow = await eightResponses(connect);
    const next = await connect();
    await send(next, GET);
    await clock.waiting(2);
    for (let ms = 0; ms < 2_500; ms += 400) {
      for (const stream of streams.slice(0, 8)) stream.enqueue(Uint8Array.of(1));
      await Promise.all(slow.map((connection) => connection.read(new Uint8Array(1))));
      await clock.advance(400);
    }
    match(await receive(next, "\r\n\r\n"), /^HTTP\/1\.1 503 /);
  });
});

Deno.test("HttpServer: reads the rest of a rejected request before it closes the connection", () =>
  onServer(hello, async ({ connect }) => {
    const connection = await connect();
    const head = "POST / HTTP/1.1\r\nhost: x\r\ncontent-length: 200000\r\n\r\n";
    await send(connection, head + "x".repeat(200_000));
    await connection.closeWrite();
    const buffer = new Uint8Array(65_536);
    let text = "";
    // Unlike in `receive`, a reset is an error.
    for (let count; (count = await connection.read(buffer)) !== null;) {
      text += new TextDecoder().decode(buffer.subarray(0, count));
    }
    match(text, /^HTTP\/1\.1 413 /);
  }));

Deno.test("HttpServer: stops reading a rejected request that does not end", () =>
  onServer(hello, async ({ connect }) => {
    const connection = await connect();
    await send(connection, "POST / HTTP/1.1\r\nhost: x\r\ncontent-length: 999999999\r\n\r\n");
    match(await receive(connection, "\r\n\r\n"), /^HTTP\/1\.1 413 /);
    const part = "x".repeat(65_536);
    let parts = 0;
    const sending = async () => {
      for (; parts < 500; parts++) {
        await send(connection, part);
        await pass();
      }
    };
    await rejects(sending(), /reset|pipe/i);
    ok(parts >= 3, "reads a part first, so that the response is not lost");
  }));

/** A listener whose clients have the address of another host. */
function fromElsewhere(listener: Deno.TcpListener): Deno.TcpListener {
  const accept = async () => {
    const connection = await listener.accept();
    return {
      remoteAddr: { transport: "tcp", hostname: "192.0.2.1", port: 1 },
      read: (into: Uint8Array) => connection.read(into),
      write: (bytes: Uint8Array) => connection.write(bytes),
      closeWrite: () => connection.closeWrite(),
      close: () => connection.close(),
    };
  };
  return { accept, close: () => listener.close() } as unknown as Deno.TcpListener;
}

Deno.test("HttpServer: another host has at most half of the connections", () =>
  onServer(
    hello,
    async ({ connect }) => {
      const connections = [await connect(), await connect(), await connect()];
      ok(await isClosed(connections[0]!), "the third connection takes the place of the first");
      for (const connection of connections.slice(1)) {
        await send(connection, GET);
        match(await receive(connection, "hello"), /^HTTP\/1\.1 200 /);
      }
    },
    { maxConnections: 4 },
    fromElsewhere,
  ));

Deno.test("HttpServer: a new connection takes the place of the one that waits the longest", () =>
  onServer(hello, async ({ clock, connect }) => {
    const first = await connect();
    await send(first, GET);
    await receive(first, "hello");
    await clock.advance(1_000);
    const idle: Deno.TcpConn[] = [];
    for (let i = 0; i < 3; i++) idle.push(await connect());
    ok(await isClosed(first), "the oldest of 3");
    await send(idle[2]!, GET);
    match(await receive(idle[2]!, "hello"), /^HTTP\/1\.1 200 /);
  }, { maxConnections: 3 }));

Deno.test("HttpServer: while every connection is being served, another gets 503", async () => {
  const release = Promise.withResolvers<void>();
  let running = 0;
  const handler = async () => {
    running++;
    await release.promise;
    return new Response("late");
  };
  await onServer(handler, async ({ clock, connect }) => {
    const busy = [await connect(), await connect()];
    for (const connection of busy) await send(connection, GET);
    while (running < 2) await new Promise((resolve) => setTimeout(resolve, 0));
    await clock.advance(2_000);
    const refused = await receive(await connect());
    match(refused, /^HTTP\/1\.1 503 [^]*retry-after: 1\r\n[^]*connection: close\r\n/);
    release.resolve();
    for (const connection of busy) match(await receive(connection, "late"), /late$/);
    const next = await connect();
    await send(next, GET);
    match(await receive(next, "late"), /late$/, "a place is free again");
  }, { maxConnections: 2 });
});

Deno.test("HttpServer: closes a connection that arrives while it stops", async () => {
  const listener = Deno.listen({ hostname: "127.0.0.1", port: 0 });
  const accepted = Promise.withResolvers<void>();
  const stopping = Promise.withResolvers<void>();
  const late = Object.assign(Object.create(listener), {
    async accept() {
      const connection = await listener.accept();
      accepted.resolve();
      await stopping.promise;
      return connection;
    },
    close() {
      listener.close();
      stopping.resolve();
    },
  }) as Deno.TcpListener;
  const server = new HttpServer(late, hello, { clock: new FakeClock() });
  using connection = await Deno.connect({ hostname: "127.0.0.1", port: listener.addr.port });
  await accepted.promise;
  await server[Symbol.asyncDispose]();
  equal(await connection.read(new Uint8Array(1)).catch(() => null), null);
});

Deno.test("HttpServer: serves 64 connections, each for at most a minute", async () => {
  const never = new Promise<Response>(() => {});
  let running = 0;
  await onServer(() => (running++, never), async ({ clock, connect }) => {
    for (let i = 0; i < 64; i++) await send(await connect(), GET);
    while (running < 64) await pass();
    match(await receive(await connect()), /^HTTP\/1\.1 503 /);
    const [first] = [await connect(), await clock.advance(59_000)];
    match(await receive(first), /^HTTP\/1\.1 503 /);
    await clock.advance(2_000);
    const next = await connect();
    await send(next, GET);
    while (running < 65) await pass();
  });
});

Deno.test("HttpServer: closes a connection whose request is not finished when it stops", async () => {
  const listener = Deno.listen({ hostname: "127.0.0.1", port: 0 });
  const clock = new FakeClock();
  const started = Promise.withResolvers<void>();
  const server = new HttpServer(listener, () => {
    started.resolve();
    return new Promise(() => {});
  }, { clock });
  using connection = await Deno.connect({ hostname: "127.0.0.1", port: listener.addr.port });
  await send(connection, GET);
  await started.promise;
  const ms = await msUntil(clock, server[Symbol.asyncDispose]());
  ok(ms >= 1_500, `${ms} ms`);
  equal(await connection.read(new Uint8Array(1)).catch(() => null), null);
});

Deno.test("HttpServer: cuts off a response after 20 s although it makes progress", async () => {
  const { streams, handler } = endless();
  await onServer(handler, async ({ clock, connect }) => {
    const connection = await connect();
    await send(connection, GET);
    await receive(connection, "\r\n\r\n");
    let ms = 0;
    for (; ms < 30_000; ms += 400) {
      streams[0]?.enqueue(Uint8Array.of(1));
      if (await connection.read(new Uint8Array(9)).catch(() => null) === null) break;
      await clock.advance(400);
    }
    ok(ms >= 20_000 && ms <= 21_200, `${ms} ms`);
  });
});

Deno.test("HttpServer: a large response takes the place of one that makes no progress", {
  ignore: /^2\.[0-8]\./.test(Deno.version.deno), // closing does not cancel a write there
}, () =>
  onServer(huge, async ({ clock, connect }) => {
    await eightResponses(connect);
    const next = await connect();
    await send(next, GET);
    await clock.waiting(2);
    await clock.advance(500);
    match(await receive(next, "\r\n\r\n"), /^HTTP\/1\.1 200 /);
  }));

Deno.test("HttpServer: survives failures of accept, and reports the first of them", async () => {
  let calls = 0;
  const failing = (listener: Deno.TcpListener) =>
    Object.assign(Object.create(listener), {
      accept: () =>
        ++calls === 1 || calls > 4
          ? listener.accept()
          : Promise.reject(Object.assign(new Error("x"), { code: "EMFILE" })),
      close: () => listener.close(),
    }) as Deno.TcpListener;
  await onServer(
    hello,
    async ({ clock, connect, warnings }) => {
      const idle = await connect();
      while (warnings.length === 0) await pass();
      equal(calls, 2);
      ok(await isClosed(idle), "it frees a descriptor");
      while (calls < 5) await clock.advance(100);
      const connection = await connect();
      await send(connection, GET);
      match(await receive(connection, "hello"), /hello$/);
      deepEqual(warnings, ["failed to accept connections: EMFILE; retrying"]);
    },
    {},
    failing,
  );
});
