/**
 * Service account tokens for plugins (KEP-4412), with the agent as a process, the simulated node and a
 * simulated API server over TLS.
 */
import { deepStrictEqual, doesNotMatch, match, ok, strictEqual } from "node:assert/strict";
import { join } from "@std/path";
import type { SimKubeApi } from "../../lib/simulator/kube_api.ts";
import type { SimNode } from "../../lib/simulator/mod.ts";
import { HAS_OPENSSL } from "../fakes/certificates.ts";
import {
  kubeApi,
  manifestRules,
  NODE,
  putAccount,
  putPod,
  ruleOf,
  writeKubeconfig,
} from "./kube_stage.ts";
import { AgentProcess, pause, simNode } from "./stage.ts";
import { pullThrough } from "./cri_proxy_stage.ts";

const LONG = 'check_interval = "1h"\nrefresh_interval = "1h"';
const IMAGE = "registry.example.com/team/app:1";
const OTHER = "registry.example.com/other/app:1";

/**
 * Returns a password that contains the token (the bare token would be rejected), and the annotation as
 * the username. Uses only shell builtins: the compiled binary is tested with an empty PATH.
 */
const PLUGIN = `#!/bin/sh
read -r request || :
case "$request" in *'"serviceAccountToken":"'*) ;; *) exit 1 ;; esac
token=\${request#*'"serviceAccountToken":"'}
role=\${request#*'"example.com/role":"'}
echo '{"kind":"CredentialProviderResponse","apiVersion":"credentialprovider.kubelet.k8s.io/v1",' \
  '"cacheKeyType":"Registry","cacheDuration":"1h",' \
  '"auth":{"registry.example.com":{"username":"'"\${role%%'"'*}"'","password":"for-'"\${token%%'"'*}"'"}}}'
`;

function tokenTest(name: string, fn: (api: SimKubeApi, node: SimNode) => Promise<void>): void {
  Deno.test({
    name: `tokens: ${name}`,
    ignore: !HAS_OPENSSL, // no certificates without it
    async fn() {
      await using api = await kubeApi();
      await using node = simNode();
      await Deno.writeTextFile(join(node.dir, "bin", "federated"), PLUGIN, { mode: 0o755 });
      await Deno.writeTextFile(node.providerConfigPath, PROVIDERS);
      await fn(api, node);
    },
  });
}

const PROVIDERS = `
apiVersion: kubelet.config.k8s.io/v1
kind: CredentialProviderConfig
providers:
- name: federated
  matchImages: [registry.example.com]
  defaultCacheDuration: 1h
  apiVersion: credentialprovider.kubelet.k8s.io/v1
  tokenAttributes:
    serviceAccountTokenAudience: registry
    requireServiceAccount: true
    requiredServiceAccountAnnotationKeys: [example.com/role]
    cacheType: ServiceAccount
`;

async function start(node: SimNode, api: SimKubeApi, other = ""): Promise<AgentProcess> {
  const kubeconfig = await writeKubeconfig(node.dir, api);
  const more =
    `[providers.kubesecret]\nkubeconfig = "${kubeconfig}"\nnode_name = "${NODE}"\n${other}`;
  return await AgentProcess.start(node, { renewal: LONG, more });
}

function mount(node: SimNode, id: string, image: string) {
  return node.addDaemon({ id, mode: "dedicated", images: [image], pair: "robot:stale" });
}

/** Returns the username and the token claims of a mount. */
async function currentAuth(node: SimNode, id: string) {
  const pair = await node.daemons.get(id)?.currentAuth("/") ?? "";
  const [role = "", token = ""] = pair.split(":");
  const [, payload = ""] = token.split(".");
  if (payload === "") return { role, sub: "", aud: [], pod: "" };
  const { sub, aud, "kubernetes.io": kubernetes } = JSON.parse(atob(payload));
  return { role, sub, aud, pod: kubernetes.pod.name };
}

