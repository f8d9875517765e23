/**
 * Pull secrets of Kubernetes, with the agent as a process, the simulated node and a simulated API server
 * over TLS.
 */
import { deepStrictEqual, doesNotMatch, match, ok, strictEqual } from "node:assert/strict";
import { join } from "@std/path";
import { SimKubeApi } from "../../lib/simulator/kube_api.ts";
import type { SimNode } from "../../lib/simulator/mod.ts";
import {
  certificates,
  expiredCertificates,
  HAS_OPENSSL,
  renewedClient,
} from "../fakes/certificates.ts";
import {
  explain,
  IMAGE,
  kubeApi,
  kubesecret,
  kubeTest,
  manifestRules,
  NODE,
  putAccount,
  putOldSecret,
  putPod,
  putSecret,
  REGISTRY,
  ruleOf,
  USER,
  withFolder,
  writeKubeconfig,
} from "./kube_stage.ts";
import { AgentProcess, command, pause, simNode } from "./stage.ts";

const LONG = 'check_interval = "1h"\nrefresh_interval = "1h"';

/** Creates a node with one mount, whose credential no provider has. */
async function nodeWithMount(): Promise<SimNode> {
  const node = simNode();
  await node.addDaemon({ id: "d1", mode: "dedicated", images: [IMAGE], pair: "robot:stale" });
  return node;
}

async function agentWith(node: SimNode, api: SimKubeApi, more?: string, waitReady = true) {
  const config = kubesecret(await writeKubeconfig(node.dir, api), more);
  return await AgentProcess.start(node, { renewal: LONG, more: config }, { waitReady });
}

async function untilPassword(agent: AgentProcess, node: SimNode, password: string): Promise<void> {
  await agent.until(
    `the password ${password} in the mount`,
    async () => await node.daemons.get("d1")?.currentAuth("/") === `robot:${password}`,
  );
}

kubeTest("delivers a changed secret immediately", async () => {
  await using api = await kubeApi();
  await using node = await nodeWithMount();
  putSecret(api, "pull", REGISTRY, "first");
  putPod(api, "app", { secrets: ["pull"] });
  await using agent = await agentWith(node, api);
  await untilPassword(agent, node, "first");
  putSecret(api, "pull", REGISTRY, "second");
  await untilPassword(agent, node, "second");
  api.cutWatches();
  putSecret(api, "pull", REGISTRY, "third"); // while no watch is open
  await untilPassword(agent, node, "third");
  await agent.until("the watches to be back", () => api.watchCount > 0);
  api.cutWatches({ halfSent: true });
  putSecret(api, "pull", REGISTRY, "fourth");
  await untilPassword(agent, node, "fourth");
  api.cutWatches();
  putSecret(api, "pull", REGISTRY, "fifth");
  api.objects.compact(); // the resource version is gone: 410
  await untilPassword(agent, node, "fifth");
  doesNotMatch(agent.log, /robot:|first|second|third|fourth|fifth/);
});

kubeTest(
  "reads both types of secrets, in the namespace of the pod only",
  async () => {
    await using api = await kubeApi();
    await using node = await nodeWithMount();
    putOldSecret(api, "old", "https://registry.example.com/v1/team", "first");
    putSecret(api, "elsewhere", "registry.example.com/team/app", "of-another", "other");
    putPod(api, "app", { secrets: ["old", "elsewhere"] });
    await using agent = await agentWith(node, api);
    await untilPassword(agent, node, "first");
    putOldSecret(api, "old", "https://registry.example.com/v1/team", "second");
    await untilPassword(agent, node, "second");
    putSecret(api, "new", "registry.example.com/team/app", "third"); // more specific
    putPod(api, "app", { secrets: ["old", "new"] });
    // The registry cannot be queried here: the one in use stays while a secret offers it.
    api.objects.remove("secrets", "default", "old");
    await untilPassword(agent, node, "third");
    const secrets = api.calls.filter(({ resource }) => resource === "secrets");
    ok(secrets.every(({ namespace }) => namespace === "default"));
  },
);

