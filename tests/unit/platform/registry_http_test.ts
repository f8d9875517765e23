import { deepEqual, equal, match, ok, rejects } from "node:assert/strict";
import { join } from "@std/path";
import { createRegistryHttp } from "../../../lib/platform/mod.ts";
import { type RegistryHttpRequest, Secret } from "../../../lib/model/mod.ts";
import { certificates, HAS_OPENSSL } from "../../fakes/certificates.ts";
import { testInOwnProcess } from "../../fakes/own_process.ts";

function requestTo(url: string, more: Partial<RegistryHttpRequest> = {}): RegistryHttpRequest {
  return {
    method: "GET",
    url,
    headers: [],
    skipVerify: false,
    caFiles: [],
    timeoutMs: 60_000,
    maxBytes: 1_000,
    ...more,
  };
}

/** Starts a server with a response per path; `tls` uses the test certificates. */
async function server(tls: boolean): Promise<AsyncDisposable & { readonly url: string }> {
  const handler = async (request: Request) => {
    const { pathname } = new URL(request.url);
    if (pathname === "/hang") return await new Promise<Response>(() => {});
    if (pathname === "/away") {
      return new Response(null, { status: 307, headers: { location: "/" } });
    }
    if (pathname === "/long") return new Response("x".repeat(100_000));
    if (pathname === "/echo") {
      return new Response(`${request.headers.get("authorization")} ${await request.text()}`);
    }
    const headers: [string, string][] = [
      ["www-authenticate", 'Basic realm="a"'],
      ["www-authenticate", 'Bearer realm="b"'],
      ["content-length", "4"],
    ];
    return new Response(request.method === "HEAD" ? null : "none", { status: 401, headers });
  };
  const options = { hostname: "127.0.0.1", port: 0, onListen: () => {} };
  const { cert, key } = tls ? await certificates() : { cert: "", key: "" };
  const serving = tls
    ? Deno.serve({ ...options, cert, key }, handler)
    : Deno.serve(options, handler);
  return {
    url: `${tls ? "https" : "http"}://127.0.0.1:${serving.addr.port}`,
    [Symbol.asyncDispose]: () => serving.shutdown(),
  };
}

const resultOf = (request: RegistryHttpRequest) => createRegistryHttp().request(request);

for (
  const [name, tls, more] of [
    ["without TLS", false, {}],
    ["without verification", true, { skipVerify: true }],
  ] as const
) {
  const test = (what: string, fn: (url: string) => Promise<void>) =>
    Deno.test({
      name: `RegistryHttp, ${name}: ${what}`,
      ignore: tls && !HAS_OPENSSL,
      sanitizeResources: false, // the hanging connection belongs to the server
      sanitizeOps: false,
      async fn() {
        await using served = await server(tls);
        await fn(served.url);
      },
    });

  test("returns status and joined headers, and follows no redirect", async (url) => {
    for (const method of ["GET", "HEAD"] as const) {
      const answer = await resultOf(requestTo(`${url}/`, { ...more, method }));
      ok(answer.kind === "answered");
      equal(answer.status, 401);
      equal(answer.headers.get("www-authenticate"), 'Basic realm="a", Bearer realm="b"');
      equal(answer.body.reveal(), method === "HEAD" ? "" : "none");
    }
    const away = await resultOf(requestTo(`${url}/away`, more));
    equal(away.kind === "answered" && away.status, 307);
  });

  test("sends headers and body, and reads a long body up to the limit", async (url) => {
    const echoed = await resultOf(requestTo(`${url}/echo`, {
      ...more,
      method: "POST",
      headers: [["authorization", new Secret("Bearer t")]],
      body: new Secret("a=b"),
    }));
    equal(echoed.kind === "answered" && echoed.body.reveal(), "Bearer t a=b");
    const long = await resultOf(requestTo(`${url}/long`, more));
    equal(long.kind === "answered" && long.body.reveal().length, 1_000);
  });
}

Deno.test({
  name: "RegistryHttp: stops at the timeout and when its signal aborts",
  async fn() {
    const listener = Deno.listen({ hostname: "127.0.0.1", port: 0 });
    const url = `http://127.0.0.1:${listener.addr.port}/hang`;
    deepEqual(await resultOf(requestTo(url, { timeoutMs: 50 })), { kind: "timed-out" });
    const stop = new AbortController();
    const open = createRegistryHttp().request(requestTo(url), { signal: stop.signal });
    stop.abort(new Error("enough"));
    await rejects(open, /enough/);
    listener.close();
    const refused = await resultOf(requestTo("http://127.0.0.1:1/")); // nothing listens on port 1
    match(refused.kind === "unreachable" ? refused.detail : "", /refused/);
  },
});

