import { deepStrictEqual, ok, rejects, strictEqual } from "node:assert/strict";
import { join } from "@std/path";
import {
  createNydusdApi,
  createSnapshotterApi,
  createUnixHttp,
} from "../../../lib/platform/mod.ts";
import { Secret } from "../../../lib/model/mod.ts";
import { testInOwnProcess } from "../../fakes/own_process.ts";

/** Starts a server on a unix socket with a handler for connections. */
function server(answer: (connection: Deno.Conn, count: number) => Promise<void>) {
  const dir = Deno.makeTempDirSync();
  const path = join(dir, "s");
  let listener = Deno.listen({ transport: "unix", path });
  const open: Deno.Conn[] = [];
  let count = 0;
  const serve = async () => {
    try {
      for await (const connection of listener) {
        open.push(connection);
        answer(connection, ++count).catch(() => {});
      }
    } catch {
      // Closed.
    }
  };
  void serve();
  const close = () => {
    try {
      listener.close();
    } catch {
      // Closed by the test.
    }
    for (const connection of open.splice(0)) {
      try {
        connection.close();
      } catch {
        // Closed by the handler.
      }
    }
  };
  return {
    path,
    connections: () => count,
    async restart() {
      close();
      // The runtime unlinks the socket after the last accept has ended.
      await new Promise((resolve) => setTimeout(resolve, 50));
      listener = Deno.listen({ transport: "unix", path });
      void serve();
    },
    close,
    [Symbol.dispose]() {
      close();
      Deno.removeSync(dir, { recursive: true });
    },
  };
}

const write = async (connection: Deno.Conn, text: string) => {
  await connection.write(new TextEncoder().encode(text));
};
const read = (connection: Deno.Conn) => connection.read(new Uint8Array(65_536));
const reply = (status: string, body: string) =>
  `HTTP/1.1 ${status} \r\nContent-Length: ${body.length}\r\n\r\n${body}`;

/** Sends the same response to every request of a connection. */
const always = (text: string) => async (connection: Deno.Conn) => {
  while (await read(connection) !== null) await write(connection, text);
};

/** Expires only where that is expected. */
const SHORT_MS = 400;
const get = (path: string, socketPath: string, timeoutMs = 60_000) =>
  ({ socketPath, method: "GET", path, timeoutMs }) as const;

Deno.test("UnixHttp: reports why a request failed", async () => {
  using http = createUnixHttp();
  const kind = async (answer: (c: Deno.Conn) => Promise<void>, timeoutMs?: number) => {
    using peer = server(answer);
    return (await http.request(get("/", peer.path, timeoutMs))).kind;
  };
  strictEqual(await kind(async (c) => void await read(c), SHORT_MS), "timed-out");
  strictEqual(await kind(async (c) => (await read(c), c.close())), "broken");
  strictEqual(
    await kind(async (c) => (await read(c), await write(c, "nonsense\n"), c.close())),
    "broken",
  );
  const half = "HTTP/1.1 200 \r\nContent-Length: 100\r\n\r\n{";
  strictEqual(await kind(async (c) => (await read(c), await write(c, half), c.close())), "broken");
  strictEqual(await kind(always(reply("200", "ok"))), "answered");
});

Deno.test("UnixHttp: distinguishes a missing socket from one without a listener", async () => {
  using http = createUnixHttp();
  using peer = server(always(reply("200", "ok")));
  strictEqual((await http.request(get("/", `${peer.path}-not`))).kind, "no-socket");
  const left = `${peer.path}-left`;
  const child = new Deno.Command(Deno.execPath(), {
    args: [
      "eval",
      `Deno.listen({transport:"unix",path:${JSON.stringify(left)}});Deno.kill(Deno.pid,"SIGKILL")`,
    ],
  });
  await child.output();
  strictEqual((await http.request(get("/", left))).kind, "no-listener");
});

