import { equal } from "node:assert/strict";
import { join } from "@std/path";
import { expectOneExecution } from "./kubelet_plugin_stage.ts";
import { runWith } from "./stage.ts";

Deno.test("credential-provider: one execution serves the kubelet, a mount and a docker helper", async () => {
  await expectOneExecution(async ({ pluginDir, plugin, env }, image) => {
    // As the kubelet of Kubernetes 1.37 encodes it; it also adds a line feed.
    const request = `{"kind":"CredentialProviderRequest",` +
      `"apiVersion":"credentialprovider.kubelet.k8s.io/v1","image":"${image}"}\n`;
    const words = [join(pluginDir, "nydus-credential-provider"), plugin];
    const { code, out, err } = await runWith(words, env, request);
    equal(code, 0, err);
    const { username, password } = Object.values<Record<string, string>>(JSON.parse(out).auth)[0] ??
      {};
    return [`${username}:${password}`];
  });
});