function annotated(api: SimKubeApi, name: string, role: string) {
  return putAccount(api, name, { annotations: { "example.com/role": role, secret: "hunter2" } });
}

tokenTest("each mount gets the credential of its pod's service account", async (api, node) => {
  await mount(node, "d1", IMAGE);
  await mount(node, "d2", OTHER);
  annotated(api, "web", "reader");
  annotated(api, "job", "runner");
  putAccount(api, "plain");
  putPod(api, "a-plain", { account: "plain", images: [IMAGE] });
  putPod(api, "web-1", { account: "web", images: [IMAGE] });
  putPod(api, "job-1", { account: "job", images: [OTHER] });
  await using agent = await start(node, api);
  deepStrictEqual(await currentAuth(node, "d1"), {
    role: "reader",
    sub: "system:serviceaccount:default:web",
    aud: ["registry"],
    pod: "web-1",
  });
  strictEqual((await currentAuth(node, "d2")).sub, "system:serviceaccount:default:job");
  const created = api.calls.filter(({ verb }) => verb === "create");
  deepStrictEqual(
    created.map(({ resource, subresource, name }) => `${resource}/${subresource} ${name}`).sort(),
    ["serviceaccounts/token job", "serviceaccounts/token web"],
  );
  doesNotMatch(agent.log, /hunter2|eyJ/);
});

tokenTest(
  "a new pod and a changed service account take effect immediately",
  async (api, node) => {
    await mount(node, "d1", IMAGE);
    annotated(api, "web", "reader");
    await using agent = await start(node, api);
    strictEqual((await currentAuth(node, "d1")).sub, "");
    match(agent.log, /no-service-account/);
    putPod(api, "web-1", { account: "web", images: [IMAGE] });
    await agent.until(
      "the credential",
      async () => (await currentAuth(node, "d1")).role === "reader",
    );
    annotated(api, "web", "writer");
    await agent.until(
      "the new role",
      async () => (await currentAuth(node, "d1")).role === "writer",
    );
  },
);

tokenTest("the credential of a deleted service account is not used any more", async (api, node) => {
  await mount(node, "d1", IMAGE);
  annotated(api, "web", "reader");
  putPod(api, "web-1", { account: "web", images: [IMAGE] });
  await using agent = await start(node, api);
  await agent.until(
    "the credential",
    async () => (await currentAuth(node, "d1")).role === "reader",
  );
  api.objects.remove("serviceaccounts", "default", "web");
  await agent.until("the end of it", async () => {
    const [image] = (await agent.status()).images;
    return image?.fingerprint === undefined;
  });
  await mount(node, "d2", IMAGE);
  await agent.until(
    "the new mount to be seen",
    async () =>
      (await agent.status()).daemons.some(({ id, state }) => id === "d2" && state === "running"),
  );
  await pause(500);
  strictEqual((await currentAuth(node, "d2")).role, "robot");
  const executions = agent.log.match(/plugin-executed/g)?.length;
  annotated(api, "web", "again"); // another account of that name
  await agent.until(
    "its own credential",
    async () => (await currentAuth(node, "d2")).role === "again",
  );
  ok((agent.log.match(/plugin-executed/g)?.length ?? 0) > (executions ?? 0));
});

tokenTest("with cacheType Token a mount has the token of a running pod", async (api, node) => {
  const echo = PLUGIN.replace("for-", "");
  await Deno.writeTextFile(join(node.dir, "bin", "federated"), echo, { mode: 0o755 });
  await Deno.writeTextFile(
    node.providerConfigPath,
    PROVIDERS.replace("cacheType: ServiceAccount", "cacheType: Token"),
  );
  await mount(node, "d1", IMAGE);
  annotated(api, "web", "reader");
  putPod(api, "web-1", { account: "web", images: [IMAGE] });
  await using agent = await start(node, api);
  const holdsTokenOf = (pod: string) =>
    agent.until(`the token of ${pod}`, async () => (await currentAuth(node, "d1")).pod === pod);
  await holdsTokenOf("web-1");
  putPod(api, "web-2", { account: "web", images: [IMAGE] });
  api.objects.remove("pods", "default", "web-1");
  await holdsTokenOf("web-2");
  doesNotMatch(agent.log, /eyJ/);
});

