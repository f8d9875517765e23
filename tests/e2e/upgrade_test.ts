/** A live upgrade moves a nydusd to another socket: `api1.sock`, `api2.sock`, … */
import { match, ok } from "node:assert/strict";
import { AgentProcess, simNode } from "./stage.ts";

Deno.test("upgrade: the agent follows a nydusd to its next socket, with and without the snapshotter", async () => {
  await using node = simNode();
  const password = node.passwordRegistry.host;
  const daemon = await node.addDaemon({
    id: "d1",
    mode: "dedicated",
    images: [`${password}/app:1`],
  });
  await using agent = await AgentProcess.start(node);
  await daemon.upgrade();
  node.rotatePassword("second");
  await agent.until("the second password", () => node.allNewest());
  await node.stopSnapshotter();
  for (const next of ["third", "fourth"]) {
    await daemon.upgrade();
    node.rotatePassword(next);
    await agent.until(`the ${next} password`, () => node.allNewest());
  }
  match((await agent.status()).daemons[0]?.apiSocket ?? "", /\/api3\.sock$/);
  ok((await node.readAll()).length === 1);
});
