/**
 * Tests the agent as the kubelet's credential provider plugin with the kubelet's own code, as a Go
 * module. `NYDUS_TEST_KUBELET` is its version, such as v1.37.2; building it takes minutes.
 */
import { equal } from "node:assert/strict";
import { join } from "node:path";
import { expectOneExecution } from "../e2e/kubelet_plugin_stage.ts";

const VERSION = Deno.env.get("NYDUS_TEST_KUBELET");

/** Looks up images in the kubelet's keyring of plugins; prints `user:password` for each. */
const KUBELET = `package main

import (
	"fmt"
	"os"

	"k8s.io/kubernetes/pkg/credentialprovider/plugin"
)

func main() {
	if err := plugin.RegisterCredentialProviderPlugins(os.Args[1], os.Args[2], nil, nil); err != nil {
		panic(err)
	}
	keyring := plugin.NewExternalCredentialProviderDockerKeyring("default", "pod", "uid", "default")
	for _, image := range os.Args[3:] {
		found, _ := keyring.Lookup(image)
		for _, one := range found {
			fmt.Printf("%s:%s\\n", one.AuthConfig.Username, one.AuthConfig.Password)
		}
	}
}
`;

async function run(cwd: string, words: readonly string[], env: Readonly<Record<string, string>>) {
  const [path = "", ...args] = words;
  const { code, stdout, stderr } = await new Deno.Command(path, { args, cwd, env }).output();
  const text = (bytes: Uint8Array) => new TextDecoder().decode(bytes);
  equal(code, 0, `${words.join(" ")}: ${text(stderr)}`);
  return text(stdout);
}

/** Builds the program, and returns its path. */
async function buildKubelet(dir: string, version: string): Promise<string> {
  const go = (...args: readonly string[]) => run(dir, ["go", ...args], { GOFLAGS: "-mod=mod" });
  const download = await go("mod", "download", "-json", `k8s.io/kubernetes@${version}`);
  const modules = await Deno.readTextFile(JSON.parse(download).GoMod);
  // The modules of its own repository, which have the version 0.x.y.
  const replacements = [...modules.matchAll(/^\t(k8s\.io\/\S+) v0\.0\.0$/gm)].map(([, name]) =>
    `replace ${name} => ${name} ${version.replace("v1.", "v0.")}\n`
  );
  const head = `module kubelet\n\ngo 1.24\n\nrequire k8s.io/kubernetes ${version}\n\n`;
  await Deno.writeTextFile(join(dir, "go.mod"), head + replacements.join(""));
  await Deno.writeTextFile(join(dir, "main.go"), KUBELET);
  await go("mod", "tidy");
  await go("build", "-o", "kubelet", ".");
  return join(dir, "kubelet");
}

Deno.test({
  name: "credential-provider: serves the kubelet's own code (ignored without NYDUS_TEST_KUBELET)",
  ignore: VERSION === undefined,
  async fn() {
    const dir = await Deno.makeTempDir({ prefix: "kubelet-" });
    try {
      const kubelet = await buildKubelet(dir, VERSION ?? "");
      await expectOneExecution(async ({ configPath, pluginDir, env }, image) => {
        const out = await run(dir, [kubelet, configPath, pluginDir, image, image], env);
        // The kubelet caches the first response.
        const [first = "", second] = out.trimEnd().split("\n");
        equal(first, second);
        return [first];
      });
    } finally {
      await Deno.remove(dir, { recursive: true });
    }
  },
});
