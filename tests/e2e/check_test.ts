/** `check`: every problem that it detects, caused on the simulated node. */
import { doesNotMatch, equal, match } from "node:assert/strict";
import { join } from "@std/path";
import { parse as parseYaml } from "yaml";
import type { SimNode } from "../../lib/simulator/mod.ts";
import { AgentProcess, command, simNode } from "./stage.ts";

/** Runs `check` on a node, with these lines in its configuration, for these images. */
async function check(node: SimNode, toml: string, refs: readonly string[] = []) {
  const config = join(node.dir, "check.toml");
  const head = `[snapshotter]\nconfig = "${node.snapshotterConfigPath}"\n[providers.docker]\n` +
    `config = "${node.dockerConfigPath}"\n`;
  await Deno.writeTextFile(config, `${head}${toml}\n`, { mode: 0o600 });
  return await command(["check", ...refs, "--config", config]);
}

Deno.test("check: reports a healthy node, and delivers nothing", async () => {
  await using node = simNode({ plugin: { shape: "ecr", lifetimeMs: 3_600_000 } });
  const image = `${node.tokenRegistry.host}/shop/app:1`;
  await node.addDaemon({ id: "d1", mode: "dedicated", images: [image], pair: "token:at-first" });
  await Deno.chmod(node.dockerConfigPath, 0o600);
  const { code, out } = await check(node, "", [image]);
  equal(code, 0, out);
  match(out, /^ok: clock: 20\d\d-/m);
  match(out, /^ok: sockets: 1 of 1 nydusd answer, with 1 mounts$/m);
  match(out, /^ok: permissions: daemons' folders are writable$/m);
  match(out, /^ok: .*\/shop\/app:1: kubelet has a credential \(plugin sim-/m);
  match(out, /^ok: .*\/shop\/app:1: the credential expires in (?:1h|59m\d+s)$/m);
  doesNotMatch(out, /^warning: (?!.*agents run on this node)/m);
  equal(await node.daemons.get("d1")?.currentAuth("/"), "token:at-first");
  equal(node.pluginExecutions(), 1);
});

Deno.test("check: warns when the lead time is longer than the lifetime", async () => {
  await using node = simNode({ plugin: { shape: "ecr", lifetimeMs: 3_600_000 } });
  const image = `${node.tokenRegistry.host}/shop/app:1`;
  const { code, out } = await check(node, '[renewal]\nlead_time = "2h"', [image]);
  equal(code, 0);
  match(
    out,
    /^warning: .*its lifetime is (?:1h|59m\d+s) and renewal\.lead_time is 2h: it would be /m,
  );
});

Deno.test("check: warns about an expired token, a failed plugin, and an image without a provider", async () => {
  await using node = simNode({ plugin: { shape: "ecr", lifetimeMs: -60_000 } });
  const image = `${node.tokenRegistry.host}/shop/app:1`;
  const isExpired = await check(node, "", [image, "quay.io/a/b"]);
  match(isExpired.out, /^warning: quay\.io\/a\/b:latest: no provider has a credential for it /m);
  node.setPlugin({ mode: "fail", lifetimeMs: 60_000 });
  const failed = await check(node, "", [image]);
  match(
    failed.out,
    /^warning: provider kubelet, sim-\S+: the plugin exited with an error: .*code 1 \(run: /m,
  );
});

Deno.test("check: reports the execution of every plugin, also of one that fails beside another", async () => {
  await using node = simNode({ plugin: { shape: "ecr", lifetimeMs: 3_600_000 } });
  const image = `${node.tokenRegistry.host}/shop/app:1`;
  const config = parseYaml(await Deno.readTextFile(node.providerConfigPath));
  const [working] = config.providers;
  const others = ["broken", "absent", "empty"].map((name) => ({ ...working, name }));
  config.providers.push(...others);
  await Deno.writeTextFile(node.providerConfigPath, JSON.stringify(config));
  const plugin = (name: string, script: string) =>
    Deno.writeTextFile(join(node.dir, "bin", name), script, { mode: 0o755 });
  await plugin("broken", "#!/bin/sh\nexit 3\n");
  await plugin(
    "empty",
    `#!/bin/sh\necho '{"kind":"CredentialProviderResponse","apiVersion":"${working.apiVersion}",` +
      `"cacheKeyType":"Image","auth":null}'\n`,
  );
  const { code, out, err } = await check(node, "", [image]);
  equal(code, 2);
  match(err, /\/absent: it does not exist \(install the plugin there\)/);
  match(out, /^ok: .*: plugin sim-credential-provider returned a credential in \d+m?s$/m);
  match(out, /^ok: .*: plugin empty returned no credential in \S+$/m);
  match(out, /^warning: provider kubelet, broken: the plugin exited with an error: .*code 3/m);
  match(out, /^warning: provider kubelet, absent: the plugin is not in the plugin directory/m);
  match(out, /^ok: .*: kubelet has a credential /m);
});

Deno.test("check: warns about an old nydusd, a stopped one, and a missing snapshotter", async () => {
  await using node = simNode();
  const images = [`${node.passwordRegistry.host}/a:1`];
  await node.addDaemon({ id: "old", mode: "dedicated", images, version: "2.4.0" });
  const stopped = await node.addDaemon({ id: "stopped", mode: "dedicated", images });
  stopped.signal("SIGSTOP");
  await node.stopSnapshotter();
  const { code, out } = await check(node, "");
  stopped.signal("SIGCONT");
  equal(code, 0);
  match(
    out,
    /^warning: .*nydusd old \(v2\.4\.0\) has no configuration API: .*\(use nydusd 2\.4\.1 /m,
  );
  match(out, /^warning: .*nydusd stopped is unresponsive: /m);
  match(out, /^warning: .*system\.sock: it does not exist \(start nydus-snapshotter, /m);
  match(out, /^ok: sockets: 1 of 2 nydusd answer, /m);
});

Deno.test("check: warns about double renewal, readable passwords, and a writable plugin folder", async () => {
  await using node = simNode();
  const text = await Deno.readTextFile(node.snapshotterConfigPath);
  const knob = 'credential_renewal_interval = "1h"\n';
  const auth = text.includes("[remote.auth]")
    ? text.replace("[remote.auth]\n", `[remote.auth]\n${knob}`)
    : `${text}\n[remote.auth]\n${knob}`;
  await Deno.writeTextFile(node.snapshotterConfigPath, auth);
  await Deno.chmod(node.dockerConfigPath, 0o644);
  await Deno.chmod(join(node.dir, "bin"), 0o777);
  const { code, out } = await check(node, "");
  equal(code, 0);
  match(out, /^warning: .*the snapshotter also renews credentials/m);
  match(out, /^warning: .*config\.json: other users can read the passwords in it /m);
  match(out, /^warning: .*\/bin: every user can write it, and so decide what the agent executes /m);
});

Deno.test("check: reports another program on the address of the agent", async () => {
  await using node = simNode();
  const options = { hostname: "127.0.0.1", port: 0, onListen: () => {} };
  const other = Deno.serve(options, () => new Response("hello"));
  const at = (port: number) => `[server]\naddress = "127.0.0.1:${port}"`;
  const taken = await check(node, at(other.addr.port));
  equal(taken.code, 2);
  match(
    taken.err,
    /^error: 127\.0\.0\.1:\d+: another program listens there, so the agent cannot start /m,
  );
  await other.shutdown();
  const free = await check(node, at(other.addr.port));
  equal(free.code, 0, free.err);
  await using agent = await AgentProcess.start(node);
  const runs = await check(node, at(Number(new URL(agent.base).port)));
  equal(runs.code, 0, runs.err);
  match(runs.out, /^ok: server: an agent answers at 127\.0\.0\.1:\d+$/m);
});

Deno.test("check: warns about two agents on one node", async () => {
  await using node = simNode();
  const program = join(node.dir, "nydus-auth-agent");
  await Deno.copyFile("/bin/sh", program);
  await Deno.chmod(program, 0o755);
  const agents = [1, 2].map(() =>
    new Deno.Command(program, { args: ["-c", "read line", "run"], stdin: "piped" }).spawn()
  );
  const { code, out } = await check(node, "");
  for (const agent of agents) {
    await agent.stdin.close();
    await agent.status;
  }
  equal(code, 0);
  const [, count = "", pids = ""] =
    /^warning: nydus-auth-agent: (\d+) agents run on this node \(processes ([\d, ]+)\): both renew/m
      .exec(out) ?? [];
  // Agents of other tests may run at the same time.
  equal(Number(count) >= 2, true, out);
  for (const { pid } of agents) equal(pids.split(", ").includes(String(pid)), true, pids);
});

Deno.test("check: reports a plugin that is missing or not executable", async () => {
  await using node = simNode();
  const plugin = join(node.dir, "bin", "sim-credential-provider");
  await Deno.chmod(plugin, 0o644);
  const closed = await check(node, "");
  equal(closed.code, 2);
  match(closed.err, /sim-credential-provider: it is not executable \(chmod \+x /);
  await Deno.remove(plugin);
  const gone = await check(node, "");
  equal(gone.code, 2);
  match(gone.err, /sim-credential-provider: it does not exist \(install the plugin there\)/);
});

Deno.test("check: reports an unknown group of the local API", async () => {
  await using node = simNode();
  const { code, err } = await check(node, '[api]\ngroup = "no-such-group"');
  equal(code, 2);
  match(
    err,
    /^error: \/etc\/group: api\.group: .*has no no-such-group \(groupadd --system no-such-group/m,
  );
});