Deno.test("UnixHttp: retries when an idle connection belongs to an exited process", async () => {
  using http = createUnixHttp();
  using peer = server(always(reply("200", "ok")));
  strictEqual((await http.request(get("/", peer.path))).kind, "answered");
  await peer.restart();
  strictEqual((await http.request(get("/", peer.path))).kind, "answered");
});

Deno.test("UnixHttp: has one deadline for both attempts", async () => {
  using http = createUnixHttp();
  const limitMs = 3_000;
  let secondLimit: ReturnType<typeof setTimeout> | undefined;
  let isPastSecondLimit = false;
  using peer = server(async (c, count) => {
    // More than the remaining time of the deadline.
    if (count === 2) secondLimit = setTimeout(() => isPastSecondLimit = true, limitMs);
    await read(c);
    if (count > 1) return; // no response on later connections
    await write(c, reply("200", "ok"));
    await read(c);
    await new Promise((resolve) => setTimeout(resolve, limitMs * 2 / 3));
    await write(c, "nonsense\n\n");
    c.close();
  });
  strictEqual((await http.request(get("/", peer.path))).kind, "answered");
  strictEqual((await http.request(get("/", peer.path, limitMs))).kind, "timed-out");
  ok(!isPastSecondLimit, "the second try had a limit of its own");
  clearTimeout(secondLimit);
  strictEqual(peer.connections(), 2, "the first, and the one of the second try");
});

Deno.test("UnixHttp: reports a peer with a full accept queue as timed out", async () => {
  using http = createUnixHttp();
  const dir = await Deno.makeTempDir();
  const path = join(dir, "s");
  // No accept: like a nydusd that is stopped by a signal while the agent fills its queue.
  using _listener = Deno.listen({ transport: "unix", path });
  const waiting: Deno.Conn[] = [];
  try {
    await rejects(async () => {
      while (true) waiting.push(await Deno.connect({ transport: "unix", path }));
    }, Deno.errors.WouldBlock);
    deepStrictEqual(await http.request(get("/", path, SHORT_MS)), { kind: "timed-out" });
  } finally {
    for (const connection of waiting) connection.close();
    await Deno.remove(dir, { recursive: true });
  }
});

Deno.test("UnixHttp: closes the connection after an error status, and never shows its body", async () => {
  using http = createUnixHttp();
  const echo = reply("400", "bad") + reply("400", "the-secret-echoed");
  using peer = server(always(echo));
  const api = createNydusdApi(http, { timeoutMs: 60_000 });
  const put = () => api.putAuth(peer.path, "/", new Secret("the-secret"));
  const first = await put();
  ok(first.kind === "refused" && first.status === 400);
  ok(!JSON.stringify(first).includes("secret"), "it quotes what it was sent");
  await put();
  strictEqual(peer.connections(), 2);
});

Deno.test("UnixHttp: uses a connection once if the peer closes it or sends more than a response", async () => {
  using http = createUnixHttp();
  const closing = "HTTP/1.1 200 OK\r\nContent-Length: 0\r\nConnection: close\r\n\r\n";
  for (const answer of [closing, `${reply("200", "")}more`]) {
    using there = server(always(answer));
    for (const count of [1, 2]) {
      strictEqual((await http.request(get("/", there.path))).kind, "answered");
      strictEqual(there.connections(), count);
    }
  }
});

Deno.test("UnixHttp: fails for a body over the limit and on abort", async () => {
  using http = createUnixHttp();
  using peer = server(always(reply("200", "x".repeat(5_000))));
  const long = await http.request({ ...get("/", peer.path), maxBytes: 1_000 });
  strictEqual(long.kind, "broken");
  for (const [length, isTooLarge] of [[16_777_216, false], [16_777_217, true]] as const) {
    using huge = server(async (connection) => {
      await read(connection);
      await write(connection, `HTTP/1.1 200 OK\r\nContent-Length: ${length}\r\n\r\n`);
      connection.close();
    });
    const result = await http.request(get("/", huge.path));
    strictEqual(result.kind === "broken" && /is larger than/.test(result.detail), isTooLarge);
  }
  using unavailable = server(async (c) => void await read(c));
  const stop = new AbortController();
  const waiting = http.request(get("/", unavailable.path, 10_000), { signal: stop.signal });
  stop.abort(new Error("stop"));
  await rejects(waiting, /stop/);
});

