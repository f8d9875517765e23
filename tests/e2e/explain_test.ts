/** `explain`, for mounted and other images. */
import { equal, match } from "node:assert/strict";
import { join } from "@std/path";
import { AgentProcess, command, simNode } from "./stage.ts";

Deno.test("explain: prints the winner, the other providers, and the credential in use", async () => {
  await using node = simNode();
  const image = `${node.tokenRegistry.host}/shop/app:1`;
  await node.addDaemon({ id: "d1", mode: "dedicated", images: [image] });
  const auth = btoa("u:p");
  node.tokenRegistry.accept("u", "p");
  await Deno.writeTextFile(
    node.dockerConfigPath,
    JSON.stringify({ auths: { [node.tokenRegistry.host]: { auth } } }),
  );
  await using agent = await AgentProcess.start(node);
  const config = join(node.dir, "agent.toml");
  const mounted = await command(["explain", image, "--config", config]);
  equal(mounted.code, 0);
  match(
    mounted.out,
    /^node +1 mount, valid: the agent uses one from docker, renewed .* ago: the registry accepts it$/m,
  );
  match(mounted.out, /^earlier +not used by any mount; the last was d1\/1, \S+ ago$/m);
  match(mounted.out, /^3 +docker +found, wins +found /m);
  match(mounted.out, /^4 +kubelet +found, after docker /m);
  match(mounted.out, /^5 +kubesecret +none +not-enabled /m);
  // A credential that the registry rejects is not used, whatever its position in the chain.
  node.tokenRegistry.revoke("u", "p");
  await agent.until("the next provider of the chain", async () => {
    await node.readAll();
    return (await agent.status()).images[0]?.provider === "kubelet";
  });
  const next = await command(["explain", image, "--config", config]);
  match(next.out, /^node .* the agent uses one from kubelet, renewed .* ago: .*$/m);
  const other = await command(["explain", "quay.io/some/thing", "--config", config]);
  equal(other.code, 1);
  match(other.out, /^node +not mounted on this node$/m);
  match(other.out, /^ +plugin-not-matched +sim-credential-provider: no matchImages pattern /m);
});
