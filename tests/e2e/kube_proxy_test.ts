/**
 * Connections to the API server through a proxy, from `proxy-url` of a kubeconfig or from the
 * environment.
 */
import { deepStrictEqual, match, strictEqual } from "node:assert/strict";
import { explain, kubeTest, NODE, TOKEN, withFolder, writeKubeconfig } from "./kube_stage.ts";

/** A proxy, with the target and user of each connection. */
interface Proxy extends Disposable {
  readonly host: string;
  readonly targets: readonly string[];
}

type Greet = (client: Deno.Conn, targets: string[]) => Promise<{ hostname: string; port: number }>;

function proxy(greet: Greet): Proxy {
  const targets: string[] = [];
  const listener = Deno.listen({ hostname: "127.0.0.1", port: 0 });
  const serve = async (client: Deno.Conn) => {
    const server = await Deno.connect(await greet(client, targets));
    await Promise.all([
      client.readable.pipeTo(server.writable).catch(() => {}),
      server.readable.pipeTo(client.writable).catch(() => {}),
    ]);
  };
  void (async () => {
    for await (const client of listener) void serve(client).catch(() => {});
  })().catch(() => {});
  const host = `127.0.0.1:${listener.addr.port}`;
  return { host, targets, [Symbol.dispose]: () => listener.close() };
}

/** Accepts only `CONNECT`. */
const greetHttp: Greet = async (client, targets) => {
  let text = "";
  const buffer = new Uint8Array(4_096);
  while (!text.includes("\r\n\r\n")) {
    const count = await client.read(buffer);
    if (count === null) throw new Error("the client disconnected");
    text += new TextDecoder().decode(buffer.subarray(0, count));
  }
  const [, target = "", hostname = "", port = ""] = /^CONNECT (([^:]+):(\d+)) /.exec(text) ?? [];
  const basic = /^proxy-authorization: basic (.*)\r$/im.exec(text)?.[1] ?? "";
  targets.push(`${target} as ${basic === "" ? "anonymous" : atob(basic)}`);
  await client.write(new TextEncoder().encode("HTTP/1.1 200 Connection established\r\n\r\n"));
  return { hostname, port: Number(port) };
};

/** SOCKS 5 (RFC 1928), with a username and password if the client offers them (RFC 1929). */
const greetSocks: Greet = async (client, targets) => {
  const bytes = async (count: number) => {
    const buffer = new Uint8Array(count);
    for (let done = 0; done < count;) done += await client.read(buffer.subarray(done)) ?? count;
    return buffer;
  };
  const text = async () => new TextDecoder().decode(await bytes((await bytes(1))[0] ?? 0));
  const [, methods = 0] = await bytes(2);
  const takesUser = (await bytes(methods)).includes(2);
  await client.write(new Uint8Array([5, takesUser ? 2 : 0]));
  let user = "anonymous";
  if (takesUser) {
    await bytes(1);
    user = `${await text()}:${await text()}`;
    await client.write(new Uint8Array([1, 0]));
  }
  const [, , , kind] = await bytes(4);
  const hostname = kind === 1 ? (await bytes(4)).join(".") : await text();
  const [high = 0, low = 0] = await bytes(2);
  const port = high * 256 + low;
  targets.push(`${hostname}:${port} as ${user}`);
  await client.write(new Uint8Array([5, 0, 0, 1, 0, 0, 0, 0, 0, 0]));
  return { hostname, port };
};

for (const [scheme, greet] of [["http", greetHttp], ["socks5", greetSocks]] as const) {
  kubeTest(
    `uses the ${scheme} proxy of a kubeconfig with its user, with TLS to the server`,
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
          strictEqual(through.targets.at(-1), `${host} as ${user.slice(0, -1) || "anonymous"}`);
          strictEqual((out + err).includes("proxypassword") || (out + err).includes(TOKEN), false);
        }
      });
    },
  );
}

kubeTest("uses the proxy of the environment, except for hosts in NO_PROXY", async () => {
  await withFolder(async (api, folder) => {
    using through = proxy(greetHttp);
    const path = await writeKubeconfig(folder, api);
    const node = `node_name = "${NODE}"`;
    const env = { HTTPS_PROXY: `http://${through.host}` };
    strictEqual((await explain(path, node, env)).code, 0);
    const { host } = new URL(api.url);
    deepStrictEqual([...new Set(through.targets)], [`${host} as anonymous`]);
    const count = through.targets.length;
    strictEqual((await explain(path, node, { ...env, NO_PROXY: "127.0.0.1" })).code, 0);
    strictEqual(through.targets.length, count);
  });
});
