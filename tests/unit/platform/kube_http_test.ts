import { deepEqual, equal, match, ok, rejects } from "node:assert/strict";
import { join } from "@std/path";
import { Lines } from "../../../lib/platform/https_clients.ts";
import { createKubeHttp } from "../../../lib/platform/mod.ts";
import { type KubeConnection, type KubeHttpRequest, Secret } from "../../../lib/model/mod.ts";
import { SimKubeApi } from "../../../lib/simulator/kube_api.ts";
import { accepts, reservePort } from "../../../lib/simulator/ports.ts";
import {
  type Certificates,
  certificates,
  expiredCertificates,
  HAS_OPENSSL,
} from "../../fakes/certificates.ts";

const ignore = !HAS_OPENSSL; // no certificates without it

interface Stage {
  readonly api: SimKubeApi;
  readonly pems: Certificates;
  /** Sends a request with the test authority and the given options. */
  request(path: string, connection?: Partial<KubeConnection>): KubeHttpRequest;
}

function test(name: string, fn: (stage: Stage) => Promise<void>): void {
  Deno.test({
    name: `KubeHttp: ${name}`,
    ignore,
    async fn() {
      const pems = await certificates();
      await using api = await SimKubeApi.start(pems);
      api.tokens.set("t", "someone");
      await fn({
        api,
        pems,
        request: (path, connection = {}) => ({
          connection: { server: api.url, caPem: pems.ca, skipVerify: false, ...connection },
          method: "GET",
          path,
          headers: [["Authorization", new Secret("Bearer t")]],
          timeoutMs: 60_000,
          maxBytes: 100_000,
        }),
      });
    },
  });
}

test("returns complete responses, also with an error status", async ({ api, request }) => {
  using http = createKubeHttp();
  api.objects.put("secrets", { metadata: { name: "a", namespace: "n" } });
  const found = await http.request(request("/api/v1/namespaces/n/secrets/a"));
  ok(found.kind === "answered");
  equal(JSON.parse(found.body.reveal()).metadata.name, "a");
  const missing = await http.request(request("/api/v1/namespaces/n/secrets/b"));
  equal(missing.kind === "answered" && missing.status, 404);
  api.faults.status = { code: 429, retryAfter: 7 };
  const later = await http.request(request("/api/v1/secrets"));
  deepEqual(later.kind === "answered" && [later.status, later.retryAfterMs], [429, 7_000]);
  api.faults.status = { code: 429, retryAfter: 0 };
  const now = await http.request(request("/api/v1/secrets"));
  equal(now.kind === "answered" && now.retryAfterMs, 0);
  api.faults.status = { code: 503, retryAfter: 86_400 };
  const nextDay = await http.request(request("/api/v1/secrets"));
  equal(nextDay.kind === "answered" && nextDay.retryAfterMs, 3_600_000, "at most an hour");
});

test("reports a client key of another certificate, as during a rotation", async (stage) => {
  const { pems, request } = stage;
  using http = createKubeHttp();
  const mixed = { certPem: pems.clientCert, keyPem: new Secret(pems.key) };
  for (const more of [mixed, { ...mixed, serverName: "localhost" }]) {
    const result = await http.request(request("/x", more));
    equal(
      result.kind === "unreachable" && result.detail,
      "the client's key does not belong to its certificate",
    );
  }
});

