/** The Helm chart, without helm: the manifest that is generated from it, its values and schema. */
import { deepEqual, equal, ok } from "node:assert/strict";
import { parse as parseYaml, parseAllDocuments } from "yaml";
import { ASSETS } from "../../../lib/assets/mod.ts";
import denoConfig from "../../../deno.json" with { type: "json" };
import { load, OURS } from "../config/sources.ts";

const CHART = new URL("../../../lib/assets/chart/", import.meta.url);
const read = (name: string) => Deno.readTextFile(new URL(name, CHART));

const OBJECTS = parseAllDocuments(ASSETS["daemonset.yaml"].text).map((document) => document.toJS());

function object(kind: string) {
  const found = OBJECTS.filter((object) => object.kind === kind);
  equal(found.length, 1, kind);
  return found[0];
}

Deno.test("daemonset.yaml: has every object, with minimal permissions", () => {
  deepEqual(OBJECTS.map(({ kind }) => kind).sort(), [
    "ClusterRole",
    "ClusterRoleBinding",
    "ConfigMap",
    "DaemonSet",
    "Namespace",
    "NetworkPolicy",
    "ResourceQuota",
    "ServiceAccount",
  ]);
  const account = object("ServiceAccount");
  const binding = object("ClusterRoleBinding");
  equal(binding.roleRef.name, object("ClusterRole").metadata.name);
  deepEqual(binding.subjects, [{
    kind: "ServiceAccount",
    name: account.metadata.name,
    namespace: account.metadata.namespace,
  }]);
  equal(account.automountServiceAccountToken, false);
  const { scopeSelector } = object("ResourceQuota").spec;
  deepEqual(scopeSelector.matchExpressions[0].values, ["system-node-critical"]);
});

Deno.test("daemonset.yaml: runs the agent without privileges, with probes and limits", () => {
  const set = object("DaemonSet");
  const pod = set.spec.template.spec;
  const labels = set.spec.template.metadata.labels;
  for (const [name, value] of Object.entries(set.spec.selector.matchLabels)) {
    equal(labels[name], value);
  }
  const policy = object("NetworkPolicy");
  deepEqual(policy.spec.podSelector.matchLabels, set.spec.selector.matchLabels);
  const [agent] = pod.containers;
  deepEqual(policy.spec.ingress[0].ports, [{ port: agent.ports[0].name }]);
  deepEqual(agent.securityContext.capabilities, { drop: ["ALL"] });
  equal(agent.securityContext.privileged, false);
  equal(agent.securityContext.allowPrivilegeEscalation, false);
  equal(agent.securityContext.readOnlyRootFilesystem, true);
  ok(agent.resources.limits.memory);
  equal(agent.livenessProbe.httpGet.path, "/livez");
  equal(agent.readinessProbe.httpGet.path, "/readyz");
  const names = (list: readonly { name: string }[]) => list.map(({ name }) => name).sort();
  deepEqual(names(agent.volumeMounts), names(pod.volumes));
});

Deno.test("daemonset.yaml: has a configuration that the agent accepts", async () => {
  const text = object("ConfigMap").data["config.toml"];
  const config = await load({ files: { [OURS]: text } });
  deepEqual(config.warnings, []);
  equal(config.server?.hostname, "127.0.0.1");
  const [port] = object("DaemonSet").spec.template.spec.containers[0].ports;
  equal(config.metricsServer?.port, port.containerPort);
  equal(config.api.socket, "/run/nydus-auth-agent/api.sock");
});

Deno.test("chart: has the version of the agent", async () => {
  const { version, appVersion } = parseYaml(await read("Chart.yaml"));
  deepEqual([version, appVersion], [denoConfig.version, denoConfig.version]);
});

interface Schema {
  readonly properties?: Readonly<Record<string, Schema>>;
  readonly additionalProperties?: unknown;
}

/** Paths of keys that an object has and its schema does not. */
function unknownKeys(values: unknown, schema: Schema | undefined, path = ""): string[] {
  if (schema?.additionalProperties !== false) return [];
  return Object.entries(values as object).flatMap(([key, value]) => {
    const known = schema.properties?.[key];
    return known === undefined ? [`${path}${key}`] : unknownKeys(value, known, `${path}${key}.`);
  });
}

/** Paths of keys that a schema has and the values do not. */
function missingKeys(values: unknown, schema: Schema, path = ""): string[] {
  return Object.entries(schema.properties ?? {}).flatMap(([key, inner]) => {
    const value = (values as Record<string, unknown>)[key];
    return value === undefined ? [`${path}${key}`] : missingKeys(value, inner, `${path}${key}.`);
  });
}

Deno.test("chart: values, profiles and schema have the same keys", async () => {
  const schema = JSON.parse(await read("values.schema.json"));
  const values = parseYaml(await read("values.yaml"));
  deepEqual(unknownKeys(values, schema), []);
  deepEqual(missingKeys(values, schema), ["global"]); // helm adds it
  const profiles: string[] = [];
  for await (const { name } of Deno.readDir(new URL("profiles/", CHART))) {
    deepEqual(unknownKeys(parseYaml(await read(`profiles/${name}`)), schema), [], name);
    profiles.push(name.replace(".yaml", ""));
  }
  deepEqual(profiles.sort(), ["aks", "bottlerocket", "eks", "gke", "k3s", "rke2", "talos"]);
});
