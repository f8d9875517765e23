/** What is foretold of an outage is what then happens. */
import { ok, strictEqual } from "node:assert/strict";
import { join } from "@std/path";
import type { OutageForecast } from "../../lib/model/mod.ts";
import { AgentProcess, command, simNode } from "./stage.ts";

const LIFE_MS = 16_000;

Deno.test("an outage shows what was foretold: when the first read fails, and when none does", async () => {
  await using node = simNode({ plugin: { lifeMs: LIFE_MS, shape: "ecr", cacheDuration: "" } });
  const host = node.tokenRegistry.host;
  await node.addDaemon({ id: "s1", mode: "shared", images: [`${host}/a:1`, `${host}/b:1`] });
  await node.addDaemon({
    id: "d1",
    mode: "dedicated",
    images: [`${node.passwordRegistry.host}/os:1`],
  });
  await using agent = await AgentProcess.start(node);
  await agent.until("the newest credential in every mount", () => node.allNewest());
  node.setPlugin({ mode: "fail" });
  const forecastOf = async (down: string): Promise<OutageForecast> =>
    JSON.parse((await agent.get(`/v1/forecast?source_down=${down}`)).body);
  const { images } = await forecastOf("20s");
  const ends = images.flatMap(({ readsEndAtMs }) => readsEndAtMs ?? []);
  strictEqual(ends.length, 2, "the password's end is not known");
  const endMs = Math.min(...ends);
  const issued = await Deno.readTextFile(join(node.pluginDir, "issued"));
  const expiryMs = Number(issued.trimEnd().split("\n").at(-1)?.split(" ")[0]);
  strictEqual(endMs, expiryMs, "the forecast names the end of the last token");
  const metric = /^nydus_auth_agent_outage_tolerance_seconds (.*)$/m;
  const shownMs = Number(metric.exec((await agent.get("/metrics")).body)?.[1]) * 1_000;
  ok(shownMs > 0 && shownMs <= LIFE_MS, `${shownMs} on the metrics page`);
  await agent.until("a read to fail", async () => (await node.readAll()).some(({ ok }) => !ok));
  ok(Date.now() >= expiryMs, "a read failed before the forecast");

  node.setPlugin({ mode: "issue", lifeMs: 3_600_000 });
  await agent.until("every read", async () => (await node.readAll()).every((read) => read.ok));
  const calm = await forecastOf("10s");
  ok(calm.images.every(({ failingMs }) => failingMs === undefined), JSON.stringify(calm));
});

Deno.test("status --if-source-down says it in words, and by its exit code", async () => {
  await using node = simNode({ plugin: { lifeMs: 600_000, shape: "ecr" } });
  await node.addDaemon({ id: "d1", mode: "dedicated", images: [`${node.tokenRegistry.host}/a:1`] });
  await using agent = await AgentProcess.start(node);
  await agent.until("the newest credential in every mount", () => node.allNewest());
  const ask = (down: string) =>
    command(["status", "--config", `${node.dir}/agent.toml`, "--if-source-down", down]);
  const long = await ask("6h");
  strictEqual(long.code, 3, long.err);
  ok(
    /^if every source .* 1 of 1 mounts would fail to read, the first in 9m/.test(long.out),
    long.out,
  );
  const short = await ask("5s");
  strictEqual(short.code, 0, short.err);
  ok(short.out.includes("all 1 mounts would go on reading"), short.out);
  for (const bad of ["0s", "8761h", "-1h", "soon"]) {
    const refused = await ask(bad);
    strictEqual(refused.code, 2);
    ok(refused.err.includes("it is a duration from 1s to 168h, such as 6h"), refused.err);
  }
});