Deno.test("UnixHttp: an abort closes the connection, and a request that waits is not sent", async () => {
  using http = createUnixHttp();
  const requests: string[] = [];
  const both = Promise.withResolvers<void>();
  const ended = Promise.withResolvers<void>();
  using peer = server(async (connection) => {
    const bytes = new Uint8Array(1_000);
    while (true) {
      const count = await connection.read(bytes);
      if (count === null) return ended.resolve();
      const [line = ""] = new TextDecoder().decode(bytes.subarray(0, count)).split(" HTTP");
      requests.push(line);
      if (requests.length === 2) both.resolve();
      if (line !== "GET /hangs") await write(connection, reply("200", "ok"));
    }
  });
  const stop = new AbortController();
  const { signal } = stop;
  const hanging = [1, 2].map(() => http.request(get("/hangs", peer.path), { signal }));
  await both.promise;
  const waiting = http.request(get("/waits", peer.path), { signal });
  stop.abort(new Error("stop"));
  for (const request of [...hanging, waiting]) await rejects(request, /stop/);
  await rejects(http.request(get("/later", peer.path), { signal }), /stop/);
  await ended.promise;
  strictEqual((await http.request(get("/next", peer.path))).kind, "answered");
  deepStrictEqual(requests, ["GET /hangs", "GET /hangs", "GET /next"]);
});

Deno.test("UnixHttp: uses no connection again that failed or has an unusual status", async () => {
  for (const first of ["nonsense\n", reply("300", "")]) {
    using http = createUnixHttp();
    using peer = server((connection, count) =>
      always(count === 1 ? first : reply("200", "ok"))(connection)
    );
    // A POST is not sent again.
    const post = { ...get("/", peer.path), method: "POST" } as const;
    await http.request(post);
    const second = await http.request(post);
    strictEqual(second.kind === "answered" && second.status, 200);
  }
});

Deno.test("UnixHttp: closes the connection of a request that runs while it is disposed", async () => {
  const sent = Promise.withResolvers<void>();
  const disposed = Promise.withResolvers<void>();
  const ended = Promise.withResolvers<number | null>();
  using peer = server(async (connection) => {
    await read(connection);
    sent.resolve();
    await disposed.promise;
    await write(connection, reply("200", "ok"));
    ended.resolve(await read(connection));
  });
  const http = createUnixHttp();
  const answer = http.request(get("/", peer.path));
  await sent.promise;
  http[Symbol.dispose]();
  disposed.resolve();
  strictEqual((await answer).kind, "answered");
  strictEqual(await ended.promise, null);
});

Deno.test("UnixHttp: uses at most two connections per socket and reuses them", async () => {
  using http = createUnixHttp();
  let active = 0;
  let most = 0;
  using peer = server(async (connection) => {
    while (await read(connection) !== null) {
      most = Math.max(most, ++active);
      await new Promise((resolve) => setTimeout(resolve, 1));
      active--;
      await write(connection, reply("200", "ok"));
    }
  });
  const requests = Array.from({ length: 20 }, () => http.request(get("/", peer.path, 10_000)));
  for (const { kind } of await Promise.all(requests)) strictEqual(kind, "answered");
  strictEqual(most, 2);
  strictEqual(peer.connections(), 2);
});

Deno.test("UnixHttp: applies the deadline while a request waits for a connection", async () => {
  using http = createUnixHttp();
  using peer = server(async (connection) => void await read(connection));
  const unavailable = [1, 2].map(() => http.request(get("/", peer.path, 300)));
  deepStrictEqual(await http.request(get("/", peer.path, 20)), { kind: "timed-out" });
  for (const each of await Promise.all(unavailable)) deepStrictEqual(each, { kind: "timed-out" });
});

