/** The cost of an idle agent, as a number of wakeups: CPU time depends on the machine. */
import { ok } from "node:assert/strict";
import { readUsage } from "../../scripts/lib/process_usage.ts";
import { AgentProcess, pause, simNode } from "./stage.ts";

const SECONDS = 10;

Deno.test("Idle agent: wakes up at most 20 times per second with three mounts", async () => {
  await using node = simNode();
  for (const i of [1, 2, 3]) {
    const images = [`${node.passwordRegistry.host}/team/app-${i}:v1`];
    await node.addDaemon({ id: `d${i}`, mode: "dedicated", images });
  }
  await using agent = await AgentProcess.start(node, { renewal: "" });
  await agent.until("all deliveries", () => node.allNewest());
  await pause(17_000); // the HTTP client of the test keeps its connection for 15 s
  const before = readUsage(agent.pid).switches;
  await pause(SECONDS * 1_000);
  const perSecond = (readUsage(agent.pid).switches - before) / SECONDS;
  ok(perSecond <= 20, `${perSecond} voluntary context switches per second`);
});
