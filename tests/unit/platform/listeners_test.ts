import { deepEqual, equal, match, ok, rejects, throws } from "node:assert/strict";
import { join } from "node:path";
import { AgentError } from "../../../lib/model/mod.ts";
import { acceptAll, listensOn } from "../../../lib/platform/listeners.ts";
import { listenTcp, listenUnix, systemClock } from "../../../lib/platform/mod.ts";
import { FakeClock } from "../../fakes/clock.ts";
import { replacing } from "../../fakes/runtime.ts";

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

Deno.test("listenTcp: serves, reports its actual port, and stops when disposed", async () => {
  const listener = listenTcp({ hostname: "127.0.0.1", port: 0 }, hello);
  const url = `http://127.0.0.1:${listener.port}/`;
  ok(listener.port > 0);
  equal(await (await fetch(url)).text(), "hello");
  await listener[Symbol.asyncDispose]();
  await rejects(fetch(url));
});

const shortly = () => new Promise((resolve) => setTimeout(resolve, 1));

Deno.test("listenUnix: the socket has its group and its mode before it gets its path", () =>
  inFolder(async (folder) => {
    const calls: string[] = [];
    const { makeTempDir, rename } = Deno;
    const slow = (name: string) => async () => {
      calls.push(name);
      await shortly();
      calls.push(`${name} ended`);
    };
    await replacing(Deno, {
      async makeTempDir(options) {
        calls.push(`in ${options?.dir === folder}, ${options?.prefix}`);
        return await makeTempDir(options);
      },
      chown: slow("chown"),
      chmod: slow("chmod"),
      async rename(from, to) {
        calls.push("rename");
        await rename(from, to);
      },
    }, async () => {
      await using _ = await listenUnix(join(folder, "s"), hello, { gid: 7 });
    });
    deepEqual(calls, ["in true, .", "chown", "chown ended", "chmod", "chmod ended", "rename"]);
  }));

Deno.test("listenUnix: leaves nothing after a failure", () =>
  inFolder(async (folder) => {
    const path = join(folder, "s");
    const { listen, remove } = Deno;
    const listeners: Deno.Listener[] = [];
    const failing = {
      listen: (options: Deno.UnixListenOptions & { transport: "unix" }) => {
        const listener = listen(options);
        listeners.push(listener);
        return listener;
      },
      rename: () => Promise.reject(new Error("unusual")),
      async remove(path: string, options: Deno.RemoveOptions) {
        await shortly();
        await remove(path, options);
      },
    } as unknown as Partial<typeof Deno>;
    await replacing(Deno, failing, async () => {
      await rejects(listenUnix(path, hello), { message: `failed to listen on ${path}: unusual` });
      deepEqual(await namesIn(folder), []);
    });
    await rejects(listeners[0]!.accept(), "the listener is closed");
    const denied = () => Promise.reject(new Deno.errors.PermissionDenied());
    await replacing(Deno, { chown: denied }, async () => {
      await rejects(listenUnix(path, hello, { gid: 7 }), /the process is not a member; add it/);
    });
    const unusual = () => Promise.reject(new Error("unusual"));
    await replacing(Deno, { chown: unusual }, async () => {
      await rejects(listenUnix(path, hello, { gid: 7 }), { message: /: unusual$/ });
    });
  }));

Deno.test("listenUnix: a file that cannot be removed, or is gone, does not fail", () =>
  inFolder(async (folder) => {
    const path = join(folder, "s");
    await replacing(Deno, { remove: () => Promise.reject(new Error("unusual")) }, async () => {
      await using _ = await listenUnix(path, hello);
    });
    await Deno.remove(path);
    await using _ = await listenUnix(path, hello);
    await Deno.remove(path);
  }));

Deno.test("listenUnix: reports why a socket cannot be examined", () =>
  inFolder(async (folder) => {
    const path = join(folder, "s");
    await using _ = await listenUnix(path, hello);
    const unusual = () => Promise.reject(new Error("unusual"));
    await replacing(Deno, { connect: unusual as unknown as typeof Deno.connect }, async () => {
      await rejects(listenUnix(path, hello), { message: `failed to listen on ${path}: unusual` });
      equal(await listensOn(path), false);
    });
    equal(await listensOn(path), true);
  }));

Deno.test("listenTcp: a port in use is an io error with address and remedy", async () => {
  await using first = listenTcp({ hostname: "127.0.0.1", port: 0 }, hello);
  throws(
    () => listenTcp({ hostname: "127.0.0.1", port: first.port }, hello),
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
  await using listener = listenTcp({ hostname: "127.0.0.1", port: 0 }, () => {
    throw new Error("hunter2-canary");
  });
  const response = await fetch(`http://127.0.0.1:${listener.port}/`);
  deepEqual([response.status, await response.text()], [500, ""]);
});

Deno.test("acceptAll: counts the failures since the last connection", async () => {
  const stop = new AbortController();
  const results = [false, false, true, false, true];
  const counts: number[] = [];
  const accept = () => results.shift() ? Promise.resolve() : Promise.reject(new Error("x"));
  const admit = () => results.length > 0 || stop.abort();
  await acceptAll({ accept }, admit, {
    signal: stop.signal,
    clock: { ...systemClock, sleep: () => Promise.resolve() },
    failed: (_, failures) => counts.push(failures),
  });
  deepEqual(counts, [0, 1, 0]);
});

Deno.test("acceptAll: pauses after a failure until it is stopped", async () => {
  const stop = new AbortController();
  const clock = new FakeClock();
  let tries = 0;
  const accept = () => Promise.reject(new Error(`${++tries}`));
  const accepting = acceptAll({ accept }, () => {}, { signal: stop.signal, clock });
  await clock.waiting();
  await clock.advance(99);
  equal(tries, 1);
  await clock.advance(1);
  equal(tries, 2);
  stop.abort();
  await accepting;
  equal(clock.sleeping, 0);
});

Deno.test("listenTcp: writes an IPv6 address with brackets", () => {
  throws(() => listenTcp({ hostname: "2001:db8::1", port: 1 }, hello), /on \[2001:db8::1\]:1: /);
});

Deno.test("listenTcp: lets a response in progress complete when it is disposed", async () => {
  const entered = Promise.withResolvers<void>();
  const release = Promise.withResolvers<void>();
  const listener = listenTcp({ hostname: "127.0.0.1", port: 0 }, async () => {
    entered.resolve();
    await release.promise;
    return new Response("done");
  });
  const answer = fetch(`http://127.0.0.1:${listener.port}/`).then((response) => response.text());
  await entered.promise;
  const closed = listener[Symbol.asyncDispose]();
  setTimeout(release.resolve, 50);
  equal(await answer, "done");
  await closed;
  await rejects(Deno.connect({ hostname: "127.0.0.1", port: listener.port }));
});

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

Deno.test("listenUnix: a group may connect as well", () =>
  inFolder(async (folder) => {
    const path = join(folder, "a.sock");
    await using _listener = await listenUnix(path, hello, { gid: Deno.gid() ?? 0 });
    const { mode, gid } = await Deno.lstat(path);
    deepEqual([(mode ?? 0) & 0o777, gid], [0o660, Deno.gid()]);
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

Deno.test("listenUnix: rejects other files and missing folders", () =>
  inFolder(async (folder) => {
    const path = join(folder, "file");
    await Deno.writeTextFile(path, "keep");
    await rejects(listenUnix(path, hello), { name: "AgentError", code: "io" });
    equal(await Deno.readTextFile(path), "keep");
    await rejects(listenUnix(join(folder, "no/a.sock"), hello), { code: "io" });
    deepEqual(await namesIn(folder), ["file"]);
  }));