Deno.test("UnixHttp: reads chunked bodies and bodies up to the end of the connection", async () => {
  using http = createUnixHttp();
  const chunked = "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\no\u006b\r\n0\r\n\r\n";
  using kept = server(always(chunked));
  using closed = server(async (connection) => {
    await read(connection);
    await write(connection, "HTTP/1.1 200 OK\r\n\r\nok");
    connection.close();
  });
  for (const peer of [kept, closed]) {
    for (let times = 0; times < 2; times++) {
      const result = await http.request(get("/", peer.path));
      strictEqual(result.kind === "answered" && result.body.reveal(), "ok");
    }
  }
  strictEqual(kept.connections(), 1);
  strictEqual(closed.connections(), 2);
});

Deno.test("UnixHttp: does not retry a POST when the peer closes the connection", async () => {
  for (const [method, kind] of [["POST", "broken"], ["PUT", "answered"]] as const) {
    using http = createUnixHttp();
    using peer = server(async (connection, count) => {
      while (await read(connection) !== null) {
        await write(connection, reply("200", "ok"));
        if (count > 1) continue;
        await read(connection); // the second request gets no response
        return connection.close();
      }
    });
    await http.request(get("/", peer.path));
    const request = { ...get("/", peer.path), method, body: new Secret("{}") };
    strictEqual((await http.request(request)).kind, kind, method);
  }
});

Deno.test("UnixHttp: drops an idle connection that the peer closed", async () => {
  using http = createUnixHttp();
  const dropped = Promise.withResolvers<void>();
  using peer = server(async (connection) => {
    await read(connection);
    await write(connection, reply("200", "ok"));
    await connection.closeWrite();
    if (await read(connection) === null) dropped.resolve(); // the client has closed it
  });
  await http.request(get("/", peer.path));
  await dropped.promise;
});

Deno.test("UnixHttp: keeps the other connection when the peer closes one", async () => {
  using http = createUnixHttp();
  const both = Promise.withResolvers<void>();
  const dropped = Promise.withResolvers<void>();
  using peer = server(async (connection, count) => {
    if (count === 2) both.resolve();
    await read(connection);
    await both.promise;
    await write(connection, reply("200", "ok"));
    if (count === 2) return await always(reply("200", "ok"))(connection);
    await connection.closeWrite();
    if (await read(connection) === null) dropped.resolve();
  });
  await Promise.all([http.request(get("/", peer.path)), http.request(get("/", peer.path))]);
  await dropped.promise;
  strictEqual((await http.request(get("/", peer.path))).kind, "answered");
  strictEqual(peer.connections(), 2);
});

Deno.test("UnixHttp: reports a peer that exits, but not one that closes an idle connection", async () => {
  const exits: string[] = [];
  const exited = Promise.withResolvers<void>();
  using http = createUnixHttp({
    exited: (path) => {
      exits.push(path);
      exited.resolve();
    },
  });
  const checked = Promise.withResolvers<void>();
  using idle = server(async (connection, count) => {
    if (count === 2) checked.resolve(); // connected to find out whether it still listens
    await read(connection);
    await write(connection, reply("200", "ok"));
    connection.close();
  });
  await http.request(get("/", idle.path));
  await checked.promise;
  using peer = server(always(reply("200", "ok")));
  await Promise.all([http.request(get("/", peer.path)), http.request(get("/", peer.path))]);
  strictEqual(peer.connections(), 2);
  peer.close();
  await exited.promise;
  deepStrictEqual(exits, [peer.path]);
});

Deno.test("UnixHttp: sends the type of a body, and none without a body", async () => {
  using there = server(async (connection) => {
    while (true) {
      const bytes = new Uint8Array(1_000);
      const count = await connection.read(bytes);
      if (count === null) break;
      await write(connection, reply("200", new TextDecoder().decode(bytes.subarray(0, count))));
    }
  });
  using http = createUnixHttp();
  const sent = async (more: { readonly method: "GET" | "PUT"; readonly body?: Secret }) => {
    const result = await http.request({ ...get("/a", there.path), ...more });
    return result.kind === "answered" ? result.body.reveal() : result.kind;
  };
  const host = "HTTP/1.1\r\nHost: localhost\r\n";
  strictEqual(await sent({ method: "GET" }), `GET /a ${host}\r\n`);
  strictEqual(
    await sent({ method: "PUT", body: new Secret("{}") }),
    `PUT /a ${host}Content-Type: application/json\r\nContent-Length: 2\r\n\r\n{}`,
  );
});