test("verifies certificates, and reports failures without the request", async (stage) => {
  const { api, pems, request } = stage;
  using http = createKubeHttp();
  const detail = async (connection: Partial<KubeConnection>) => {
    const { caPem: _ca, ...bare } = request("/api/v1/secrets").connection;
    const result = await http.request({ ...request("/x"), connection: { ...bare, ...connection } });
    return result.kind === "unreachable" ? result.detail : result.kind;
  };
  match(await detail({}), /signed by an authority that is not trusted/);
  match(await detail({ caPem: "hunter2" }), /certificate|trusted/);
  await api.down();
  match(await detail({ caPem: pems.ca }), /refused/);
  await api.up();
  match(
    await detail({ caPem: pems.ca, serverName: "other.example.com" }),
    /not for this name|cannot be verified/,
  );
  equal(await detail({ serverName: "kubernetes.default.svc", caPem: pems.ca }), "answered");
  equal(await detail({ skipVerify: true }), "answered");
  const expired = await expiredCertificates();
  await api.down();
  await api.up(expired);
  match(await detail({ caPem: expired.ca }), /has expired/);
});

for (const own of [false, true]) {
  const way = own ? "by our own TLS" : "by the runtime's client";
  const more: Partial<KubeConnection> = own ? { serverName: "localhost" } : {};

  test(`stream: calls back for each line, ${way}`, async ({ api, request }) => {
    using http = createKubeHttp();
    api.bookmarkMs = 3_600_000;
    const heard: string[] = [];
    const stop = new AbortController();
    const begun = Promise.withResolvers<void>();
    let awaited = Promise.withResolvers<void>();
    const end = http.stream(
      { ...request("/api/v1/secrets?watch=true", more), idleMs: 60_000 },
      {
        started: begun.resolve,
        line(text) {
          heard.push(JSON.parse(text).object.metadata.name);
          awaited.resolve();
        },
      },
      stop,
    );
    for (const name of ["a", "b"]) {
      awaited = Promise.withResolvers();
      api.objects.put("secrets", { metadata: { name, namespace: "n" }, text: "é".repeat(9_000) });
      await awaited.promise;
    }
    await begun.promise;
    deepEqual(heard, ["a", "b"]);
    stop.abort(new Error("enough"));
    await rejects(end, /enough/);
  });

  test(`stream: ends when it is cut, idle or too long, ${way}`, async ({ api, request }) => {
    using http = createKubeHttp();
    api.bookmarkMs = 3_600_000;
    const lines: string[] = [];
    let begun = Promise.withResolvers<void>();
    const stream = (idleMs: number, maxBytes = 100_000) =>
      http.stream(
        { ...request("/api/v1/secrets?watch=true", more), idleMs, maxBytes },
        { started: () => begun.resolve(), line: (text) => void lines.push(text) },
      );
    deepEqual(await stream(50), { kind: "cut" });
    begun = Promise.withResolvers();
    const cut = stream(60_000);
    await begun.promise;
    api.cutWatches({ halfSent: true });
    deepEqual(await cut, { kind: "ended" });
    deepEqual(lines, []); // an incomplete event is dropped
    api.objects.put("secrets", {
      metadata: { name: "a", namespace: "n" },
      text: "x".repeat(2_000),
    });
    deepEqual(await stream(60_000, 1_000), { kind: "too-large" });
    api.faults.status = { code: 403 };
    const refused = await stream(60_000);
    equal(refused.kind === "answered" && refused.status, 403);
    while (api.watchCount > 0) await new Promise((resolve) => setTimeout(resolve, 10));
  });

  test(`fails for a late or too large response, ${way}`, async ({ api, request }) => {
    using http = createKubeHttp();
    api.faults.listDelayMs = 600;
    const slow = await http.request({ ...request("/api/v1/secrets", more), timeoutMs: 50 });
    deepEqual(slow, { kind: "timed-out" });
    api.faults.listDelayMs = 0;
    const large = await http.request({ ...request("/api/v1/secrets", more), maxBytes: 10 });
    deepEqual(large, { kind: "too-large" });
    await new Promise((resolve) => setTimeout(resolve, 700)); // the slow list completes meanwhile
  });
}

