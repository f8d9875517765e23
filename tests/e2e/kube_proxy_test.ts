/**
 * The way to the API server through a proxy: as `proxy-url` of a kubeconfig names it, or the
 * environment.
 */
import { deepStrictEqual, match, strictEqual } from "node:assert/strict";
import { explain, kubeTest, NODE, TOKEN, withFolder, writeKubeconfig } from "./kube_stage.ts";

/** A proxy, and everybody whom it connected to whom. */
interface Proxy extends Disposable {
  readonly host: string;
  readonly told: readonly string[];
}

type Greet = (client: Deno.Conn, told: string[]) => Promise<{ hostname: string; port: number }>;

function proxy(greet: Greet): Proxy {
  const told: string[] = [];
  const listener = Deno.listen({ hostname: "127.0.0.1", port: 0 });
  const serve = async (client: Deno.Conn) => {
    const server = await Deno.connect(await greet(client, told));
    await Promise.allSettled([
      client.readable.pipeTo(server.writable),
      server.readable.pipeTo(client.writable),
    ]);
  };
  void (async () => {
    for await (const client of listener) void serve(client).catch(() => {});
  })().catch(() => {});
  const host = `127.0.0.1:${listener.addr.port}`;
  return { host, told, [Symbol.dispose]: () => listener.close() };
}

/** Takes `CONNECT` alone. */
const greetHttp: Greet = async (client, told) => {
  let text = "";
  const buffer = new Uint8Array(4_096);
  while (!text.includes("\r\n\r\n")) {
    const count = await client.read(buffer);
    if (count === null) throw new Error("the client has gone");
    text += new TextDecoder().decode(buffer.subarray(0, count));
  }
  const [, target = "", hostname = "", port = ""] = /^CONNECT (([^:]+):(\d+)) /.exec(text) ?? [];
  const basic = /^proxy-authorization: basic (.*)\r$/im.exec(text)?.[1] ?? "";
  told.push(`${target} as ${basic === "" ? "nobody" : atob(basic)}`);
  await client.write(new TextEncoder().encode("HTTP/1.1 200 Connection established\r\n\r\n"));
  return { hostname, port: Number(port) };
};

/** SOCKS 5 (RFC 1928), with a user name and password where they are offered (RFC 1929). */
const greetSocks: Greet = async (client, told) => {
  const bytes = async (count: number) => {
    const wanted = new Uint8Array(count);
    for (let done = 0; done < count;) done += await client.read(wanted.subarray(done)) ?? count;
    return wanted;
  };
  const text = async () => new TextDecoder().decode(await bytes((await bytes(1))[0] ?? 0));
  const [, methods = 0] = await bytes(2);
  const takesUser = (await bytes(methods)).includes(2);
  await client.write(new Uint8Array([5, takesUser ? 2 : 0]));
  let user = "nobody";
  if (takesUser) {
    await bytes(1);
    user = `${await text()}:${await text()}`;
    await client.write(new Uint8Array([1, 0]));
  }
  const [, , , kind] = await bytes(4);
  const hostname = kind === 1 ? (await bytes(4)).join(".") : await text();
  const [high = 0, low = 0] = await bytes(2);
  const port = high * 256 + low;
  told.push(`${hostname}:${port} as ${user}`);
  await client.write(new Uint8Array([5, 0, 0, 1, 0, 0, 0, 0, 0, 0]));
  return { hostname, port };
};

for (const [scheme, greet] of [["http", greetHttp], ["socks5", greetSocks]] as const) {
  kubeTest(
    `a kubeconfig's ${scheme} proxy is used, with its user, and TLS ends at the server`,
    async () => {
      await withFolder(async (api, folder) => {
        using through = proxy(greet);
        const { host } = new URL(api.url);
        for (const user of ["", "proxyuser:proxypassword@"]) {
          const path = await writeKubeconfig(folder, api);
          const text = await Deno.readTextFile(path);
          const url = `${scheme}://${user}${through.host}`;
          await Deno.writeTextFile(
            path,
            text.replace("cluster: {", `cluster: {proxy-url: "${url}", `),
          );
          const { out, err, code } = await explain(path);
          strictEqual(code, 0, out + err);
          match(out, /winner +kubesecret: secret default\/pull/);
          strictEqual(through.told.at(-1), `${host} as ${user.slice(0, -1) || "nobody"}`);
          strictEqual((out + err).includes("proxypassword") || (out + err).includes(TOKEN), false);
        }
      });
    },
  );
}

kubeTest("a proxy that the environment names is used, but for hosts that it excepts", async () => {
  await withFolder(async (api, folder) => {
    using through = proxy(greetHttp);
    const path = await writeKubeconfig(folder, api);
    const node = `node_name = "${NODE}"`;
    const env = { HTTPS_PROXY: `http://${through.host}` };
    strictEqual((await explain(path, node, env)).code, 0);
    const { host } = new URL(api.url);
    deepStrictEqual([...new Set(through.told)], [`${host} as nobody`]);
    const count = through.told.length;
    strictEqual((await explain(path, node, { ...env, NO_PROXY: "127.0.0.1" })).code, 0);
    strictEqual(through.told.length, count);
  });
});
