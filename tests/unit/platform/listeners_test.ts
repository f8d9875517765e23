import { deepEqual, equal, match, ok, rejects } from "node:assert/strict";
import { join } from "node:path";
import { AgentError } from "../../../lib/model/mod.ts";
import { listenTcp, listenUnix } from "../../../lib/platform/listeners.ts";

const hello = () => new Response("hello");

async function inFolder(test: (folder: string) => Promise<void>): Promise<void> {
  const folder = await Deno.makeTempDir();
  try {
    await test(folder);
  } finally {
    await Deno.remove(folder, { recursive: true });
  }
}

async function namesIn(folder: string): Promise<string[]> {
  return await Array.fromAsync(Deno.readDir(folder), ({ name }) => name);
}

async function getUnix(path: string): Promise<string> {
  using connection = await Deno.connect({ transport: "unix", path });
  await connection.write(
    new TextEncoder().encode("GET / HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n\r\n"),
  );
  return await new Response(connection.readable).text();
}

/** Returns whether a condition becomes true within a number of polls. */
async function becomesTrue(isTrue: () => Promise<boolean>, tries = 500): Promise<boolean> {
  for (let i = 0; i < tries; i++) if (await isTrue()) return true;
  return false;
}

async function isRefused(port: number): Promise<boolean> {
  try {
    (await Deno.connect({ hostname: "127.0.0.1", port })).close();
    return false;
  } catch {
    return true;
  }
}

Deno.test("listenTcp: serves, reports its actual port, and stops when disposed", async () => {
  const listener = await listenTcp({ hostname: "127.0.0.1", port: 0 }, hello);
  const url = `http://127.0.0.1:${listener.port}/`;
  ok(listener.port > 0);
  equal(await (await fetch(url)).text(), "hello");
  await listener[Symbol.asyncDispose]();
  await rejects(fetch(url));
});

Deno.test("listenTcp: a port in use is an io error with address and remedy", async () => {
  await using first = await listenTcp({ hostname: "127.0.0.1", port: 0 }, hello);
  await rejects(
    listenTcp({ hostname: "127.0.0.1", port: first.port }, hello),
    (error: unknown) => {
      ok(error instanceof AgentError);
      equal(error.code, "io");
      match(
        error.message,
        new RegExp(`^failed to listen on 127\\.0\\.0\\.1:${first.port}: the port is in use`),
      );
      match(error.message, /choose another address in server\.address$/);
      return true;
    },
  );
});

Deno.test("listenTcp: responds with 500 without details when a handler throws", async () => {
  await using listener = await listenTcp({ hostname: "127.0.0.1", port: 0 }, () => {
    throw new Error("hunter2-canary");
  });
  const response = await fetch(`http://127.0.0.1:${listener.port}/`);
  deepEqual([response.status, await response.text()], [500, ""]);
});

Deno.test("listenTcp: reports its address, with brackets for IPv6", async () => {
  await using four = await listenTcp({ hostname: "127.0.0.1", port: 0 }, hello);
  equal(four.address, `127.0.0.1:${four.port}`);
  await rejects(listenTcp({ hostname: "2001:db8::1", port: 1 }, hello), /on \[2001:db8::1\]:1: /);
});

Deno.test("listenTcp: stops when its signal aborts, also if it is already aborted", async () => {
  const stop = new AbortController();
  const entered = Promise.withResolvers<void>();
  const release = Promise.withResolvers<void>();
  const listener = await listenTcp({ hostname: "127.0.0.1", port: 0 }, async () => {
    entered.resolve();
    await release.promise;
    return new Response("done");
  }, { signal: stop.signal });
  const url = `http://127.0.0.1:${listener.port}/`;
  const answer = fetch(url).then((response) => response.text());
  await entered.promise;
  stop.abort(new Error("enough"));
  release.resolve();
  equal(await answer, "done", "what is in flight may end");
  ok(await becomesTrue(() => isRefused(listener.port)), "the signal alone stops it");
  await listener[Symbol.asyncDispose]();
  const late = listenTcp({ hostname: "127.0.0.1", port: 0 }, hello, { signal: stop.signal });
  await rejects(late, /^Error: enough$/);
});

Deno.test("listenUnix: removes its socket when its signal aborts, also if it is already aborted", () =>
  inFolder(async (folder) => {
    const stop = new AbortController();
    const options = { signal: stop.signal };
    const listener = await listenUnix(join(folder, "a.sock"), hello, options);
    stop.abort(new Error("enough"));
    ok(
      await becomesTrue(async () => (await namesIn(folder)).length === 0),
      "the signal alone stops it",
    );
    await listener[Symbol.asyncDispose]();
    await Deno.writeTextFile(join(folder, "file"), "");
    for (const name of ["b.sock", "file"]) {
      await rejects(listenUnix(join(folder, name), hello, options), /^Error: enough$/);
    }
    deepEqual(await namesIn(folder), ["file"]);
  }));

Deno.test("listenUnix: creates a socket with mode 0600 and removes it when disposed", () =>
  inFolder(async (folder) => {
    const path = join(folder, "a.sock");
    const listener = await listenUnix(path, hello);
    equal(((await Deno.lstat(path)).mode ?? 0) & 0o777, 0o600);
    match(await getUnix(path), /hello/);
    deepEqual(await namesIn(folder), ["a.sock"]);
    await listener[Symbol.asyncDispose]();
    deepEqual(await namesIn(folder), []);
  }));

Deno.test("listenUnix: replaces a socket without a listener, but not one with a listener", () =>
  inFolder(async (folder) => {
    const path = join(folder, "a.sock");
    const stale = Deno.listen({ transport: "unix", path: join(folder, "made") });
    await Deno.rename(join(folder, "made"), path); // so that closing does not remove it
    stale.close();
    equal((await Deno.lstat(path)).isSocket, true);
    await using _first = await listenUnix(path, hello);
    await rejects(listenUnix(path, hello), /another process listens on it/);
    match(await getUnix(path), /hello/);
  }));

Deno.test("listenUnix: keeps the socket of a successor when it stops", () =>
  inFolder(async (folder) => {
    const path = join(folder, "a.sock");
    const old = await listenUnix(path, hello);
    await Deno.remove(path);
    await using _next = await listenUnix(path, () => new Response("next"));
    await old[Symbol.asyncDispose]();
    match(await getUnix(path), /next/);
  }));

Deno.test("listenUnix: rejects other files, missing folders and permissive modes", () =>
  inFolder(async (folder) => {
    const path = join(folder, "file");
    await Deno.writeTextFile(path, "keep");
    await rejects(listenUnix(path, hello), { name: "AgentError", code: "io" });
    equal(await Deno.readTextFile(path), "keep");
    await rejects(listenUnix(join(folder, "no/a.sock"), hello), { code: "io" });
    await rejects(listenUnix(join(folder, "b.sock"), hello, { mode: 0o660 }), RangeError);
    deepEqual(await namesIn(folder), ["file"]);
  }));
