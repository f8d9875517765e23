/**
 * Pull secrets of Kubernetes: the agent as a process, the simulated node, and an API server stand-in
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

/** A node with one mount, which holds a credential that nobody else knows. */
async function nodeWithMount(): Promise<SimNode> {
  const node = simNode();
  await node.addDaemon({ id: "d1", mode: "dedicated", images: [IMAGE], pair: "robot:stale" });
  return node;
}

async function agentWith(node: SimNode, api: SimKubeApi, more?: string, waitReady = true) {
  const config = kubesecret(await writeKubeconfig(node.dir, api), more);
  return await AgentProcess.start(node, { renewal: LONG, more: config }, { waitReady });
}

async function holds(agent: AgentProcess, node: SimNode, password: string): Promise<void> {
  await agent.until(
    `the password ${password} in the mount`,
    async () => await node.daemons.get("d1")?.currentAuth("/") === `robot:${password}`,
  );
}

for (const mode of ["referenced", "list"]) {
  kubeTest(`a changed secret reaches the mounts without waiting, mode ${mode}`, async () => {
    await using api = await kubeApi();
    await using node = await nodeWithMount();
    putSecret(api, "pull", REGISTRY, "first");
    putPod(api, "app", { secrets: ["pull"] });
    const more = mode === "list" ? 'mode = "list"' : undefined;
    await using agent = await agentWith(node, api, more);
    await holds(agent, node, "first");
    putSecret(api, "pull", REGISTRY, "second");
    await holds(agent, node, "second");
    api.cutWatches();
    putSecret(api, "pull", REGISTRY, "third"); // while nobody watches
    await holds(agent, node, "third");
    await agent.until("the watches to be back", () => api.watchCount > 0);
    api.cutWatches({ halfSent: true });
    putSecret(api, "pull", REGISTRY, "fourth");
    await holds(agent, node, "fourth");
    api.cutWatches();
    putSecret(api, "pull", REGISTRY, "fifth");
    api.objects.compact(); // the version to go on from is gone: 410
    await holds(agent, node, "fifth");
    doesNotMatch(agent.log, /robot:|first|second|third|fourth|fifth/);
  });
}

for (const mode of ["referenced", "list"]) {
  kubeTest(
    `both types of secrets count, and of namespaces those that are named, mode ${mode}`,
    async () => {
      await using api = await kubeApi();
      await using node = await nodeWithMount();
      putOldSecret(api, "old", "https://registry.example.com/v1/team", "first");
      putSecret(api, "elsewhere", "registry.example.com/team/app", "of-another", "other");
      putPod(api, "app", { secrets: ["old", "elsewhere"] });
      const more = mode === "list" ? 'mode = "list"\nnamespaces = ["default", "empty"]' : undefined;
      await using agent = await agentWith(node, api, more);
      await holds(agent, node, "first");
      putOldSecret(api, "old", "https://registry.example.com/v1/team", "second");
      await holds(agent, node, "second");
      putSecret(api, "new", "registry.example.com/team/app", "third"); // more specific
      putPod(api, "app", { secrets: ["old", "new"] });
      // The registry cannot be queried here: the one in use stays while a secret offers it.
      api.objects.remove("secrets", "default", "old");
      await holds(agent, node, "third");
      const secrets = api.calls.filter(({ resource }) => resource === "secrets");
      ok(secrets.every(({ namespace }) => namespace === "default" || namespace === "empty"));
    },
  );
}

kubeTest("in mode referenced no secret is listed, and none got that no pod names", async () => {
  await using api = await kubeApi();
  await using node = await nodeWithMount();
  for (const name of ["by-pod", "by-account", "of-nobody"]) {
    putSecret(api, name, `registry.example.com/${name}`, name);
  }
  putAccount(api, "builder", { secrets: ["by-account"] });
  putPod(api, "here", { secrets: ["by-pod"], account: "builder" });
  putPod(api, "elsewhere", { secrets: ["of-nobody"], node: "node-2" });
  await using agent = await agentWith(node, api);
  const calls = () => api.calls.filter(({ resource }) => resource === "secrets");
  const asked = () => {
    const names = calls().map(({ name, query }) => name ?? query.get("fieldSelector"));
    return [...new Set(names)].sort();
  };
  await agent.until("gets and watches", () => asked().length >= 4);
  deepStrictEqual([...new Set(calls().map(({ verb }) => verb))].sort(), ["get", "watch"]);
  deepStrictEqual(asked(), [
    "by-account",
    "by-pod",
    "metadata.name=by-account",
    "metadata.name=by-pod",
  ]);
  const pods = api.calls.filter(({ resource }) => resource === "pods");
  ok(pods.every(({ query }) => query.get("fieldSelector") === `spec.nodeName=${NODE}`));
  putSecret(api, "new", REGISTRY, "of-new");
  putPod(api, "later", { secrets: ["new"] });
  await holds(agent, node, "of-new");
});

