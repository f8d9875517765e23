/**
 * Pull secrets of Kubernetes: the agent as a process, the simulated node, and an API server stand-in
 * over TLS.
 */
import { match, ok, strictEqual } from "node:assert/strict";
import type { SimNode } from "../../lib/simnode/mod.ts";
import { HAS_OPENSSL } from "../fakes/certificates.ts";
import { kubeApi, NODE, putPod, putSecret, writeKubeconfig } from "./kube_stage.ts";
import { AgentProcess, command, simNode } from "./stage.ts";

const ignore = !HAS_OPENSSL; // no certificates without it

const LONG = 'check_interval = "1h"\nrefresh_interval = "1h"';
const IMAGE = "registry.example.com/team/app:1";

function kubesecret(kubeconfig: string, more = `node_name = "${NODE}"`): string {
  return `[providers.kubesecret]\nenabled = true\nkubeconfig = "${kubeconfig}"\n${more}`;
}

async function mounted(node: SimNode): Promise<void> {
  await node.addDaemon({ id: "d1", mode: "dedicated", images: [IMAGE], pair: "robot:stale" });
}

const held = (node: SimNode) => node.daemons.get("d1")?.held("/");

for (const mode of ["referenced", "list"]) {
  Deno.test({
    name: `a changed secret reaches the mounts without waiting, mode ${mode}`,
    ignore,
    async fn() {
      await using api = await kubeApi();
      await using node = simNode();
      await mounted(node);
      putSecret(api, "pull", "registry.example.com/team", "first");
      putPod(api, "app", { secrets: ["pull"] });
      const more = mode === "list" ? 'mode = "list"' : undefined;
      const config = kubesecret(await writeKubeconfig(node.dir, api), more);
      await using agent = await AgentProcess.start(node, { renewal: LONG, more: config });
      await agent.until("the secret's credential", async () => await held(node) === "robot:first");
      putSecret(api, "pull", "registry.example.com/team", "second");
      await agent.until("the new one", async () => await held(node) === "robot:second");
    },
  });
}