kubeTest("reads only secrets that a pod on the node references", async () => {
  await using api = await kubeApi();
  await using node = await nodeWithMount();
  for (const name of ["by-pod", "by-account", "unreferenced"]) {
    putSecret(api, name, `registry.example.com/${name}`, name);
  }
  putAccount(api, "builder", { secrets: ["by-account"] });
  putPod(api, "here", { secrets: ["by-pod"], account: "builder" });
  putPod(api, "elsewhere", { secrets: ["unreferenced"], node: "node-2" });
  await using agent = await agentWith(node, api);
  const calls = () => api.calls.filter(({ resource }) => resource === "secrets");
  const requested = () => {
    const names = calls().map(({ name, query }) => name ?? query.get("fieldSelector"));
    return [...new Set(names)].sort();
  };
  await agent.until("gets and watches", () => requested().length >= 4);
  deepStrictEqual([...new Set(calls().map(({ verb }) => verb))].sort(), ["get", "watch"]);
  deepStrictEqual(requested(), [
    "by-account",
    "by-pod",
    "metadata.name=by-account",
    "metadata.name=by-pod",
  ]);
  const pods = api.calls.filter(({ resource }) => resource === "pods");
  ok(pods.every(({ query }) => query.get("fieldSelector") === `spec.nodeName=${NODE}`));
  putSecret(api, "new", REGISTRY, "of-new");
  putPod(api, "later", { secrets: ["new"] });
  await untilPassword(agent, node, "of-new");
});

kubeTest("watches no more secrets than a connection can carry, and polls the others", async () => {
  await using api = await kubeApi();
  await using node = await nodeWithMount();
  const names = Array.from({ length: 130 }, (_, i) => `b${i}`);
  for (const name of names) putSecret(api, name, `${name}.example.com`, "other");
  putPod(api, "one", { secrets: names.slice(0, 70) });
  putPod(api, "two", { secrets: [...names.slice(70), "a-first"] });
  putSecret(api, "a-first", REGISTRY, "first");
  await using agent = await agentWith(node, api);
  await untilPassword(agent, node, "first");
  const watched = 40 + 2; // secrets, the service account and the pods
  await agent.until("the watches", () => api.watchCount >= watched);
  putSecret(api, "a-first", REGISTRY, "second");
  await untilPassword(agent, node, "second");
  strictEqual(api.watchCount, watched);
  const got = new Set(api.calls.filter(({ verb }) => verb === "get").map(({ name }) => name));
  ok(names.every((name) => got.has(name)));
});

kubeTest(
  "an API server that is down at startup does not affect other providers",
  async () => {
    await using api = await kubeApi();
    await using node = await nodeWithMount();
    await node.addDaemon({
      id: "d2",
      mode: "dedicated",
      images: [`${node.passwordRegistry.host}/base/os:1`],
    });
    putSecret(api, "pull", REGISTRY, "first");
    putPod(api, "app", { secrets: ["pull"] });
    await api.down();
    await using agent = await agentWith(node, api);
    node.rotatePassword("second");
    await agent.until(
      "docker's credential",
      async () => await node.daemons.get("d2")?.currentAuth("/") === "robot:second",
    );
    const { images } = await agent.status();
    const ours = images.find(({ image }) => image === IMAGE);
    strictEqual(ours?.lastFailure?.reason, "source-unreachable");
    match(ours?.lastFailure?.detail ?? "", /the connection was refused/);
    const { out, code } = await explain(join(node.dir, "kubeconfig"));
    strictEqual(code, 1);
    match(
      out,
      /kubesecret +failed +source-unreachable +pods of node node-1: .*connection was refused/,
    );
    await api.up();
    await untilPassword(agent, node, "first");
  },
);

kubeTest("keeps the last credential while the API server is unreachable", async () => {
  await using api = await kubeApi();
  await using node = await nodeWithMount();
  putSecret(api, "pull", REGISTRY, "first");
  putPod(api, "app", { secrets: ["pull"] });
  await using agent = await agentWith(node, api);
  await untilPassword(agent, node, "first");
  await api.down();
  agent.signal("SIGHUP"); // a reload creates a provider with an empty cache
  await agent.until("the reload", () => /config-loaded[^]*config-loaded/.test(agent.log));
  await pause(500);
  await untilPassword(agent, node, "first");
  putSecret(api, "pull", REGISTRY, "second");
  await api.up();
  await untilPassword(agent, node, "second");
});

kubeTest("waits after 429 with Retry-After, 500 and slow lists", async () => {
  await using api = await kubeApi();
  await using node = await nodeWithMount();
  putSecret(api, "pull", REGISTRY, "first");
  putPod(api, "app", { secrets: ["pull"] });
  api.faults.status = { code: 429, retryAfter: 1, verbs: ["get", "list"] };
  api.faults.listDelayMs = 300;
  await using agent = await agentWith(node, api, undefined, false);
  await agent.until("the first call", () => api.calls.length > 0);
  api.faults.status = { code: 500 };
  await pause(500);
  delete api.faults.status;
  await untilPassword(agent, node, "first");
  ok(api.calls.length < 30, `${api.calls.length} calls`);
});

