import { deepEqual, doesNotMatch, equal, fail, ok } from "node:assert/strict";
import {
  openProviderConfig,
  readProviderConfig,
} from "../../../../lib/providers/exec_plugin/provider_config.ts";

import { FakeFiles } from "../../../fakes/files.ts";

const HEAD = "apiVersion: kubelet.config.k8s.io/v1\nkind: CredentialProviderConfig\nproviders:\n";
const GOOD = `- name: ecr
  apiVersion: credentialprovider.kubelet.k8s.io/v1
  matchImages: ["*.example.com"]
  defaultCacheDuration: 12h
`;
const read = (providers: string) => readProviderConfig(HEAD + providers, "p.yaml");

Deno.test("readProviderConfig: reports every problem with its indexed path", () => {
  const { problems, plugins } = read(`${GOOD}- name: a b
  apiVersion: v1
  matchImages: [""]
  defaultCacheDuration: -5m
  env: [{name: A, value: x}, {name: A, value: y}, {value: z}]
- {name: ecr, apiVersion: credentialprovider.kubelet.k8s.io/v1, matchImages: []}
- nonsense
`);
  deepEqual(problems.map(({ place }) => place).sort(), [
    "providers[1].apiVersion",
    "providers[1].defaultCacheDuration",
    "providers[1].env[1].name",
    "providers[1].env[2].name",
    "providers[1].matchImages[0]",
    "providers[1].name",
    "providers[2].defaultCacheDuration",
    "providers[2].matchImages",
    "providers[2].name",
    "providers[3]",
  ]);
  ok(problems.every(({ file, remedy }) => file === "p.yaml" && remedy !== ""));
  equal(plugins.length, 1);
});

Deno.test("readProviderConfig: converts numbers and booleans to strings, as the kubelet does", () => {
  const { problems, plugins } = read(`- name: 42
  apiVersion: credentialprovider.kubelet.k8s.io/v1
  matchImages: [127.0.0.1, 10]
  defaultCacheDuration: 1h
  args: [1, 0x10, 010, 1.5, yes, off, ~, "007", 12:30, 2026-01-01, 1_000]
  env: [{name: PORT, value: 8080}, {name: FLAG, value: on}, {name: __proto__, value: x}]
`);
  deepEqual(problems, []);
  equal(plugins[0]?.name, "42");
  deepEqual(plugins[0]?.args, [
    "1",
    "16",
    "8",
    "1.5",
    "true",
    "false",
    "",
    "007",
    "12:30",
    "2026-01-01",
    "1000",
  ]);
  deepEqual(Object.entries(plugins[0]?.env ?? {}), [["PORT", "8080"], ["FLAG", "true"], [
    "__proto__",
    "x",
  ]]);
});

Deno.test("readProviderConfig: accepts durations only as strings", () => {
  for (const value of ["5", "1.5", "true", "[1h]", "0x1", '"5 minutes"', '""', "null"]) {
    const text = GOOD.replace("defaultCacheDuration: 12h", `defaultCacheDuration: ${value}`);
    equal(read(text).problems[0]?.place, "providers[0].defaultCacheDuration", value);
  }
});

Deno.test("readProviderConfig: warns about unknown fields and invalid patterns", () => {
  const { problems, warnings, plugins } = read(`${GOOD.replace("*.example.com", "a[")}  future: 1
  tokenAttributes: {serviceAccountTokenAudience: x, requireServiceAccount: true, count: 1,
    requiredServiceAccountAnnotationKeys: [Example.com/Role, plain],
    optionalServiceAccountAnnotationKeys: [other], cacheType: Token}
`);
  deepEqual(problems, []);
  deepEqual(warnings.map(({ place }) => place).sort(), [
    "providers[0].future",
    "providers[0].matchImages[0]",
    "providers[0].tokenAttributes.count",
  ]);
  deepEqual(plugins[0]?.tokenAttributes, {
    audience: "x",
    requireServiceAccount: true,
    requiredAnnotations: ["Example.com/Role", "plain"],
    optionalAnnotations: ["other"],
    cacheType: "Token",
  });
});

