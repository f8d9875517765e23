import { equal, ok, rejects } from "node:assert/strict";
import { connectTls } from "../../../lib/platform/tls_connect.ts";
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
          for (let at = 0; at < count;) at += await connection.write(bytes.subarray(at, count));
        }
      });
      const { ca } = await certificates();
      const options = { host: "localhost", caCerts: [ca], skipVerify };
      const { signal } = new AbortController();
      const stream = await connectTls(await server.connect(), options, signal);
      const sent = crypto.getRandomValues(new Uint8Array(1_000));
      const sending = (async () => {
        for (let round = 0; round < size / 1_000; round++) {
          for (let at = 0; at < 1_000;) at += await stream.write(sent.subarray(at));
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
}

for (const skipVerify of [false, true]) {
  Deno.test({
    name: `connectTls: delivers each part when it arrives, and the end; skipVerify ${skipVerify}`,
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
      const stream = await connectTls(
        await server.connect(),
        options,
        new AbortController().signal,
      );
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
    name: `connectTls: carries a large request to a server that is slow; skipVerify ${skipVerify}`,
    ignore: !HAS_OPENSSL,
    async fn() {
      const sent = crypto.getRandomValues(new Uint8Array(65_536));
      const ROUNDS = 100;
      const received = Promise.withResolvers<boolean>();
      await using server = await tlsServer(async (connection) => {
        await connection.handshake();
        await new Promise((resolve) => setTimeout(resolve, 50));
        let at = 0;
        let isEqual = true;
        const bytes = new Uint8Array(65_536);
        while (at < sent.length * ROUNDS) {
          const count = await connection.read(bytes);
          if (count === null) break;
          for (let i = 0; i < count; i++) isEqual &&= bytes[i] === sent[at++ % sent.length];
        }
        received.resolve(isEqual && at === sent.length * ROUNDS);
      });
      const { ca } = await certificates();
      const options = { host: "localhost", caCerts: [ca], skipVerify };
      const stream = await connectTls(
        await server.connect(),
        options,
        new AbortController().signal,
      );
      for (let round = 0; round < ROUNDS; round++) {
        for (let at = 0; at < sent.length;) at += await stream.write(sent.subarray(at));
      }
      ok(await received.promise);
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
