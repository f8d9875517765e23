/** The one sentence: the same wherever the agent says it, and an exit code for each level. */
import { deepEqual, equal, match, ok } from "node:assert/strict";
import { join } from "@std/path";
import { AgentProcess, command, simNode } from "./stage.ts";

Deno.test("the sentence is one on the page, in status and /readyz; exit codes 0, 3, 4, 1", async () => {
  await using node = simNode({ plugin: { shape: "ecr", lifeMs: 600_000, cacheDuration: "2s" } });
  const image = `${node.tokenRegistry.host}/shop/app:1`;
  await node.addDaemon({ id: "d1", mode: "dedicated", images: [image] });
  const config = join(node.dir, "agent.toml");
  {
    await using agent = await AgentProcess.start(node);
    await agent.until("calm", async () => {
      const { level } = JSON.parse((await agent.get("/v1/status")).body).health;
      return level === "ok" && await node.allNewest();
    });
    const calm = await command(["status", "--config", config]);
    match(calm.out, /^ok: the one mount holds a valid credential; the next renewal is in /);
    equal(calm.code, 0);
    await agent.until("a line in the log", () => /info health-ok: /.test(agent.log));

    node.setPlugin({ mode: "fail" });
    await agent.until("trouble", async () => {
      const { level } = JSON.parse((await agent.get("/v1/status")).body).health;
      return level === "warning";
    });
    const warned = await command(["status", "--config", config, "--output", "json"]);
    equal(warned.code, 3);
    const { sentence, level, health } = JSON.parse(warned.out);
    deepEqual([level, sentence], [health.level, health.sentence]);
    const shape = (text: string) => text.replace(/\d+(\.\d+)?(ms|s|m|h)|(one|\d+) tr(y|ies)/g, "N");
    const ready = (await agent.get("/readyz?verbose")).body;
    ok(shape(ready).includes(shape(`warning: ${sentence}`)), `${ready}\n${sentence}`);
    const page = (await agent.get("/")).body.replaceAll("&#39;", "'");
    ok(shape(page).includes(shape(`: ${sentence}</p>`)), sentence);
    const own = await agent.get(`/images?ref=${encodeURIComponent(image)}`);
    equal(own.status, 200);
    match(own.body, /renewal-failed/);
  }
  const gone = await command(["status", "--config", config]);
  equal(gone.code, 1);
  match(gone.err, /^ask the agent at http:\/\/127\.0\.0\.1:\d+\/v1\/status: .*; is it running\n$/);
});

Deno.test("status: a credential that is dead is exit code 4", async () => {
  await using node = simNode({ plugin: { shape: "ecr", lifeMs: 3_000, cacheDuration: "1s" } });
  const image = `${node.tokenRegistry.host}/shop/app:1`;
  await node.addDaemon({ id: "d1", mode: "dedicated", images: [image] });
  await using agent = await AgentProcess.start(node);
  node.setPlugin({ mode: "fail" });
  await agent.until("its end", async () => {
    const { images, health } = JSON.parse((await agent.get("/v1/status")).body);
    return images[0]?.window === "expired" && health.level === "critical";
  });
  const { code, out } = await command(["status", "--config", join(node.dir, "agent.toml")]);
  equal(code, 4);
  match(
    out,
    /^critical: the credential of .* expired .* ago, and reads that nydusd has not cached/,
  );
  await agent.until("a line in the log", () => /error health-critical: the cred/.test(agent.log));
});
