import { deepEqual, equal, match, ok, rejects } from "node:assert/strict";
import { createRegistryHttp } from "../../../lib/platform/mod.ts";
import {
  connectTcp,
  environmentProxy,
  ForbiddenAddressError,
  literalAddress,
  portOf,
} from "../../../lib/platform/connect.ts";
import { type RegistryHttpRequest, Secret } from "../../../lib/model/mod.ts";
import { systemClock } from "../../../lib/platform/host.ts";
import { replacing } from "../../fakes/runtime.ts";
import { testInOwnProcess } from "../../fakes/own_process.ts";

const { signal } = new AbortController();
const refuseMetadata = true;

/** Starts a server that counts and closes connections. */
function server() {
  const listener = Deno.listen({ hostname: "127.0.0.1", port: 0 });
  const from: string[] = [];
  const accepting = (async () => {
    for await (const connection of listener) {
      from.push(connection.remoteAddr.hostname);
      connection.close();
    }
  })();
  return {
    port: listener.addr.port,
    from,
    async [Symbol.asyncDispose]() {
      listener.close();
      await accepting;
    },
  };
}

Deno.test("connectTcp: rejects names that resolve only to metadata services", async () => {
  for (const addresses of [["169.254.169.254"], ["::ffff:169.254.169.254", "fe80::1"], []]) {
    const resolve = () => Promise.resolve(addresses);
    await rejects(
      connectTcp("registry.example.com", 443, signal, { refuseMetadata, resolve }),
      ForbiddenAddressError,
    );
  }
  for (const host of ["169.254.170.2", "[::ffff:a9fe:a9fe]", "[fd00:ec2::254]"]) {
    await rejects(connectTcp(host, 80, signal, { refuseMetadata }), ForbiddenAddressError);
  }
});

Deno.test("connectTcp: connects to the checked address and resolves the name once", async () => {
  await using there = server();
  const answers = [["169.254.169.254", "127.0.0.1"], ["169.254.169.254"]];
  const resolved: string[] = [];
  const resolve = (hostname: string) => {
    resolved.push(hostname);
    return Promise.resolve(answers.shift() ?? []);
  };
  const options = { refuseMetadata, resolve };
  const connection = await connectTcp("registry.example.com", there.port, signal, options);
  equal(connection.remoteAddr.hostname, "127.0.0.1");
  deepEqual(resolved, ["registry.example.com"]);
  equal(await connection.read(new Uint8Array(1)), null);
  connection.close();
});

Deno.test("connectTcp: tries the next address, and fails if all fail", async () => {
  await using there = server();
  const resolve = () => Promise.resolve(["127.0.0.2", "127.0.0.1"]);
  const connection = await connectTcp("name", there.port, signal, { resolve });
  equal(connection.remoteAddr.hostname, "127.0.0.1");
  connection.close();
  const nowhere = () => Promise.resolve(["127.0.0.2", "127.0.0.3"]);
  await rejects(
    connectTcp("name", there.port, signal, { resolve: nowhere }),
    Deno.errors.ConnectionRefused,
  );
});

Deno.test("connectTcp: tries any 8 addresses of a configured host, 250 ms apart", async () => {
  const tried: string[] = [];
  const delaysMs: number[] = [];
  const connect = ({ hostname = "" }: Deno.ConnectOptions) => {
    tried.push(hostname);
    return Promise.reject(new Deno.errors.ConnectionRefused(hostname));
  };
  const sleep = (ms: number) => {
    delaysMs.push(ms);
    return Promise.resolve();
  };
  const addresses = Array.from({ length: 9 }, (_, i) => `169.254.169.${254 - i}`);
  const resolve = () => Promise.resolve(addresses);
  await replacing(systemClock, { sleep }, async () => {
    await replacing(Deno, { connect: connect as unknown as typeof Deno.connect }, async () => {
      await rejects(connectTcp("name", 443, signal, { resolve }), /169\.254\.169\.254/);
    });
  });
  deepEqual(tried, addresses.slice(0, 8));
  deepEqual(delaysMs, [250, 500, 750, 1_000, 1_250, 1_500, 1_750]);
});

Deno.test("connectTcp: connects once although several addresses respond", async () => {
  await using there = server();
  const resolve = () => Promise.resolve(["127.0.0.1", "127.0.0.1"]);
  (await connectTcp("name", there.port, signal, { resolve })).close();
  await new Promise((done) => setTimeout(done, 300)); // the head start of the first address
  equal(there.from.length, 1);
});

