import { deepEqual, equal, rejects } from "node:assert/strict";
import { join } from "node:path";
import { type ByteReader, serveByteProxy } from "../../../lib/platform/byte_proxy.ts";
import { pointLink } from "../../../lib/platform/links.ts";

const UNAVAILABLE: ByteReader = {
  callsInFlight: 0,
  fromClient: () => {},
  fromServer: () => {},
  clientEnded: () => {},
  closed: () => {},
};

/** A folder, and a server in it that says back what it is told, and a last word at the end. */
async function stage(run: (dir: string, upstream: string) => Promise<void>): Promise<void> {
  const dir = await Deno.makeTempDir({ prefix: "tap-" });
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
      for (let done = 0; done < n;) done += await connection.write(buffer.subarray(done, n));
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

/** Sends bytes, closes its half, and returns all that comes back. */
async function ask(path: string, bytes: Uint8Array): Promise<Uint8Array> {
  const connection = await Deno.connect({ transport: "unix", path });
  const answer = readAll(connection);
  for (let done = 0; done < bytes.length;) done += await connection.write(bytes.subarray(done));
  await connection.closeWrite();
  const all = await answer;
  connection.close();
  return all;
}

const BYE = [..."bye"].map((c) => c.charCodeAt(0));

Deno.test("serveByteTap passes all bytes both ways, and half-closes, and reads along", async () => {
  await stage(async (dir, upstream) => {
    const seen = { client: 0, server: 0, ended: 0, closed: 0 };
    const reader = (): ByteReader => ({
      callsInFlight: 0,
      fromClient: (chunk) => void (seen.client += chunk.length),
      fromServer: (chunk) => void (seen.server += chunk.length),
      clientEnded: () => void seen.ended++,
      closed: () => void seen.closed++,
    });
    const path = join(dir, "cri-proxy");
    await using _tap = await serveByteProxy({ path, upstream, reader });
    equal(((await Deno.stat(path)).mode ?? 0) & 0o777, 0o600);
    const bytes = Uint8Array.from({ length: 1_000_003 }, (_, i) => (i * 31) % 251);
    deepEqual(await ask(path, bytes), Uint8Array.from([...bytes, ...BYE]));
    deepEqual(seen, { client: bytes.length, server: bytes.length + 3, ended: 1, closed: 1 });
  });
});

Deno.test("serveByteTap serves many connections side by side", async () => {
  await stage(async (dir, upstream) => {
    const path = join(dir, "cri-proxy");
    await using _tap = await serveByteProxy({ path, upstream, reader: () => UNAVAILABLE });
    const answers = await Promise.all(
      Array.from({ length: 50 }, (_, i) => ask(path, new Uint8Array(10_000).fill(i))),
    );
    answers.forEach((answer, i) => {
      deepEqual(answer, Uint8Array.from([...new Uint8Array(10_000).fill(i), ...BYE]));
    });
  });
});

Deno.test("serveByteTap closes a connection too many at once, and serves again when one has ended", async () => {
  await stage(async (dir, upstream) => {
    const path = join(dir, "cri-proxy");
    await using criProxy = await serveByteProxy({
      path,
      upstream,
      maxConnections: 2,
      reader: () => UNAVAILABLE,
    });
    const currentAuth = await Promise.all(
      [1, 2].map(() => Deno.connect({ transport: "unix", path })),
    );
    while (criProxy.counts().openConnections < 2) await new Promise((done) => setTimeout(done, 5));
    const third = await Deno.connect({ transport: "unix", path });
    equal(await third.read(new Uint8Array(1)), null);
    third.close();
    deepEqual([criProxy.counts().connections, criProxy.counts().refusedConnections], [3, 1]);
    currentAuth[0]?.close();
    while (criProxy.counts().openConnections > 1) await new Promise((done) => setTimeout(done, 5));
    deepEqual(await ask(path, new Uint8Array(1)), Uint8Array.from([0, ...BYE]));
    currentAuth[1]?.close();
  });
});

Deno.test("serveByteTap closes the client's connection while nobody is behind it", async () => {
  await stage(async (dir, upstream) => {
    const path = join(dir, "cri-proxy");
    await using _tap = await serveByteProxy({
      path,
      upstream: join(dir, "nobody"),
      reader: () => UNAVAILABLE,
    });
    const connection = await Deno.connect({ transport: "unix", path });
    equal(await connection.read(new Uint8Array(1)), null);
    connection.close();
    await Deno.symlink(upstream, join(dir, "nobody"));
    deepEqual(await ask(path, new Uint8Array(1)), Uint8Array.from([0, ...BYE]), "it recovers");
  });
});

Deno.test("serveByteTap: is idle when no call is in flight and nothing is left to write", async () => {
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
    // More than the sockets take while nobody reads the answers.
    const writing = (async () => {
      while (true) await connection.write(new Uint8Array(65_536));
    })().catch(() => {});
    while (criProxy.isIdle()) await new Promise((done) => setTimeout(done, 5));
    connection.close();
    await writing;
    while (!criProxy.isIdle()) await new Promise((done) => setTimeout(done, 5));
  });
});

Deno.test("serveByteTap takes over the socket of a process that was killed, not of a living one", async () => {
  await stage(async (dir, upstream) => {
    const path = join(dir, "cri-proxy");
    const isExpired = Deno.listen({ transport: "unix", path: join(dir, "dead") });
    await Deno.rename(join(dir, "dead"), path); // so that closing it leaves the socket behind
    isExpired.close();
    await using _tap = await serveByteProxy({ path, upstream, reader: () => UNAVAILABLE });
    await rejects(
      serveByteProxy({ path, upstream, reader: () => UNAVAILABLE }),
      /another process serves there/,
    );
    deepEqual(await ask(path, new Uint8Array(1)), Uint8Array.from([0, ...BYE]));
  });
});

Deno.test("pointLink replaces no file that is no link", async () => {
  await stage(async (dir, upstream) => {
    const file = join(dir, "file");
    await Deno.writeTextFile(file, "mine");
    await rejects(pointLink(file, upstream), /no symbolic link/);
    equal(await Deno.readTextFile(file), "mine");
  });
});

Deno.test("pointLink: a failure is told alike however often it is tried", async () => {
  const dir = await Deno.makeTempDir({ prefix: "link-" });
  try {
    const told = await Promise.all(
      [1, 2].map(() =>
        pointLink(join(dir, "none", "link"), "/target").then(() => "", (error) => error.message)
      ),
    );
    equal(told[0], told[1]);
    equal(told[0], `point ${dir}/none/link at /target: ENOENT`);
  } finally {
    await Deno.remove(dir, { recursive: true });
  }
});
