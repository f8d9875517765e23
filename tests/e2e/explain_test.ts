/** `explain`, for images that are mounted and that are not, and as the kubelet would see them. */
import { deepEqual, equal, match } from "node:assert/strict";
import { join } from "@std/path";
import { AgentProcess, command, simNode } from "./stage.ts";

Deno.test("explain: which provider wins, which comes after it, and what the node uses", async () => {
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
    /^node +1 mount, fresh: the agent uses one from docker, renewed .* ago: the registry accepts it$/m,
  );
  match(mounted.out, /^3 +docker +found, wins +found /m);
  match(mounted.out, /^4 +kubelet +found, after docker /m);
  match(mounted.out, /^5 +kubesecret +none +not-enabled /m);
  // Whom the registry refuses the node does not use, wherever he stands in the chain.
  node.tokenRegistry.revoke("u", "p");
  await agent.until("the next one of the chain", async () => {
    await node.readAll();
    const elected = /^node .* the agent uses one from kubelet, renewed .* ago: .*$/m;
    return elected.test((await command(["explain", image, "--config", config])).out);
  });
  const other = await command(["explain", "quay.io/some/thing", "--config", config]);
  equal(other.code, 1);
  match(other.out, /^node +not mounted on this node$/m);
  match(other.out, /^ +plugin-not-matched +sim-credential-provider: no matchImages pattern /m);
});

Deno.test("explain --as-kubelet: its plugins and answers, and in what the agent differs", async () => {
  await using node = simNode();
  const image = `${node.tokenRegistry.host}/shop/app:1`;
  const bare = ["--snapshotter-config", "off", "--system-address", "off", "--address", "off"];
  const paths = ["--kubelet-config", node.providerConfigPath, "--kubelet-bin-dir"];
  const answered = await command(["explain", image, ...bare, ...paths, join(node.dir, "bin")]);
  match(answered.out, /^sim-credential-provider +127\.0\.0\.1:\d+ +found /m);
  match(
    answered.out,
    /^differs: the agent runs no plugins; give it --credential-provider-config /m,
  );
  equal(node.pluginExecutions(), 1);

  // A program of that name, with the flags of one, and a variable that we have not.
  const program = join(node.dir, "kubelet");
  await Deno.copyFile("/bin/sh", program);
  await Deno.chmod(program, 0o755);
  const flags = ["config", "bin-dir"].map((what) => `--image-credential-provider-${what}`);
  const rootDir = join(node.dir, "kubelet-root");
  await Deno.mkdir(rootDir);
  const auths = { [node.tokenRegistry.host]: { auth: btoa("u:hunter2") } };
  await Deno.writeTextFile(join(rootDir, "config.json"), JSON.stringify({ auths }));
  const kubelet = new Deno.Command(program, {
    args: [
      "-c",
      "read line",
      `${flags[0]}=${node.providerConfigPath}`,
      `${flags[1]}=/none`,
      `--root-dir=${rootDir}`,
    ],
    clearEnv: true,
    env: { AWS_PROFILE: "hunter2" },
    stdin: "piped",
  }).spawn();
  const seen = await command(["explain", image, ...bare, "--as-kubelet"]);
  await kubelet.stdin.close();
  await kubelet.status;
  match(seen.out, new RegExp(`^kubelet +process ${kubelet.pid}, ${program}$`, "m"));
  match(seen.out, new RegExp(`^config +${node.providerConfigPath}$`, "m"));
  match(seen.out, /^sim-credential-provider .* plugin-missing /m);
  match(seen.out, /^differs: the kubelet has AWS_PROFILE in its environment, and this command /m);
  match(
    seen.out,
    /^differs: the kubelet reads .*kubelet-root\/config\.json too, which has an entry /m,
  );
  equal(seen.out.includes("hunter2"), false);

  const json = await command([
    ...["explain", image, ...bare, "--output", "json", "--as-kubelet"],
    ...["--credential-provider-config", node.providerConfigPath],
    ...["--credential-provider-bin-dir", join(node.dir, "bin"), ...paths, join(node.dir, "none")],
  ]);
  const { asKubelet, winner } = JSON.parse(json.out);
  equal(winner.provider, "kubelet");
  deepEqual([asKubelet.outcome, asKubelet.reason], ["failed", "plugin-missing"]);
  deepEqual(asKubelet.differences, [`the agent runs plugins from ${join(node.dir, "bin")}`]);
  deepEqual(asKubelet.plugins[0].patterns, [node.tokenRegistry.host]);
});