kubeTest("more secrets than one connection can watch are all followed at once", async () => {
  await using api = await kubeApi();
  await using node = await nodeWithMount();
  const names = Array.from({ length: 130 }, (_, i) => `a${i}`);
  for (const name of names) putSecret(api, name, `${name}.example.com`, "other");
  putPod(api, "one", { secrets: names.slice(0, 70) });
  putPod(api, "two", { secrets: [...names.slice(70), "z-last"] });
  putSecret(api, "z-last", REGISTRY, "first");
  await using agent = await agentWith(node, api);
  await holds(agent, node, "first");
  await agent.until("every watch", () => api.watchCount >= names.length + 2);
  putSecret(api, "z-last", REGISTRY, "second");
  await holds(agent, node, "second");
  const gets = api.calls.filter(({ verb, name }) => verb === "get" && name === "z-last");
  strictEqual(gets.length, 1);
  ok(api.peers.size >= 4, `${api.peers.size} connections`);
});

kubeTest(
  "an API server that is down at the start hurts nobody else, and is waited for",
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
    await holds(agent, node, "first");
  },
);

kubeTest("while the API server is away the last good credential stays", async () => {
  await using api = await kubeApi();
  await using node = await nodeWithMount();
  putSecret(api, "pull", REGISTRY, "first");
  putPod(api, "app", { secrets: ["pull"] });
  await using agent = await agentWith(node, api);
  await holds(agent, node, "first");
  await api.down();
  agent.signal("SIGHUP"); // a reload builds the provider anew, which then knows nothing
  await agent.until("the reload", () => /config-loaded[^]*config-loaded/.test(agent.log));
  await pause(500);
  await holds(agent, node, "first");
  putSecret(api, "pull", REGISTRY, "second");
  await api.up();
  await holds(agent, node, "second");
});

kubeTest("429 with Retry-After, 500 and slow lists are waited for", async () => {
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
  await holds(agent, node, "first");
  ok(api.calls.length < 30, `${api.calls.length} calls`);
});

kubeTest("a server that ends every watch is not stormed", async () => {
  await using api = await kubeApi();
  await using node = await nodeWithMount();
  putSecret(api, "pull", REGISTRY, "first");
  putPod(api, "app", { secrets: ["pull"] });
  api.faults.cutWatches = true;
  await using agent = await agentWith(node, api);
  await holds(agent, node, "first");
  await pause(1_500);
  ok(api.calls.length < 30, `${api.calls.length} calls`);
  delete api.faults.cutWatches;
  putSecret(api, "pull", REGISTRY, "second");
  await holds(agent, node, "second");
});

kubeTest("a token file that rotates is read again", async () => {
  await using api = await kubeApi();
  await using node = await nodeWithMount();
  putSecret(api, "pull", REGISTRY, "first");
  putPod(api, "app", { secrets: ["pull"] });
  await using agent = await agentWith(node, api);
  await holds(agent, node, "first");
  await Deno.writeTextFile(join(node.dir, "token"), "the-next-token");
  api.tokens.clear();
  api.tokens.set("the-next-token", USER);
  api.cutWatches();
  putSecret(api, "pull", REGISTRY, "second");
  await holds(agent, node, "second");
});

kubeTest("an expired server certificate is named, and a new one is believed", async () => {
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
  await holds(agent, node, "first");
});

