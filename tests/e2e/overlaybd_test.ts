import { deepStrictEqual, match, ok, strictEqual } from "node:assert/strict";
import { join } from "@std/path";
import { AgentProcess, command, freePort, simNode } from "./stage.ts";

const DIGEST = `sha256:${"ab".repeat(32)}`;

Deno.test("overlaybd asks over its socket and over loopback, and gets what mounts get", async () => {
  await using node = simNode({ plugin: { cacheDuration: "1h", lifeMs: 3_600_000 } });
  const { host } = node.tokenRegistry;
  const image = `${host}/shop/app:1`;
  await node.addDaemon({ id: "d1", mode: "dedicated", images: [image] });
  const socket = join(node.dir, "overlaybd.sock");
  const port = freePort();
  const more = `[overlaybd]\nsocket = "${socket}"\naddress = "127.0.0.1:${port}"`;
  await using agent = await AgentProcess.start(node, { more });
  strictEqual(((await Deno.lstat(socket)).mode ?? 0) & 0o777, 0o600);
  using client = Deno.createHttpClient({ proxy: { transport: "unix", path: socket } });
  const url = `https://${host}/v2/shop/app/blobs/${DIGEST}`;
  const [username, password] = node.newestPair(image).split(":");
  const executions = node.pluginExecutions();
  for (
    const [base, options] of [
      ["http://127.0.0.1", { client }],
      [`http://127.0.0.1:${port}`, {}],
    ] as const
  ) {
    const answer = await (await fetch(`${base}/auth?remote_url=${url}`, options)).json();
    strictEqual(answer.success, true);
    deepStrictEqual(answer.data, { auths: { [host]: { username, password } } });
    const unknown = `https://nobody.example.com/v2/a/blobs/${DIGEST}`;
    const anonymous = await (await fetch(`${base}/auth?remote_url=${unknown}`, options)).json();
    deepStrictEqual([anonymous.success, anonymous.data], [true, { auths: {} }]);
    const wrong = await fetch(`${base}/auth?remote_url=nonsense`, options);
    strictEqual(wrong.status, 400);
    await wrong.body?.cancel();
  }
  strictEqual(node.pluginExecutions(), executions, "the cache answers, also for another caller");
  ok(!agent.log.includes(password ?? "?"));
});

Deno.test("overlaybd's server is not let beyond loopback", async () => {
  await using node = simNode();
  const config = join(node.dir, "agent.toml");
  await Deno.writeTextFile(config, '[overlaybd]\naddress = "0.0.0.0:9112"\n');
  const { code, err } = await command(["check", "--config", config]);
  strictEqual(code, 2, err);
  match(err, /overlaybd\.address.*whoever asks there is given credentials/);
});
