import { doesNotMatch, equal } from "node:assert/strict";
import { join } from "@std/path";
import { AgentProcess, simNode } from "./stage.ts";

const LONG = 'check_interval = "1h"\nrefresh_interval = "1h"';

Deno.test("stop: the agent exits although a helper and an API client still wait", async () => {
  await using node = simNode();
  const started = join(node.dir, "started");
  const bin = join(node.dir, "helpers");
  await Deno.mkdir(bin);
  const helper = `#!/bin/sh\necho $$ > ${started}\nexec /bin/sleep 3600\n`;
  await Deno.writeTextFile(join(bin, "docker-credential-slow"), helper, { mode: 0o755 });
  const docker = JSON.stringify({ credHelpers: { "slow.example.com": "slow" } });
  await Deno.writeTextFile(node.dockerConfigPath, docker, { mode: 0o600 });
  await using agent = await AgentProcess.start(node, { renewal: LONG, env: { PATH: bin } });
  const socket = await Deno.connect({ transport: "unix", path: join(node.dir, "api.sock") });
  const body = JSON.stringify({ ref: "slow.example.com/app:1" });
  const request = "POST /v1/credentials/get HTTP/1.1\r\nHost: localhost\r\n" +
    `Content-Type: application/json\r\nContent-Length: ${body.length}\r\n\r\n${body}`;
  await socket.write(new TextEncoder().encode(request));
  await agent.until(
    "the helper",
    () => Deno.stat(started).then(({ size }) => size > 0, () => false),
  );
  agent.signal("SIGTERM");
  equal(await agent.ended(), 0, agent.log);
  // The agent did not wait for the deadline of the request, which would end in a 504.
  const bytes = new Uint8Array(10_000);
  const size = await socket.read(bytes).catch(() => null) ?? 0;
  doesNotMatch(new TextDecoder().decode(bytes.subarray(0, size)), / 504 /);
  socket.close();
  const pid = (await Deno.readTextFile(started)).trim();
  await agent.until("the helper to exit", async () => {
    const status = await Deno.readTextFile(`/proc/${pid}/stat`).catch(() => "");
    return status === "" || / Z /.test(status);
  });
});