Deno.test({
  name: "kubesecret: a client certificate that is rotated is used from then on",
  // The server of the older runtime does not ask clients for certificates.
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
    await holds(agent, node, "first");
    strictEqual(api.calls[0]?.user, "system:node:one");
    const next = await renewedClient();
    await api.down();
    await api.up({ cert, key, clientCa: next.ca }); // the old one is worth nothing now
    putSecret(api, "pull", REGISTRY, "second");
    await agent.until("a refusal", () => api.refusals > 0);
    await Deno.writeTextFile(join(node.dir, "tls.key"), next.clientKey);
    await Deno.writeTextFile(join(node.dir, "tls.crt"), next.clientCert);
    await holds(agent, node, "second");
  },
});

kubeTest("RBAC that forbids a call is told with the rule that is missing", async () => {
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
    api.allows = ({ verb }) => verb !== "list";
    match(
      (await explain(path, 'mode = "list"\nnamespaces = ["default"]')).out,
      /forbidden-by-rbac +secrets of default, .*: RBAC does not allow the agent to list secrets in namespace default/,
    );
  });
});

kubeTest("who may not watch secrets still follows them, by getting them", async () => {
  await withFolder(async (api, folder) => {
    api.allows = ({ verb, resource }) => resource !== "secrets" || verb === "get";
    const { out, code } = await explain(await writeKubeconfig(folder, api));
    strictEqual(code, 0);
    match(out, /kubesecret +found/);
  });
});

kubeTest("a node's name that the API server does not know is told", async () => {
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

kubeTest("a credential that is not accepted is told as such", async () => {
  await withFolder(async (api, folder) => {
    const path = await writeKubeconfig(folder, api, { user: "token: another" });
    const { out, code } = await explain(path);
    strictEqual(code, 1);
    match(out, /kubesecret +failed +source-refused +.*rejected the agent's credential \(401\)/);
    doesNotMatch(out, /another/);
  });
});

kubeTest("5,000 secrets, some broken, are read in pages beside each other", async () => {
  await withFolder(async (api, folder) => {
    for (let i = 0; i < 5_000; i++) {
      putSecret(api, `s${i}`, `r${i}.example.com`, `p${i}`, `n${i % 50}`);
    }
    for (const [name, data] of [["bad64", "!"], ["badjson", btoa("{")]] as const) {
      const type = "kubernetes.io/dockerconfigjson";
      const metadata = { name, namespace: "default" };
      api.objects.put("secrets", { metadata, type, data: { ".dockerconfigjson": data } });
    }
    const { out, code } = await explain(await writeKubeconfig(folder, api), 'mode = "list"');
    strictEqual(code, 0);
    match(out, /winner +kubesecret: secret default\/pull/);
    match(out, /invalid-entry +secret default\/bad64: its field \.dockerconfigjson is not base64/);
    match(out, /invalid-entry +secret default\/badjson: its field \.dockerconfigjson is not JSON/);
    const lists = api.calls.filter(({ verb }) => verb === "list");
    ok(lists.length >= 11, `${lists.length} lists`);
    ok(lists.every(({ query }) => query.get("limit") === "500"));
  });
});

kubeTest("the manifest's rules are enough, and each of them is needed", async () => {
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
  await holds(agent, node, "first");
  putSecret(api, "pull", REGISTRY, "second");
  await holds(agent, node, "second");
  await agent.until("every watch", () => used.size >= rules.size);
  deepStrictEqual([...used].sort(), [...rules].sort());
});

kubeTest("check reads the way to the API server, and tells every problem", async () => {
  await withFolder(async (api, folder) => {
    const path = await writeKubeconfig(folder, api);
    const config = join(folder, "agent.toml");
    const check = async (more: string) => {
      await Deno.writeTextFile(config, kubesecret(path, more));
      return await command(["check", "--config", config, "--snapshotter-config", "off"]);
    };
    strictEqual((await check(`node_name = "${NODE}"`)).code, 0);
    const wrong = await check('mode = "some"\nnamespaces = ["A"]\nnode_name = ""');
    strictEqual(wrong.code, 2);
    strictEqual(wrong.err.trim().split("\n").length, 3);
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

kubeTest("without a kubeconfig or a pod's account it says what it looked for", async () => {
  const { out, code } = await explain("/nonexistent/kubeconfig");
  strictEqual(code, 1);
  match(out, /kubesecret +none +no-config-file/);
});