kubeTest("limits requests to a server that ends every watch", async () => {
  await using api = await kubeApi();
  await using node = await nodeWithMount();
  putSecret(api, "pull", REGISTRY, "first");
  putPod(api, "app", { secrets: ["pull"] });
  api.faults.cutWatches = true;
  await using agent = await agentWith(node, api);
  await untilPassword(agent, node, "first");
  await pause(1_500);
  ok(api.calls.length < 30, `${api.calls.length} calls`);
  delete api.faults.cutWatches;
  putSecret(api, "pull", REGISTRY, "second");
  await untilPassword(agent, node, "second");
});

kubeTest("reads a rotated token file again", async () => {
  await using api = await kubeApi();
  await using node = await nodeWithMount();
  putSecret(api, "pull", REGISTRY, "first");
  putPod(api, "app", { secrets: ["pull"] });
  await using agent = await agentWith(node, api);
  await untilPassword(agent, node, "first");
  await Deno.writeTextFile(join(node.dir, "token"), "the-next-token");
  api.tokens.clear();
  api.tokens.set("the-next-token", USER);
  api.cutWatches();
  putSecret(api, "pull", REGISTRY, "second");
  await untilPassword(agent, node, "second");
});

kubeTest("reports an expired server certificate, and accepts a new one", async () => {
  await using api = await kubeApi();
  await using node = await nodeWithMount();
  putSecret(api, "pull", REGISTRY, "first");
  putPod(api, "app", { secrets: ["pull"] });
  const expired = await expiredCertificates();
  await api.down();
  await api.up(expired);
  const path = await writeKubeconfig(node.dir, api, { cluster: "certificate-authority: ca.crt" });
  await Deno.writeTextFile(join(node.dir, "ca.crt"), expired.ca);
  const { out } = await explain(path);
  match(out, /source-unreachable .*the server's certificate has expired/);
  await using agent = await AgentProcess.start(node, { renewal: LONG, more: kubesecret(path) });
  await api.down();
  await api.up(await certificates());
  await Deno.writeTextFile(join(node.dir, "ca.crt"), (await certificates()).ca);
  await untilPassword(agent, node, "first");
});

Deno.test({
  name: "kubesecret: uses a rotated client certificate",
  // The server of the older runtime does not request client certificates.
  ignore: !HAS_OPENSSL || Deno.version.deno.startsWith("2.6."),
  async fn() {
    const { ca, cert, key, clientCert, clientKey } = await certificates();
    await using api = await SimKubeApi.start({ cert, key, clientCa: ca });
    await using node = await nodeWithMount();
    putSecret(api, "pull", REGISTRY, "first");
    putPod(api, "app", { secrets: ["pull"] });
    const user = "client-certificate: tls.crt, client-key: tls.key";
    const path = await writeKubeconfig(node.dir, api, { user });
    await Deno.writeTextFile(join(node.dir, "tls.crt"), clientCert);
    await Deno.writeTextFile(join(node.dir, "tls.key"), clientKey);
    await using agent = await AgentProcess.start(node, { renewal: LONG, more: kubesecret(path) });
    await untilPassword(agent, node, "first");
    strictEqual(api.calls[0]?.user, "system:node:one");
    const next = await renewedClient();
    await api.down();
    await api.up({ cert, key, clientCa: next.ca }); // the old one is not valid any more
    putSecret(api, "pull", REGISTRY, "second");
    await agent.until("a refusal", () => api.refusals > 0);
    await Deno.writeTextFile(join(node.dir, "tls.key"), next.clientKey);
    await Deno.writeTextFile(join(node.dir, "tls.crt"), next.clientCert);
    await untilPassword(agent, node, "second");
  },
});

kubeTest("reports the missing RBAC rule", async () => {
  await withFolder(async (api, folder) => {
    const path = await writeKubeconfig(folder, api);
    api.allows = ({ resource }) => resource !== "pods";
    match(
      (await explain(path)).out,
      /forbidden-by-rbac +pods of node node-1: RBAC does not allow the agent to list pods in all namespaces/,
    );
    api.allows = ({ resource }) => resource !== "secrets";
    match(
      (await explain(path)).out,
      /forbidden-by-rbac +secret default\/pull: RBAC does not allow the agent to get secrets \(pull\) in namespace default/,
    );
    api.allows = ({ resource }) => resource !== "serviceaccounts";
    const { out, code } = await explain(path);
    strictEqual(code, 0);
    match(
      out,
      /forbidden-by-rbac +serviceaccount default\/default: RBAC does not allow the agent to get serviceaccounts/,
    );
  });
});

kubeTest("polls secrets without the right to watch them", async () => {
  await withFolder(async (api, folder) => {
    api.allows = ({ verb, resource }) => resource !== "secrets" || verb === "get";
    const { out, code } = await explain(await writeKubeconfig(folder, api));
    strictEqual(code, 0);
    match(out, /kubesecret +found/);
  });
});

kubeTest("reports a node name that the API server does not know", async () => {
  await withFolder(async (api, folder) => {
    const path = await writeKubeconfig(folder, api);
    const { out, code } = await explain(path, 'node_name = "node-2"');
    strictEqual(code, 1);
    match(out, /kubesecret +none +no-secret-matched/);
    match(
      out,
      /pods of node node-2: the API server returned no pods, check the node name/,
    );
    doesNotMatch((await explain(path)).out, /returned no pods/);
  });
});

kubeTest("reports a credential that the API server does not accept", async () => {
  await withFolder(async (api, folder) => {
    const path = await writeKubeconfig(folder, api, { user: "token: another" });
    const { out, code } = await explain(path);
    strictEqual(code, 1);
    match(out, /kubesecret +failed +source-refused +.*rejected the agent's credential \(401\)/);
    doesNotMatch(out, /another/);
  });
});

kubeTest("skips invalid secrets", async () => {
  await withFolder(async (api, folder) => {
    for (const [name, data] of [["bad64", "!"], ["badjson", btoa("{")]] as const) {
      const type = "kubernetes.io/dockerconfigjson";
      const metadata = { name, namespace: "default" };
      api.objects.put("secrets", { metadata, type, data: { ".dockerconfigjson": data } });
    }
    putPod(api, "app", { secrets: ["bad64", "badjson", "pull"] });
    const { out, code } = await explain(await writeKubeconfig(folder, api));
    strictEqual(code, 0);
    match(out, /winner +kubesecret: secret default\/pull/);
    match(
      out,
      /invalid-entry +secret default\/bad64: its field \.dockerconfigjson is not a JSON object/,
    );
    match(
      out,
      /invalid-entry +secret default\/badjson: its field \.dockerconfigjson is not a JSON object/,
    );
  });
});

kubeTest("the manifest's rules are sufficient and necessary", async () => {
  await using api = await kubeApi();
  await using node = await nodeWithMount();
  const rules = manifestRules();
  const used = new Set<string>();
  api.allows = (call) => {
    used.add(ruleOf(call));
    return rules.has(ruleOf(call));
  };
  putSecret(api, "pull", REGISTRY, "first");
  putAccount(api, "builder", { secrets: ["pull"] });
  putPod(api, "app", { account: "builder" });
  await using agent = await agentWith(node, api);
  await untilPassword(agent, node, "first");
  putSecret(api, "pull", REGISTRY, "second");
  await untilPassword(agent, node, "second");
  await agent.until("every watch", () => used.size >= rules.size);
  deepStrictEqual([...used].sort(), [...rules].sort());
});

kubeTest("check reports every problem of the kubeconfig", async () => {
  await withFolder(async (api, folder) => {
    const path = await writeKubeconfig(folder, api);
    const config = join(folder, "agent.toml");
    const check = async (more: string) => {
      await Deno.writeTextFile(config, kubesecret(path, more));
      return await command(["check", "--config", config, "--snapshotter-config", "off"]);
    };
    strictEqual((await check(`node_name = "${NODE}"`)).code, 0);
    const wrong = await check('mode = "list"\nnode_name = ""');
    strictEqual(wrong.code, 2);
    strictEqual(wrong.err.trim().split("\n").length, 2);
    await Deno.remove(join(folder, "token"));
    const missing = await check(`node_name = "${NODE}"`);
    strictEqual(missing.code, 2);
    match(missing.err, /token: it is missing or empty/);
    await Deno.writeTextFile(path, "current-context: x");
    match((await check("")).err, /kubeconfig: current-context: there is no context "x"/);
    await Deno.remove(path);
    match((await check("")).err, /kubeconfig: the file does not exist/);
    strictEqual(api.calls.length, 0);
  });
});

kubeTest("reports a missing kubeconfig", async () => {
  const { out, code } = await explain("/nonexistent/kubeconfig");
  strictEqual(code, 1);
  match(out, /kubesecret +none +no-config-file/);
});
