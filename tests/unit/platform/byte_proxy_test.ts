import { deepEqual, equal, ok, rejects } from "node:assert/strict";
import { join } from "node:path";
import { type ByteReader, serveByteProxy } from "../../../lib/platform/byte_proxy.ts";
import { writeAll } from "../../../lib/platform/http1.ts";
import { pointLink } from "../../../lib/platform/files.ts";

const UNAVAILABLE: ByteReader = {
  callsInFlight: 0,
  fromClient: () => {},
  fromServer: () => {},
  clientEnded: () => {},
  closed: () => {},
};

/** Runs a test with a server that echoes its input and sends `BYE` at the end. */
async function stage(run: (dir: string, upstream: string) => Promise<void>): Promise<void> {
  const dir = await Deno.makeTempDir({ prefix: "byte-proxy-" });
  const upstream = join(dir, "up");
  const listener = Deno.listen({ transport: "unix", path: upstream });
  const echoes: Promise<void>[] = [];
  const serving = (async () => {
    for await (const connection of listener) echoes.push(echo(connection));
  })();
  try {
    await run(dir, upstream);
  } finally {
    listener.close();
    await serving;
    await Promise.all(echoes);
    await Deno.remove(dir, { recursive: true });
  }
}

async function echo(connection: Deno.UnixConn): Promise<void> {
  try {
    const buffer = new Uint8Array(65_536);
    for (let n = await connection.read(buffer); n !== null; n = await connection.read(buffer)) {
      await writeAll(connection, buffer.subarray(0, n));
    }
    await connection.write(new TextEncoder().encode("bye"));
  } catch {
    // The client is gone.
  } finally {
    connection.close();
  }
}

async function readAll(connection: Deno.UnixConn): Promise<Uint8Array> {
  const chunks: number[] = [];
  const buffer = new Uint8Array(65_536);
  for (let n = await connection.read(buffer); n !== null; n = await connection.read(buffer)) {
    for (const byte of buffer.subarray(0, n)) chunks.push(byte);
  }
  return Uint8Array.from(chunks);
}

/** Sends bytes, half-closes the connection, and returns the response. */
async function exchange(path: string, bytes: Uint8Array): Promise<Uint8Array> {
  const connection = await Deno.connect({ transport: "unix", path });
  const answer = readAll(connection);
  await writeAll(connection, bytes);
  await connection.closeWrite();
  const all = await answer;
  connection.close();
  return all;
}

const BYE = [..."bye"].map((c) => c.charCodeAt(0));

Deno.test("serveByteProxy: copies bytes in both directions, half-closes, and passes them to the reader", async () => {
  await stage(async (dir, upstream) => {
    const seen = { client: 0, server: 0, ended: 0, closed: 0 };
    let largest = 0;
    const reader = (): ByteReader => ({
      callsInFlight: 0,
      fromClient(chunk) {
        seen.client += chunk.length;
        largest = Math.max(largest, chunk.length);
      },
      fromServer: (chunk) => void (seen.server += chunk.length),
      clientEnded: () => void seen.ended++,
      closed: () => void seen.closed++,
    });
    const path = join(dir, "cri-proxy");
    await using proxy = await serveByteProxy({ path, upstream, reader });
    equal(((await Deno.stat(path)).mode ?? 0) & 0o777, 0o600);
    deepEqual(new Set(Object.values(proxy.counts())), new Set([0]));
    const bytes = Uint8Array.from({ length: 1_000_003 }, (_, i) => (i * 31) % 251);
    deepEqual(await exchange(path, bytes), Uint8Array.from([...bytes, ...BYE]));
    deepEqual(seen, { client: bytes.length, server: bytes.length + 3, ended: 1, closed: 1 });
    const { openConnections: _, ...counts } = proxy.counts();
    deepEqual(counts, {
      connections: 1,
      refusedConnections: 0,
      bytesToRuntime: bytes.length,
      bytesToClients: bytes.length + 3,
    });
    ok(largest <= 65_536, "the memory of a connection is bounded");
  });
});

Deno.test("serveByteProxy: serves many concurrent connections", async () => {
  await stage(async (dir, upstream) => {
    const path = join(dir, "cri-proxy");
    await using _proxy = await serveByteProxy({ path, upstream, reader: () => UNAVAILABLE });
    const answers = await Promise.all(
      Array.from({ length: 50 }, (_, i) => exchange(path, new Uint8Array(10_000).fill(i))),
    );
    answers.forEach((answer, i) => {
      deepEqual(answer, Uint8Array.from([...new Uint8Array(10_000).fill(i), ...BYE]));
    });
  });
});