Deno.test({
  name: "RegistryHttp: trusts authorities from files, and reports unreadable files",
  ignore: !HAS_OPENSSL,
  async fn() {
    await using served = await server(true);
    const folder = await Deno.makeTempDir();
    const file = join(folder, "ca.pem");
    await Deno.writeTextFile(file, (await certificates()).ca);
    const detail = async (more: Partial<RegistryHttpRequest>) => {
      const result = await resultOf(requestTo(`${served.url}/`, more));
      return result.kind === "unreachable" ? result.detail : result.kind;
    };
    equal(await detail({ caFiles: [file] }), "answered");
    const { ca } = await certificates();
    await Deno.writeTextFile(file, ca.padEnd(4_194_304, "\n"));
    equal(await detail({ caFiles: [file] }), "answered");
    await Deno.writeTextFile(file, ca.padEnd(4_194_305, "\n"));
    match(await detail({ caFiles: [file] }), /ca\.pem cannot be read/);
    match(await detail({}), /not trusted/);
    match(await detail({ caFiles: [join(folder, "none.pem")] }), /none\.pem cannot be read/);
    const proxyUrl = new Secret("socks5://127.0.0.1:1");
    ok(await detail({ skipVerify: true, proxyUrl }) !== "answered");
    await Deno.remove(folder, { recursive: true });
  },
});

/** Starts a tunneling proxy that records the heads of its requests. */
function tunnelling(answer = "HTTP/1.1 200 OK\r\n\r\n") {
  const heads: string[] = [];
  const listener = Deno.listen({ hostname: "127.0.0.1", port: 0 });
  const open: Deno.Conn[] = [];
  void (async () => {
    for await (const client of listener) {
      open.push(client);
      const bytes = new Uint8Array(4_096);
      const size = await client.read(bytes) ?? 0;
      const head = new TextDecoder().decode(bytes.subarray(0, size));
      heads.push(head);
      await client.write(new TextEncoder().encode(answer));
      const port = Number(/^CONNECT 127\.0\.0\.1:(\d+) /.exec(head)?.[1] ?? 0);
      if (!answer.startsWith("HTTP/1.1 200")) continue;
      const server = await Deno.connect({ hostname: "127.0.0.1", port });
      open.push(server);
      void client.readable.pipeTo(server.writable).catch(() => {});
      void server.readable.pipeTo(client.writable).catch(() => {});
    }
  })();
  return {
    heads,
    url: (login = "") => new Secret(`http://${login}127.0.0.1:${listener.addr.port}`),
    [Symbol.dispose]() {
      listener.close();
      for (const connection of open) {
        try {
          connection.close();
        } catch {
          // Closed by the peer.
        }
      }
    },
  };
}

Deno.test({
  name: "RegistryHttp: uses a proxy without certificate verification, as Dragonfly requires",
  ignore: !HAS_OPENSSL,
  sanitizeResources: false,
  sanitizeOps: false,
  async fn() {
    await using served = await server(true);
    using proxy = tunnelling();
    const headers = [["authorization", new Secret("Basic c2VjcmV0")]] as const;
    const proxied = { skipVerify: true, proxyUrl: proxy.url("me:p%40ss@"), headers };
    const answer = await resultOf(requestTo(`${served.url}/echo`, proxied));
    equal(answer.kind === "answered" && answer.body.reveal(), "Basic c2VjcmV0 ");
    match(proxy.heads[0] ?? "", /^CONNECT 127\.0\.0\.1:\d+ HTTP\/1\.1\r\n/);
    ok(proxy.heads[0]?.includes(`Proxy-Authorization: Basic ${btoa("me:p@ss")}\r\n`));
    ok(!proxy.heads[0]?.includes("c2VjcmV0"), "the proxy sees no credential of the registry");
    using closed = tunnelling("HTTP/1.1 407 Proxy Authentication Required\r\n\r\n");
    const refused = { skipVerify: true, proxyUrl: closed.url() };
    equal((await resultOf(requestTo("https://registry.example/", refused))).kind, "unreachable");
    match(closed.heads[0] ?? "", /^CONNECT registry\.example:443 HTTP/);
  },
});

testInOwnProcess(
  import.meta.url,
  "RegistryHttp: uses the configured proxy regardless of NO_PROXY",
  async () => {
    Deno.env.set("NO_PROXY", "127.0.0.1");
    await using served = await server(false);
    using proxy = tunnelling("HTTP/1.1 204 No Content\r\n\r\n");
    const proxyUrl = proxy.url("me:p%40ss@");
    const answer = await resultOf(requestTo(`${served.url}/`, { proxyUrl }));
    equal(answer.kind === "answered" && answer.status, 204);
    match(proxy.heads[0] ?? "", /^GET http:\/\/127\.0\.0\.1:\d+\//);
    ok(proxy.heads[0]?.includes(`proxy-authorization: Basic ${btoa("me:p@ss")}\r\n`));
  },
);