Deno.test("UnixHttp: keeps connections to at most 128 sockets open", async () => {
  const closed = Promise.withResolvers<number>();
  using there = server(async (connection, count) => {
    while (await read(connection) !== null) await write(connection, reply("200", ""));
    closed.resolve(count);
  });
  using http = createUnixHttp();
  for (let i = 0; i < 129; i++) { // sockets without a listener do not count
    strictEqual((await http.request(get("/", `${there.path}none${i}`))).kind, "no-socket");
  }
  for (let i = 0; i < 129; i++) {
    const path = `${there.path}${i}`;
    await Deno.symlink(there.path, path);
    strictEqual((await http.request(get("/", path))).kind, "answered");
  }
  strictEqual(await closed.promise, 129);
});

Deno.test("UnixHttp: closes its idle connections when it is disposed", async () => {
  const ended = Promise.withResolvers<number | null>();
  using there = server(async (connection) => {
    await connection.read(new Uint8Array(1_000));
    await write(connection, "HTTP/1.1 204 No Content\r\n\r\n");
    ended.resolve(await connection.read(new Uint8Array(1)));
  });
  const http = createUnixHttp();
  strictEqual((await http.request(get("/", there.path))).kind, "answered");
  http[Symbol.dispose]();
  strictEqual(await ended.promise, null);
});

Deno.test("putAuth: rejects an empty value, which would clear the credential", async () => {
  using http = createUnixHttp();
  using peer = server(always(reply("204", "")));
  const api = createNydusdApi(http);
  await rejects(api.putAuth(peer.path, "/", new Secret("")), TypeError);
  strictEqual(peer.connections(), 0);
});

Deno.test("readAuths: reads the key of every mount and ignores other keys", async () => {
  using http = createUnixHttp();
  const body = JSON.stringify({ "/3:registry_auth": "YTpi", "/3:proxy_url": "http://p:1" });
  using peer = server(always(reply("200", body)));
  const answer = await createNydusdApi(http).readAuths(peer.path);
  ok(answer.kind === "ok");
  deepStrictEqual([...answer.value].map(([id, auth]) => [id, auth.reveal()]), [["/3", "YTpi"]]);
});

Deno.test("SnapshotterApi: treats null as empty and wrong types as broken", async () => {
  using http = createUnixHttp();
  const kindOf = async (body: string) => {
    using peer = server(always(reply("200", body)));
    const answer = await createSnapshotterApi(http).daemons(peer.path);
    return answer.kind === "ok" ? answer.value.length : answer.kind;
  };
  deepStrictEqual(await kindOf("null"), 0);
  deepStrictEqual(await kindOf('[{"id":"a","api_socket":"/s","instances":null}]'), 1);
  for (const bad of ["{}", '[{"id":7}]', "[1]", '[{"id":"a"', "nonsense"]) {
    strictEqual(await kindOf(bad), "broken", bad);
  }
});

for (const variable of ["NO_PROXY", "no_proxy"]) {
  const name = `UnixHttp: sends requests only to the socket, regardless of ${variable}`;
  testInOwnProcess(import.meta.url, name, async () => {
    Deno.env.set(variable, "localhost,127.0.0.1,10.0.0.0/8");
    using there = server(always(reply("200", "here")));
    using http = createUnixHttp();
    const request = { ...get("/", there.path), method: "PUT", body: new Secret("{}") } as const;
    const result = await http.request(request);
    ok(result.kind === "answered", result.kind);
    strictEqual(result.body.reveal(), "here");
    strictEqual(Deno.env.get(variable), "localhost,127.0.0.1,10.0.0.0/8", "plugins still get it");
  });
}
