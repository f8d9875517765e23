import { equal, ok, rejects } from "node:assert/strict";
import { connectTls } from "../../../lib/platform/tls_connect.ts";
import { type ByteSource, type ByteStream, writeAll } from "../../../lib/platform/http1.ts";
import { Secret } from "../../../lib/model/mod.ts";
import { certificates, HAS_OPENSSL } from "../../fakes/certificates.ts";

// In a process of its own: tests that run beside this one open and close sockets.
for (
  const [client, verification] of [
    ["RegistryHttp", "with verification"],
    ["KubeHttp", "with verification"],
    ["RegistryHttp", "without verification"],
    ["KubeHttp", "without verification"],
  ] as const
) {
  Deno.test(`${client}: a handshake that hangs leaves no socket, ${verification}`, async () => {
    const program = new URL("./hanging_handshakes.ts", import.meta.url).pathname;
    const { stdout } = await new Deno.Command(Deno.execPath(), {
      args: ["run", "-A", "--quiet", "--no-check", program, client, verification],
      env: { DENO_NO_UPDATE_CHECK: "1", NO_COLOR: "1" },
      stdin: "null",
    }).output();
    equal(new TextDecoder().decode(stdout), "100 timed out, 0 sockets left\n");
  });
}

/** Starts a TLS server with a test certificate and a handler for connections. */
async function tlsServer(answer: (connection: Deno.TlsConn) => Promise<void>) {
  const { cert, key } = await certificates();
  const listener = Deno.listenTls({ hostname: "127.0.0.1", port: 0, cert, key });
  const answers: Promise<unknown>[] = [];
  const accepting = (async () => {
    for await (const connection of listener) {
      answers.push(answer(connection).catch(() => {}).finally(() => connection.close()));
    }
  })();
  return {
    connect: () => Deno.connect({ hostname: "127.0.0.1", port: listener.addr.port }),
    async [Symbol.asyncDispose]() {
      listener.close();
      await accepting;
      await Promise.all(answers);
    },
  };
}

const PART = crypto.getRandomValues(new Uint8Array(65_536));
/** More than the buffers of the kernel hold. */
const PARTS = 200;

async function sendParts(stream: Pick<ByteStream, "write">): Promise<void> {
  for (let i = 0; i < PARTS; i++) await writeAll(stream, PART);
}

/** Returns whether all parts arrive unchanged. */
async function receivesParts(stream: ByteSource): Promise<boolean> {
  let at = 0;
  const bytes = new Uint8Array(65_536);
  while (at < PART.length * PARTS) {
    const count = await stream.read(bytes);
    if (count === null) return false;
    for (let i = 0; i < count; i++) if (bytes[i] !== PART[at++ % PART.length]) return false;
  }
  return true;
}

/** Time in which the buffers fill. */
async function slowness(): Promise<void> {
  await new Promise((resolve) => setTimeout(resolve, 50));
}

for (const skipVerify of [false, true]) {
  const name = skipVerify ? "without verification" : "with verification";

  Deno.test({
    name: `connectTls: carries megabytes both ways, ${name}`,
    ignore: !HAS_OPENSSL,
    async fn() {
      const size = 3_000_000;
      await using server = await tlsServer(async (connection) => {
        const bytes = new Uint8Array(65_536);
        for (let rest = size; rest > 0;) {
          const count = await connection.read(bytes) ?? rest;
          rest -= count;
          await writeAll(connection, bytes.subarray(0, count));
        }
      });
      const { ca } = await certificates();
      const options = { host: "localhost", caCerts: [ca], skipVerify };
      const { signal } = new AbortController();
      const stream = await connectTls(await server.connect(), options, signal);
      const sent = crypto.getRandomValues(new Uint8Array(1_000));
      const sending = (async () => {
        for (let round = 0; round < size / 1_000; round++) {
          await writeAll(stream, sent);
        }
      })();
      const bytes = new Uint8Array(9_999); // not a multiple of what repeats
      let received = 0;
      let isEqual = true;
      while (received < size) {
        const count = await stream.read(bytes);
        if (count === null) break;
        for (let i = 0; i < count; i++) isEqual &&= bytes[i] === sent[received++ % 1_000];
      }
      await sending;
      equal(received, size);
      ok(isEqual);
      stream.close();
    },
  });

  Deno.test({
    name: `connectTls: delivers each part when it arrives, and the end, ${name}`,
    ignore: !HAS_OPENSSL,
    async fn() {
      await using server = await tlsServer(async (connection) => {
        const bytes = new Uint8Array(3);
        for (let count; (count = await connection.read(bytes)) !== null;) {
          if (count < bytes.length) return;
          await connection.write(bytes);
        }
      });
      const { ca } = await certificates();
      const options = { host: "localhost", caCerts: [ca], skipVerify };
      const { signal } = new AbortController();
      const stream = await connectTls(await server.connect(), options, signal);
      const bytes = new Uint8Array(8);
      for (let round = 0; round < 3; round++) {
        await stream.write(new Uint8Array(3).fill(round));
        equal(await stream.read(bytes), 3);
        equal(bytes[2], round);
      }
      await stream.write(new Uint8Array(1)); // the server closes
      equal(await stream.read(bytes), null);
      stream.close();
    },
  });

  Deno.test({
    name: `connectTls: loses nothing if the other side is slow to read, ${name}`,
    ignore: !HAS_OPENSSL,
    async fn() {
      const uploaded = Promise.withResolvers<boolean>();
      await using server = await tlsServer(async (connection) => {
        await connection.handshake();
        await slowness();
        uploaded.resolve(await receivesParts(connection));
        await sendParts(connection);
      });
      const { ca } = await certificates();
      const options = { host: "localhost", caCerts: [ca], skipVerify };
      const { signal } = new AbortController();
      const stream = await connectTls(await server.connect(), options, signal);
      await sendParts(stream);
      ok(await uploaded.promise);
      await slowness();
      ok(await receivesParts(stream));
      stream.close();
    },
  });
}

Deno.test({
  name: "connectTls: verifies the given name, not the address of the connection",
  ignore: !HAS_OPENSSL,
  async fn() {
    await using server = await tlsServer((connection) => connection.handshake().then(() => {}));
    const { ca, clientCert, clientKey } = await certificates();
    const { signal } = new AbortController();
    const client = { certPem: clientCert, keyPem: new Secret(clientKey) };
    for (const more of [{}, client]) {
      for (const host of ["other.example.com", "127.0.0.2"]) {
        const options = { host, caCerts: [ca], skipVerify: false, ...more };
        await rejects(
          async () => {
            const stream = await connectTls(await server.connect(), options, signal);
            try {
              await stream.read(new Uint8Array(1)); // one of the clients verifies only here
              equal(await stream.read(new Uint8Array(1)), "an error");
            } finally {
              stream.close();
            }
          },
          (error: Error) => !error.message.includes("an error"),
          host,
        );
      }
    }
  },
});