Deno.test("serveByteProxy: closes connections over the limit, and recovers when one has ended", async () => {
  await stage(async (dir, upstream) => {
    const path = join(dir, "cri-proxy");
    await using criProxy = await serveByteProxy({
      path,
      upstream,
      maxConnections: 2,
      reader: () => UNAVAILABLE,
    });
    const open = await Promise.all(
      [1, 2].map(() => Deno.connect({ transport: "unix", path })),
    );
    while (criProxy.counts().openConnections < 2) await new Promise((done) => setTimeout(done, 5));
    const third = await Deno.connect({ transport: "unix", path });
    equal(await third.read(new Uint8Array(1)), null);
    third.close();
    deepEqual([criProxy.counts().connections, criProxy.counts().refusedConnections], [3, 1]);
    open[0]?.close();
    while (criProxy.counts().openConnections > 1) await new Promise((done) => setTimeout(done, 5));
    deepEqual(await exchange(path, new Uint8Array(1)), Uint8Array.from([0, ...BYE]));
    open[1]?.close();
  });
});

Deno.test("serveByteProxy: closes the client's connection when the upstream is unreachable", async () => {
  await stage(async (dir, upstream) => {
    const path = join(dir, "cri-proxy");
    await using proxy = await serveByteProxy({
      path,
      upstream: join(dir, "missing"),
      reader: () => UNAVAILABLE,
    });
    const connection = await Deno.connect({ transport: "unix", path });
    equal(await connection.read(new Uint8Array(1)), null);
    connection.close();
    equal(proxy.counts().refusedConnections, 1);
    await Deno.symlink(upstream, join(dir, "missing"));
    deepEqual(await exchange(path, new Uint8Array(1)), Uint8Array.from([0, ...BYE]), "it recovers");
  });
});

Deno.test("serveByteProxy: is idle when no call is in flight and no write is pending", {
  ignore: /^2\.[0-8]\./.test(Deno.version.deno), // closing does not cancel a write there
}, async () => {
  await stage(async (dir, upstream) => {
    const path = join(dir, "cri-proxy");
    let callsInFlight = 1;
    const reader = (): ByteReader => ({
      ...UNAVAILABLE,
      get callsInFlight() {
        return callsInFlight;
      },
    });
    await using criProxy = await serveByteProxy({ path, upstream, reader });
    equal(criProxy.isIdle(), true);
    const connection = await Deno.connect({ transport: "unix", path });
    while (criProxy.isIdle()) await new Promise((done) => setTimeout(done, 5));
    callsInFlight = 0;
    equal(criProxy.isIdle(), true, "a connection without a call");
    // More than the socket buffers hold while the client does not read.
    const writing = (async () => {
      while (true) await connection.write(new Uint8Array(65_536));
    })().catch(() => {});
    while (criProxy.isIdle()) await new Promise((done) => setTimeout(done, 5));
    connection.close();
    await writing;
    while (!criProxy.isIdle()) await new Promise((done) => setTimeout(done, 5));
  });
});

Deno.test("serveByteProxy: closes its socket and all connections when it is disposed", async () => {
  await stage(async (dir, upstream) => {
    const path = join(dir, "down");
    const proxy = await serveByteProxy({ path, upstream, reader: () => UNAVAILABLE });
    const connection = await Deno.connect({ transport: "unix", path });
    await connection.write(Uint8Array.of(1));
    equal(await connection.read(new Uint8Array(1)), 1);
    await proxy[Symbol.asyncDispose]();
    equal(await connection.read(new Uint8Array(1)).catch(() => null), null);
    connection.close();
    await rejects(Deno.connect({ transport: "unix", path }), Deno.errors.NotFound);
    equal(proxy.counts().openConnections, 0);
  });
});

Deno.test("serveByteProxy: replaces the socket of a killed process, but not of a running one", async () => {
  await stage(async (dir, upstream) => {
    const path = join(dir, "cri-proxy");
    const stale = Deno.listen({ transport: "unix", path: join(dir, "stale") });
    await Deno.rename(join(dir, "stale"), path); // so that closing it leaves the socket behind
    stale.close();
    await using _proxy = await serveByteProxy({ path, upstream, reader: () => UNAVAILABLE });
    await rejects(
      serveByteProxy({ path, upstream, reader: () => UNAVAILABLE }),
      /another process listens on it/,
    );
    deepEqual(await exchange(path, new Uint8Array(1)), Uint8Array.from([0, ...BYE]));
  });
});

Deno.test("pointLink: does not replace a regular file", async () => {
  await stage(async (dir, upstream) => {
    const file = join(dir, "file");
    await Deno.writeTextFile(file, "mine");
    await rejects(pointLink(file, upstream), /not a symbolic link/);
    equal(await Deno.readTextFile(file), "mine");
  });
});

Deno.test("pointLink: repeated failures have the same message", async () => {
  const dir = await Deno.makeTempDir({ prefix: "link-" });
  try {
    const messages = await Promise.all(
      [1, 2].map(() =>
        pointLink(join(dir, "none", "link"), "/target").then(() => "", (error) => error.message)
      ),
    );
    equal(messages[0], messages[1]);
    equal(
      messages[0],
      `failed to link ${dir}/none/link to /target: no such file or folder (ENOENT)`,
    );
  } finally {
    await Deno.remove(dir, { recursive: true });
  }
});
