import { equal } from "node:assert/strict";
import { readProviderConfig } from "../../lib/providers/exec_plugin/provider_config.ts";
import { runVectors } from "./vectors.ts";

interface TokenAttributesVector {
  readonly tokenAttributes: unknown;
  readonly error?: string;
}

// Source: Kubernetes 1.36 `pkg/credentialprovider/plugin`, `RegisterCredentialProviderPlugins`.
// Numeric audiences are omitted: like the snapshotter's loader, the agent converts them to strings.
Deno.test("readProviderConfig: agrees with every vector of token-attributes.json", () => {
  runVectors<TokenAttributesVector>("token-attributes", ({ tokenAttributes, error }) => {
    const { problems, plugins } = readProviderConfig(
      JSON.stringify({
        apiVersion: "kubelet.config.k8s.io/v1",
        kind: "CredentialProviderConfig",
        providers: [{
          name: "p",
          matchImages: ["a.io"],
          defaultCacheDuration: "1h",
          apiVersion: "credentialprovider.kubelet.k8s.io/v1",
          tokenAttributes,
        }],
      }),
      "config.yaml",
    );
    equal(problems.length > 0, error !== undefined, problems.map(({ problem }) => problem).join());
    const isWanted = error === undefined && tokenAttributes !== null;
    equal(plugins[0]?.tokenAttributes !== undefined, isWanted);
  });
});
