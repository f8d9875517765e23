/** A nydusd that starts without a credential gets the cached one. */
import { equal, ok, strictEqual } from "node:assert/strict";
import { type SimDaemon, SimRegistry } from "../../lib/simulator/mod.ts";
import { AgentProcess, simNode } from "./stage.ts";
import { criProxyStage, memoryFolder, pullThrough } from "./cri_proxy_stage.ts";

const PAIR = "robot:pulled-once";

/** Only a tmpfs keeps remembered pulls across restarts of the agent. */
const HAS_TMPFS = await (async () => {
  await using folder = await memoryFolder();
  return folder.inMemory;
})();

async function readsSucceed(daemon: SimDaemon): Promise<boolean> {
  return (await daemon.readAll()).every(({ ok }) => ok);
}

for (const source of ["provider", "nydusd"] as const) {
  Deno.test(`restart: a nydusd that starts without a credential gets the one from the ${source}`, async () => {
    await using node = simNode();
    const image = `${node.tokenRegistry.host}/shop/app:1`;
    const daemons = await Promise.all([
      node.addDaemon({ id: "d1", mode: "dedicated", images: [image] }),
      node.addDaemon({ id: "s1", mode: "shared", images: [image, image] }),
    ]);
    if (source === "nydusd") node.setPlugin({ mode: "none" });
    await using agent = await AgentProcess.start(node);
    for (let i = 0; i < 2; i++) {
      node.setPlugin({ mode: source === "nydusd" ? "none" : "fail" });
      for (const daemon of daemons) {
        await daemon.restart({ isEmpty: true });
        await agent.until("reads that succeed", () => readsSucceed(daemon));
        for (const { mountId } of daemon.instances) {
          ok((await daemon.currentAuth(mountId) ?? "").startsWith("token:"));
        }
      }
    }
  });
}

Deno.test({
  name: "restart: a nydusd that started without an agent gets the remembered pull credential",
  ignore: !HAS_TMPFS, // pulls are remembered on a tmpfs only
  fn: async () => {
    await using registry = new SimRegistry();
    registry.accept("robot", "pulled-once");
    await criProxyStage(async ({ node, link, upstream, state, start, kill }) => {
      using listener = Deno.listen({ transport: "unix", path: upstream });
      const image = `${registry.host}/team/app:v1`;
      const images = [image];
      const daemon = await node.addDaemon({ id: "d1", mode: "dedicated", images, pair: "" });
      const first = await start();
      const auth = { username: "robot", password: "pulled-once" };
      await pullThrough(link, listener, { image, auth });
      await first.until("reads that succeed", () => readsSucceed(daemon));
      await first.until("the remembered pull", async () => {
        return (await Deno.readTextFile(state).catch(() => "")).includes(image);
      });
      await kill(first);
      await daemon.restart();
      equal(await daemon.currentAuth("/"), "");
      const second = await start();
      await second.until("reads that succeed", () => readsSucceed(daemon));
      strictEqual(await daemon.currentAuth("/"), PAIR);
      await second[Symbol.asyncDispose]();
    });
  },
});
