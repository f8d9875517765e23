import { deepEqual, ok } from "node:assert/strict";
import { parseDurationMs } from "../../lib/model/mod.ts";
import { readProviderConfig } from "../../lib/providers/exec_plugin/provider_config.ts";
import { runVectors } from "./vectors.ts";

interface ProviderConfigVector {
  readonly name: string;
  readonly text: string;
  readonly plugins?: readonly string[];
  readonly error?: string;
}

// Source: nydus-snapshotter `pkg/auth/kubelet.go`, `NewKubeletProvider`.
Deno.test("readProviderConfig: agrees with every vector of provider-configs.json", () => {
  runVectors<ProviderConfigVector>("provider-configs", ({ text, plugins, error }) => {
    const reading = readProviderConfig(text, "config.yaml");
    if (error !== undefined) {
      // Without a plugin in any file, `openProviderConfig` refuses them.
      ok(reading.problems.length > 0 || reading.plugins.length === 0, "it must be refused");
      return;
    }
    deepEqual(reading.problems, []);
    const found = reading.plugins.map(({ name, defaultCacheDurationMs }) => [
      name,
      defaultCacheDurationMs,
    ]);
    const wanted = plugins?.map((plugin) => {
      const [name, duration = ""] = plugin.split(" ");
      return [name, Math.trunc(parseDurationMs(duration))];
    });
    deepEqual(found, wanted);
  });
});