tokenTest(
  "a plugin that returns the bare token fails unless cacheType is Token",
  async (api, node) => {
    const echo = PLUGIN.replace("for-", "");
    await Deno.writeTextFile(join(node.dir, "bin", "federated"), echo, { mode: 0o755 });
    await mount(node, "d1", IMAGE);
    annotated(api, "web", "reader");
    putPod(api, "web-1", { account: "web", images: [IMAGE] });
    await using agent = await start(node, api);
    match(agent.log, /plugin-invalid-response.*requires cacheType Token/);
    strictEqual((await currentAuth(node, "d1")).role, "robot");
    doesNotMatch(agent.log, /eyJ/);
  },
);

tokenTest(
  "the CRI proxy finds the pod that pulled an image, whatever reference is in its spec",
  async (api, node) => {
    await mount(node, "d1", IMAGE);
    annotated(api, "web", "reader");
    const { metadata } = putPod(api, "web-1", {
      account: "web",
      images: ["mirror.example.com/a:1"],
    });
    const uid = String(Object(metadata)["uid"]);
    const upstream = join(node.dir, "containerd.sock");
    const link = join(node.dir, "image.sock");
    const listener = Deno.listen({ transport: "unix", path: upstream });
    await using agent = await start(
      node,
      api,
      `[providers.cri]\nenabled = true\npersist = false\nsocket = "${node.dir}/cri.sock"\n` +
        `link = "${link}"\nimage_service = "${upstream}"`,
    );
    strictEqual((await currentAuth(node, "d1")).sub, "");
    // The credential of the kubelet's pull must not replace that of the mount.
    const auth = { username: "kubelet", password: "of-the-pull" };
    await pullThrough(link, listener, {
      image: IMAGE,
      auth,
      pod: { name: "web-1", uid, namespace: "default" },
    });
    await agent.until(
      "the credential",
      async () => (await currentAuth(node, "d1")).role === "reader",
    );
    api.objects.remove("serviceaccounts", "default", "web");
    await agent.until("the end of it", async () => {
      const [image] = (await agent.status()).images;
      return image?.fingerprint === undefined;
    });
    await pullThrough(link, listener, { image: IMAGE, auth });
    await pause(500);
    const [image] = (await agent.status()).images;
    strictEqual(image?.provider, undefined, "also when the account is deleted");
    ok(!agent.log.includes("of-the-pull"));
    listener.close();
  },
);

tokenTest(
  "the manifest's rules, with the one for tokens, are sufficient and necessary",
  async (api, node) => {
    await mount(node, "d1", IMAGE);
    annotated(api, "web", "reader");
    putPod(api, "web-1", { account: "web", images: [IMAGE] });
    const rules = manifestRules({ tokens: true });
    const used = new Set<string>();
    api.allows = (call) => {
      used.add(ruleOf(call));
      return rules.has(ruleOf(call));
    };
    await using agent = await start(node, api);
    await agent.until(
      "the credential",
      async () => (await currentAuth(node, "d1")).role === "reader",
    );
    const forTokens = [...rules].filter((rule) => !rule.endsWith(" secrets"));
    await agent.until("every watch", () => used.size >= forTokens.length);
    deepStrictEqual([...used].sort(), forTokens.sort());
  },
);

tokenTest("names the missing RBAC rule without the right to create tokens", async (api, node) => {
  await mount(node, "d1", IMAGE);
  annotated(api, "web", "reader");
  putPod(api, "web-1", { account: "web", images: [IMAGE] });
  api.allows = ({ verb }) => verb !== "create";
  await using agent = await start(node, api);
  match(agent.log, /forbidden-by-rbac/);
  match(
    agent.log,
    /RBAC does not allow the agent to create serviceaccounts\/token \(web\) in namespace default/,
  );
});