Deno.test("readProviderConfig: validates tokenAttributes as the kubelet does", () => {
  const good = {
    serviceAccountTokenAudience: "x",
    requireServiceAccount: true,
    cacheType: "ServiceAccount",
  };
  const required = "requiredServiceAccountAnnotationKeys";
  const optional = "optionalServiceAccountAnnotationKeys";
  const cases: [Record<string, unknown> | string, string][] = [
    [{ ...good, serviceAccountTokenAudience: "" }, ".serviceAccountTokenAudience"],
    [{ ...good, requireServiceAccount: undefined }, ".requireServiceAccount"],
    [{ ...good, requireServiceAccount: false, [required]: ["a"] }, `.${required}`],
    [{ ...good, [required]: ["a", "a"] }, `.${required}[1]`],
    [{ ...good, [optional]: ["a/b/c"] }, `.${optional}[0]`],
    [{ ...good, [optional]: ["-a"] }, `.${optional}[0]`],
    [{ ...good, [optional]: [`${"a".repeat(254)}/b`] }, `.${optional}[0]`],
    [{ ...good, [optional]: ["a".repeat(64)] }, `.${optional}[0]`],
    [{ ...good, [optional]: [1] }, `.${optional}[0]`],
    [{ ...good, [optional]: "a" }, `.${optional}`],
    [{ ...good, [required]: ["a"], [optional]: ["a"] }, ""],
    [{ ...good, cacheType: undefined }, ".cacheType"],
    [{ ...good, cacheType: "serviceaccount" }, ".cacheType"],
    ["text", ""],
  ];
  for (const [tokenAttributes, place] of cases) {
    const text = `${GOOD}  tokenAttributes: ${JSON.stringify(tokenAttributes)}\n`;
    const { problems, plugins } = read(text);
    deepEqual(problems.map(({ place }) => place), [`providers[0].tokenAttributes${place}`], text);
    deepEqual(plugins, []);
  }
  const wordsOf = (more: Record<string, unknown>) =>
    read(`${GOOD}  tokenAttributes: ${JSON.stringify({ ...good, ...more })}\n`).problems
      .map(({ problem }) => problem);
  deepEqual(wordsOf({}), []);
  deepEqual(wordsOf({ cacheType: "" }), ["it is required"]);
  deepEqual(wordsOf({ cacheType: "Pod" }), ["this type is not supported"]);
  const pod = JSON.stringify({ ...good, cacheType: "Pod" });
  const [{ remedy } = fail()] = read(`${GOOD}  tokenAttributes: ${pod}\n`).problems;
  equal(remedy, "write ServiceAccount or Token");
  deepEqual(wordsOf({ [required]: ["/"], [optional]: ["/"] }), [
    "it is not a valid annotation key",
    "it is not a valid annotation key",
  ]);
});

Deno.test("readProviderConfig: reads JSON with tabs, and YAML anchors", () => {
  const json = JSON.stringify(
    {
      providers: [{
        name: "a",
        apiVersion: "credentialprovider.kubelet.k8s.io/v1",
        matchImages: ["a.io"],
        defaultCacheDuration: "0s",
      }],
    },
    null,
    "\t",
  );
  equal(readProviderConfig(json, "p.json").plugins[0]?.defaultCacheDurationMs, 0);
  const { problems, plugins } = read(
    GOOD.replace("- name", "- &a\n  name") + "- <<: *a\n  name: b\n",
  );
  deepEqual(problems, []);
  deepEqual(plugins.map(({ name }) => name), ["ecr", "b"]);
});

Deno.test("openProviderConfig: rejects invalid files without quoting them", async () => {
  const bomb = "a: &a [x,x,x,x,x,x,x,x,x]\n" +
    "bcdefghi".split("").map((c, i) =>
      `${c}: &${c} [${Array(9).fill("*" + "abcdefgh"[i]).join(",")}]\n`
    ).join("");
  for (
    const text of [
      "",
      "hello",
      "[]",
      "providers: hunter2",
      "providers: [",
      "a:\n\tb: hunter2",
      "\0",
      bomb,
    ]
  ) {
    const files = new FakeFiles();
    files.set("/p.yaml", text);
    const { problems = [], plugins } = await openProviderConfig("/p.yaml", files) ?? {};
    ok(problems.length > 0, JSON.stringify(text.slice(0, 20)));
    deepEqual(plugins, []);
    doesNotMatch(JSON.stringify(problems), /hunter2/);
  }
});

Deno.test("readProviderConfig: warns about an IPv6 pattern without a port", () => {
  const text = JSON.stringify({
    apiVersion: "kubelet.config.k8s.io/v1",
    kind: "CredentialProviderConfig",
    providers: [{
      name: "p",
      matchImages: ["[::1]:5000", "[::1]"],
      defaultCacheDuration: "1h",
      apiVersion: "credentialprovider.kubelet.k8s.io/v1",
    }],
  });
  const { problems, warnings } = readProviderConfig(text, "config.yaml");
  deepEqual(problems, []);
  deepEqual(warnings.map(({ place }) => place), ["providers[0].matchImages[1]"]);
});

Deno.test("openProviderConfig: returns the plugin that the agent's own entry stands for", async () => {
  const files = new FakeFiles();
  const read = async (rest: string) => {
    files.set("/p.yaml", HEAD + GOOD.replace("ecr", "nydus-credential-provider") + rest);
    const { plugins: [plugin] = [] } = await openProviderConfig("/p.yaml", files) ?? {};
    return [plugin?.name, plugin?.path, plugin?.args];
  };
  deepEqual(await read("  args: [/opt/ecr-credential-provider, get]\n"), [
    "ecr-credential-provider",
    "/opt/ecr-credential-provider",
    ["get"],
  ]);
  deepEqual(await read("  args: [get]\n"), ["nydus-credential-provider", undefined, ["get"]]);
  deepEqual(await read(""), ["nydus-credential-provider", undefined, []]);
});
