import { deepEqual, equal, match } from "node:assert/strict";
import {
  lintPlugins,
  type PluginDefinition,
} from "../../../../lib/providers/exec_plugin/provider_config.ts";

function plugin(more: Partial<PluginDefinition>): PluginDefinition {
  const defaults = { defaultCacheDurationMs: 3_600_000, args: [], env: {} };
  return { name: "p", matchImages: ["registry.example.com"], ...defaults, ...more };
}

function lint(plugins: readonly Partial<PluginDefinition>[], environment = {}): string[] {
  return lintPlugins(plugins.map(plugin), environment, "f")
    .map(({ place, problem }) => `${place}: ${problem}`);
}

Deno.test("lintPlugins: reports patterns that match no image", () => {
  const cases: [string, RegExp | undefined][] = [
    ["registry.example.com/team", undefined],
    ["*.example.com", undefined],
    ["registry.example.com/*", /^providers\[0\]\.matchImages\[0\]: a path is a literal prefix/],
    ["https://registry.example.com/team/*", /a path is a literal prefix/],
    ["*.dkr.ecr.*.amazonaws.com", undefined],
    ["*.amazonaws.com", /\* matches within one label, .* such as 123456789012\.dkr\.ecr\./],
    ["*.*.azurecr.io", /such as example\.azurecr\.io/],
    ["*.pkg.dev", undefined],
    ["[", undefined],
  ];
  for (const [pattern, expected] of cases) {
    const [found, ...others] = lint([{ matchImages: [pattern] }]);
    equal(others.length, 0, pattern);
    if (expected === undefined) equal(found, undefined, pattern);
    else match(found ?? "", expected, pattern);
  }
});

Deno.test("lintPlugins: reports a pattern that two plugins have", () => {
  const plugins = [
    { name: "a", matchImages: ["a.io", "b.io"] },
    { name: "b", matchImages: ["b.io"] },
    { name: "c", matchImages: ["b.io/team"] },
  ];
  deepEqual(lint(plugins), [
    "providers[1].matchImages[0]: plugin a has the same pattern and precedes it",
  ]);
});

Deno.test("lintPlugins: reports a cache duration over a day", () => {
  const day = 24 * 3_600_000;
  deepEqual(lint([{ defaultCacheDurationMs: day }]), []);
  match(lint([{ defaultCacheDurationMs: day + 1 }])[0] ?? "", /defaultCacheDuration: .*24h/);
});

Deno.test("lintPlugins: reports variables that a cloud's plugin needs", () => {
  const gcp = { name: "auth-provider-gcp" };
  equal(lint([gcp]).length, 2);
  const env = { KUBE_SIDECAR_CACHE_TYPE: "registry" };
  equal(lint([{ ...gcp, env }]).length, 1);
  equal(lint([{ ...gcp, env }], { KUBE_SIDECAR_CACHE_DURATION: "4m" }).length, 0);
});

Deno.test("lintPlugins: reports service account tokens that ECR's plugin cannot use", () => {
  const role = "eks.amazonaws.com/ecr-role-arn";
  const withTokens = (required: string[], optional: string[], env = {}) =>
    lint([{
      name: "ecr-credential-provider",
      env,
      tokenAttributes: {
        audience: "sts.amazonaws.com",
        requireServiceAccount: true,
        requiredAnnotations: required,
        optionalAnnotations: optional,
        cacheType: "ServiceAccount",
      },
    }]);
  deepEqual(withTokens([], []), [
    "providers[0].tokenAttributes: Amazon ECR: without a role, the service account token is not used",
  ]);
  deepEqual(withTokens([role], []), []);
  deepEqual(withTokens([], [role]), []);
  deepEqual(withTokens([], [], { AWS_ECR_ROLE_ARN: "arn" }), []);
  deepEqual(lint([{ name: "ecr-credential-provider" }]), []);
});
