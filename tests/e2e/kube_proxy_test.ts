/** The way to the API server through an HTTP proxy, as `proxy-url` of a kubeconfig names it. */
import { match, strictEqual } from "node:assert/strict";
import { join } from "@std/path";
import { HAS_OPENSSL } from "../fakes/certificates.ts";
import { kubeApi, NODE, putPod, putSecret, TOKEN, writeKubeconfig } from "./kube_stage.ts";
import { command } from "./stage.ts";

const IMAGE = "registry.example.com/team/app:1";

/** Takes `CONNECT` alone, and only with the right password. */
async function tunnel(client: Deno.Conn, told: string[]): Promise<void> {
  let text = "";
  const buffer = new Uint8Array(4_096);
  while (!text.includes("\r\n\r\n")) {
    const count = await client.read(buffer);
    if (count === null) return client.close();
    text += new TextDecoder().decode(buffer.subarray(0, count));
  }
  const [, target = "", hostname = "", port = ""] = /^CONNECT (([^:]+):(\d+)) /.exec(text) ?? [];
  const basic = /^proxy-authorization: basic (.*)\r$/im.exec(text)?.[1] ?? "";
  told.push(`${target} as ${basic === "" ? "nobody" : atob(basic)}`);
  const server = await Deno.connect({ hostname, port: Number(port) });
  await client.write(new TextEncoder().encode("HTTP/1.1 200 Connection established\r\n\r\n"));
  await Promise.allSettled([
    client.readable.pipeTo(server.writable),
    server.readable.pipeTo(client.writable),
  ]);
}

Deno.test({
  name: "kubesecret: a kubeconfig's proxy is used, with its user, and TLS ends at the API server",
  ignore: !HAS_OPENSSL,
  async fn() {
    await using api = await kubeApi();
    putSecret(api, "pull", "registry.example.com/team", "first");
    putPod(api, "app", { secrets: ["pull"] });
    const told: string[] = [];
    const proxy = Deno.listen({ hostname: "127.0.0.1", port: 0 });
    const serving = (async () => {
      for await (const client of proxy) void tunnel(client, told).catch(() => {});
    })();
    const folder = await Deno.makeTempDir();
    try {
      const url = `http://proxyuser:proxypassword@127.0.0.1:${proxy.addr.port}`;
      const path = await writeKubeconfig(folder, api);
      const text = await Deno.readTextFile(path);
      await Deno.writeTextFile(path, text.replace("cluster: {", `cluster: {proxy-url: "${url}", `));
      const config = join(folder, "agent.toml");
      const provider =
        `[providers.kubesecret]\nenabled = true\nkubeconfig = "${path}"\nnode_name = "${NODE}"`;
      await Deno.writeTextFile(config, provider);
      const args = ["explain", IMAGE, "--config", config, "--snapshotter-config", "off"];
      const { out, err, code } = await command(args);
      strictEqual(code, 0, out + err);
      match(out, /winner +kubesecret: secret default\/pull/);
      const { host } = new URL(api.url);
      strictEqual(told[0], `${host} as proxyuser:proxypassword`);
      strictEqual((out + err).includes("proxypassword") || (out + err).includes(TOKEN), false);
    } finally {
      proxy.close();
      await serving;
      await Deno.remove(folder, { recursive: true });
    }
  },
});
