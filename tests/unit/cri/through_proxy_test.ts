/** The reader in the CRI proxy: it must not change or delay any bytes. */
import { deepEqual, ok } from "node:assert/strict";
import { randomBytes } from "node:crypto";
import { join } from "node:path";
import fc from "fast-check";
import { writeAll } from "../../../lib/platform/http1.ts";
import { type ByteProxy, serveByteProxy } from "../../../lib/platform/mod.ts";
import { CriConnectionReader, PullCredentialCache } from "../../../lib/cri/mod.ts";
import { readRecording, type Sent } from "../../fakes/cri_conversation.ts";
import { corrupted } from "../../fakes/cri_corruption.ts";

const RECORDING = readRecording(
  Deno.readTextFileSync(new URL("./recordings/grpc-go.txt", import.meta.url)),
);

interface Stage {
  readonly criProxy: ByteProxy;
  /** A connection through the CRI proxy, and its upstream end. */
  connect(): Promise<{ readonly client: Deno.UnixConn; readonly server: Deno.UnixConn }>;
}

async function stage(run: (stage: Stage) => Promise<void>): Promise<void> {
  const dir = await Deno.makeTempDir({ prefix: "tap-" });
  const [path, upstream] = [join(dir, "cri-proxy"), join(dir, "up")];
  const listener = Deno.listen({ transport: "unix", path: upstream });
  const cache = new PullCredentialCache({ now: () => 0 });
  const criProxy = await serveByteProxy({
    path,
    upstream,
    reader: () => new CriConnectionReader({ cache }),
  });
  try {
    await run({
      criProxy,
      async connect() {
        const client = await Deno.connect({ transport: "unix", path });
        return { client, server: await listener.accept() };
      },
    });
  } finally {
    await criProxy[Symbol.asyncDispose]();
    listener.close();
    await Deno.remove(dir, { recursive: true });
  }
}

/** Reads until the peer closes its direction. */
async function readAll(connection: Deno.UnixConn): Promise<Uint8Array> {
  const pieces: Uint8Array[] = [];
  const buffer = new Uint8Array(65_536);
  for (let n = await connection.read(buffer); n !== null; n = await connection.read(buffer)) {
    pieces.push(buffer.slice(0, n));
  }
  return joined(pieces);
}

function joined(pieces: readonly Uint8Array[]): Uint8Array {
  const all = new Uint8Array(pieces.reduce((sum, { length }) => sum + length, 0));
  let at = 0;
  for (const piece of pieces) {
    all.set(piece, at);
    at += piece.length;
  }
  return all;
}

Deno.test("serveByteProxy: forwards corrupted conversations byte for byte in both directions", async () => {
  await stage(async ({ connect }) => {
    const sides = ["client", "server"] as const;
    const of = (chunks: readonly Sent[], side: Sent["from"]) =>
      joined(chunks.filter(({ from }) => from === side).map(({ bytes }) => bytes));
    await fc.assert(
      fc.asyncProperty(corrupted(RECORDING), async (chunks) => {
        const ends = await connect();
        const arriving = Promise.all([readAll(ends.server), readAll(ends.client)]);
        for (const { from, bytes } of chunks) await writeAll(ends[from], bytes);
        for (const side of sides) await ends[side].closeWrite();
        const arrived = await arriving;
        for (const side of sides) ends[side].close();
        deepEqual(arrived, sides.map((side) => of(chunks, side)));
      }),
      { numRuns: 60 },
    );
  });
});

Deno.test("serveByteProxy: buffers at most one chunk when a peer does not read", async () => {
  await stage(async ({ criProxy, connect }) => {
    const sent = randomBytes(4 * 1024 * 1024);
    const { client, server } = await connect();
    for (const [from, to] of [[client, server], [server, client]] as const) {
      const passed = () => {
        const { bytesToRuntime, bytesToClients } = criProxy.counts();
        return from === client ? bytesToRuntime : bytesToClients;
      };
      const sending = writeAll(from, sent).then(() => from.closeWrite());
      let before = -1;
      while (before !== passed() || before === 0) {
        before = passed();
        await new Promise((resolve) => setTimeout(resolve, 100));
      }
      // The buffers of two sockets and one chunk.
      ok(before < 2 * 1024 * 1024, `${before} bytes were read ahead`);
      ok(sent.equals(await readAll(to)));
      await sending;
    }
    client.close();
    server.close();
  });
});

Deno.test("serveByteProxy: forwards client data after the server has closed its direction", async () => {
  await stage(async ({ connect }) => {
    const { client, server } = await connect();
    await writeAll(server, Uint8Array.of(1, 2, 3));
    await server.closeWrite();
    deepEqual(await readAll(client), Uint8Array.of(1, 2, 3));
    await writeAll(client, Uint8Array.of(4, 5));
    await client.closeWrite();
    deepEqual(await readAll(server), Uint8Array.of(4, 5));
    client.close();
    server.close();
  });
});