Deno.test("connectTcp: an abort closes the connection, also later", async () => {
  const listener = Deno.listen({ hostname: "127.0.0.1", port: 0 });
  const stop = new AbortController();
  const connection = await connectTcp("127.0.0.1", listener.addr.port, stop.signal);
  const accepted = await listener.accept();
  stop.abort();
  equal(await accepted.read(new Uint8Array(1)), null);
  await rejects(connection.read(new Uint8Array(1)));
  accepted.close();
  listener.close();
});

Deno.test("literalAddress: returns an address without brackets, but no name", () => {
  const hosts = ["[::1]", "127.0.0.1", "127.0.0.1.example", "a"];
  deepEqual(hosts.map(literalAddress), ["::1", "127.0.0.1", undefined, undefined]);
});

Deno.test("portOf: returns the port of a URL or of its protocol", () => {
  const urls = ["http://a", "https://a", "http://a:443", "https://a:80", "https://[::1]:5000"];
  deepEqual(urls.map((url) => portOf(new URL(url))), [80, 443, 443, 80, 5000]);
});

Deno.test("connectTcp: resolves names like the operating system", async () => {
  await using there = server();
  (await connectTcp("localhost", there.port, signal, { refuseMetadata })).close();
});

Deno.test("connectTcp: does not wait for a name server after an abort", async () => {
  const stop = new AbortController();
  const resolve = () => new Promise<never>(() => {});
  const open = connectTcp("name", 443, stop.signal, { resolve });
  stop.abort(new Error("stop"));
  await rejects(open, /stop/);
});

const requestTo = (url: string, more: Partial<RegistryHttpRequest> = {}) =>
  ({
    method: "GET",
    url,
    headers: [],
    skipVerify: false,
    caFiles: [],
    timeoutMs: 60_000,
    maxBytes: 100,
    ...more,
  }) as const;

Deno.test("RegistryHttp: refuses metadata services, through a proxy and without verification too", async () => {
  await using there = server();
  const proxyUrl = new Secret(`http://127.0.0.1:${there.port}`);
  const http = createRegistryHttp();
  for (const more of [{}, { skipVerify: true }, { proxyUrl }, { proxyUrl, skipVerify: true }]) {
    for (const host of ["169.254.169.254", "[::ffff:169.254.170.23]", "2852039166"]) {
      for (const scheme of ["http", "https"]) {
        const result = await http.request(requestTo(`${scheme}://${host}/latest/`, more));
        match(result.kind === "unreachable" ? result.detail : result.kind, /forbidden/);
      }
    }
  }
  equal(there.from.length, 0);
});

const PROXY_NAME = "RegistryHttp: uses the proxy of the environment except for hosts in NO_PROXY";
testInOwnProcess(import.meta.url, PROXY_NAME, async () => {
  const names = ["HTTP_PROXY", "http_proxy", "ALL_PROXY", "all_proxy", "NO_PROXY", "no_proxy"];
  for (const name of names) Deno.env.delete(name);
  const proxied: string[] = [];
  await using proxy = Deno.serve(
    { hostname: "127.0.0.1", port: 0, onListen: () => {} },
    ({ url }) => {
      proxied.push(url);
      return new Response("from the proxy");
    },
  );
  await using origin = Deno.serve(
    { hostname: "127.0.0.1", port: 0, onListen: () => {} },
    () => new Response("from the origin"),
  );
  const url = `http://127.0.0.1:${origin.addr.port}/v2/`;
  const http = createRegistryHttp();
  const text = async () => {
    const result = await http.request(requestTo(url));
    ok(result.kind === "answered", Deno.inspect(result));
    return result.body.reveal();
  };
  Deno.env.set("HTTP_PROXY", `127.0.0.1:${proxy.addr.port}`);
  equal(await text(), "from the proxy");
  for (const list of ["*", "127.0.0.1", "a.example, 127.0.0.0/8"]) {
    Deno.env.set("NO_PROXY", list);
    equal(await text(), "from the origin", list);
  }
  for (const list of ["127.0.0.2", "10.0.0.0/8", ".0.0.2", ""]) {
    Deno.env.set("NO_PROXY", list);
    equal(await text(), "from the proxy", list);
  }
  Deno.env.set("NO_PROXY", ".a.example, b.example, 10.0.0.0/8");
  const exempt = ["a.example", "x.a.example", "x.b.example", "10.9.9.9"];
  const hosts = [...exempt, "xa.example", "c.example", "11.0.0.1"];
  deepEqual(hosts.filter((host) => !environmentProxy(new URL(`http://${host}/`))), exempt);
});
