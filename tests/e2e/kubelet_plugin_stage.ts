import { deepEqual, equal } from "node:assert/strict";
import { join } from "@std/path";
import type { SimNode } from "../../lib/simulator/mod.ts";
import { AgentProcess, PROGRAM, runWith, simNode } from "./stage.ts";

/** A configuration of the kubelet in which the agent answers in place of the simulated plugin. */
export interface KubeletPlugin {
  readonly configPath: string;
  readonly pluginDir: string;
  readonly plugin: string;
  readonly env: Readonly<Record<string, string>>;
}

/** Creates what `install --kubelet-plugin` does. */
async function wrapPlugin(node: SimNode): Promise<KubeletPlugin> {
  const plugin = join(node.pluginDir, "sim-credential-provider");
  const link = join(node.pluginDir, "nydus-credential-provider");
  const [program = "", ...words] = PROGRAM;
  // The binary recognizes the name of the link.
  if (words.length === 0) await Deno.symlink(program, link);
  else {
    const quoted = PROGRAM.map((word) => `'${word}'`).join(" ");
    const script = `#!/bin/sh\nexec ${quoted} credential-provider -- "$@"\n`;
    await Deno.writeTextFile(link, script, { mode: 0o755 });
  }
  const text = await Deno.readTextFile(node.providerConfigPath);
  const entry = `- name: nydus-credential-provider\n  args: ["${plugin}"]`;
  await Deno.writeTextFile(
    node.providerConfigPath,
    text.replace("- name: sim-credential-provider", entry),
  );
  const env = { NYDUS_AUTH_AGENT_API_SOCKET: join(node.dir, "api.sock") };
  return { configPath: node.providerConfigPath, pluginDir: node.pluginDir, plugin, env };
}

/**
 * Asserts that one execution of the plugin serves a mount, a pull of the kubelet and a docker
 * credential helper, and that the kubelet gets a credential without the agent too.
 *
 * @param lookUp Returns the kubelet's credentials for an image, as `user:password`.
 */
export async function expectOneExecution(
  lookUp: (kubelet: KubeletPlugin, image: string) => Promise<readonly string[]>,
): Promise<void> {
  await using node = simNode({ plugin: { lifetimeMs: 3_600_000, shape: "jwt" } });
  const { host } = node.tokenRegistry;
  const image = `${host}/team/app:1`;
  const daemon = await node.addDaemon({ id: "d1", mode: "shared", images: [image], pair: "a:old" });
  const kubelet = await wrapPlugin(node);
  const before = node.pluginExecutions();
  {
    await using agent = await AgentProcess.start(node);
    const mountId = daemon.instances[0]?.mountId ?? "";
    const isDelivered = async () => await daemon.currentAuth(mountId) === node.newestPair(image);
    await agent.until("the mount's credential", isDelivered);
    deepEqual(await lookUp(kubelet, image), [node.newestPair(image)]);
    const { code, out } = await runWith(
      [...PROGRAM, "docker-credential", "get"],
      kubelet.env,
      host,
    );
    equal(code, 0, out);
    const { Username, Secret } = JSON.parse(out);
    equal(`${Username}:${Secret}`, node.newestPair(image));
    equal(node.pluginExecutions() - before, 1, "executions for all three");
  }
  deepEqual(await lookUp(kubelet, image), [node.newestPair(image)], "without the agent");
  equal(node.pluginExecutions() - before, 2);
}