Deno.test("Lines: returns complete lines, however the bytes are split", () => {
  const bytes = new TextEncoder().encode("é1\n\n22\n333");
  const lines = (at: number, maxBytes = 4) => {
    const found = new Lines(maxBytes);
    return [bytes.subarray(0, at), bytes.subarray(at)].map((chunk) => found.add(chunk));
  };
  for (let at = 0; at < bytes.length - 4; at++) deepEqual(lines(at, 99).flat(), ["é1", "22"]);
  const ones = new Lines(4);
  const found = [...bytes].map((byte) => ones.add(Uint8Array.of(byte)));
  deepEqual(found.flat(), ["é1", "22"]);
  equal(ones.add(new Uint8Array(2)), undefined, "333 and two more bytes");
});

test("reuses the connection", async (stage) => {
  const { api, request } = stage;
  using http = createKubeHttp();
  const call = request("/api/v1/secrets");
  for (let i = 0; i < 3; i++) await http.request(call);
  equal(api.peers.size, 1);
  equal(api.calls.length, 3);
});

test("rejects an invalid header without quoting it", async (stage) => {
  using http = createKubeHttp();
  for (const connection of [{}, { serverName: "localhost" }]) {
    const result = await http.request({
      ...stage.request("/api/v1/secrets", connection),
      headers: [["Authorization", new Secret("Bearer hunter2\r\nX: y")]],
    });
    equal(result.kind, "unreachable");
    ok(!JSON.stringify(result).includes("hunter2"));
  }
  equal(stage.api.calls.length, 0);
});

Deno.test({
  name: "KubeHttp: sends a client certificate, with Deno's client and with TLS options",
  ignore,
  async fn() {
    const pems = await certificates();
    await using server = await opensslServer(pems);
    using http = createKubeHttp();
    const get = async (more: Partial<KubeConnection>) => {
      const result = await http.request({
        connection: { server: server.url, caPem: pems.ca, skipVerify: false, ...more },
        method: "GET",
        path: "/answer",
        headers: [],
        timeoutMs: 60_000,
        maxBytes: 1_000,
      });
      return result.kind === "answered" ? result.body.reveal().trim() : result.kind;
    };
    const own = { certPem: pems.clientCert, keyPem: new Secret(pems.clientKey) };
    equal(await get(own), '{"ok":true}');
    equal(await get({ ...own, serverName: "localhost" }), '{"ok":true}');
    const { caPem: _ca, ...unverified } = { caPem: pems.ca, ...own, skipVerify: true };
    equal(await get(unverified), '{"ok":true}');
    equal(await get({}), "unreachable");
  },
});

/** Starts a server that requires a client certificate of the test authority. */
async function opensslServer(
  { ca, cert, key }: Certificates,
): Promise<AsyncDisposable & { readonly url: string }> {
  const folder = await Deno.makeTempDir();
  const body = '{"ok":true}\n';
  const head = `HTTP/1.1 200 OK\r\nContent-Length: ${body.length}\r\nConnection: close\r\n\r\n`;
  const files = { "ca.crt": ca, "server.crt": cert, "server.key": key, answer: `${head}${body}` };
  for (const [name, text] of Object.entries(files)) {
    await Deno.writeTextFile(join(folder, name), text);
  }
  const reservation = reservePort();
  const { port } = reservation;
  const child = new Deno.Command("openssl", {
    args: ["s_server", "-accept", `127.0.0.1:${port}`, "-cert", "server.crt", "-key", "server.key"]
      .concat(["-CAfile", "ca.crt", "-Verify", "1", "-verify_return_error", "-HTTP"]),
    cwd: folder,
    stdin: "null",
    stdout: "null",
    stderr: "null",
  }).spawn();
  for (let tries = 0; tries < 200 && !await accepts(port); tries++) {
    await new Promise((resolve) => setTimeout(resolve, 20));
  }
  return {
    url: `https://127.0.0.1:${port}`,
    async [Symbol.asyncDispose]() {
      child.kill("SIGKILL");
      await child.status;
      reservation[Symbol.dispose]();
      await Deno.remove(folder, { recursive: true });
    },
  };
}
