/**
 * Places canary secrets in every credential source of the agent.
 *
 * @module
 */
import { join } from "@std/path";
import type { SimKubeApi } from "../../lib/simulator/kube_api.ts";
import type { SimNode } from "../../lib/simulator/mod.ts";
import { Conversation, PULL, pulled } from "../fakes/cri_conversation.ts";
import { pullImageRequest } from "../fakes/cri_messages.ts";
import { putAccount, putPod, putSecret, USER, writeKubeconfig } from "../e2e/kube_stage.ts";

const base64 = (text: string) => new TextEncoder().encode(text).toBase64();

/** Writes a docker configuration with every form of entry and a credential helper. */
export function canaryDocker(
  node: SimNode,
  secrets: {
    readonly docker: string;
    readonly identity: string;
    readonly registryToken: string;
    readonly huge: string;
    readonly helper: string;
  },
): void {
  node.passwordRegistry.accept("robot", secrets.docker);
  const config = {
    auths: {
      [node.passwordRegistry.host]: { auth: base64(`robot:${secrets.docker}`) },
      "identity.example.com": { auth: base64("u:"), identitytoken: secrets.identity },
      "bearer.example.com": { registrytoken: secrets.registryToken },
      // Too long for nydusd, which rejects it with an error that contains a part of it.
      "huge.example.com": { auth: base64(`u:${secrets.huge.repeat(700)}`) },
    },
    credHelpers: { "helper.example.com": "canary" },
  };
  Deno.writeTextFileSync(`${node.dockerConfigPath}.new`, JSON.stringify(config), { mode: 0o600 });
  Deno.renameSync(`${node.dockerConfigPath}.new`, node.dockerConfigPath);
  const answer = { ServerURL: "", Username: "u", Secret: secrets.helper };
  script(node, "docker-credential-canary", "helper", JSON.stringify(answer));
}

const PLUGINS = ["plugin", "jwt", "failing", "babbling", "account"];

/** Writes plugins that succeed, fail, and print secrets while they fail. */
export function canaryPlugins(
  node: SimNode,
  secrets: Readonly<
    Record<"plugin" | "jwt" | "plugin-env" | "plugin-stderr" | "plugin-stdout", string>
  >,
): void {
  const expSeconds = Math.floor(Date.now() / 1_000) + 3_600;
  const parts = [{ alg: "none" }, { exp: expSeconds, jti: secrets.jwt }];
  const jwt = parts.map((part) => base64(JSON.stringify(part)).replace(/=+$/, "")).join(".");
  script(node, "plugin", "plugin", answer("plugin", secrets.plugin));
  script(node, "jwt", "jwt", answer("jwt", `${jwt}.${secrets.jwt}`));
  const stderr = join(node.dir, "own", "secrets", "stderr");
  Deno.writeTextFileSync(stderr, `denied: token ${secrets["plugin-stderr"]} is bad\n`);
  script(node, "failing", "failing", secrets["plugin-stdout"], `/bin/cat ${stderr} >&2; exit 1`);
  script(node, "babbling", "babbling", `{"kind":"${secrets["plugin-stdout"]}"`);
  const request = join(node.dir, "own", "secrets", "request");
  // Replaced as a whole: the agent may stop the script at any time.
  const save = `/bin/cat > ${request}.$$ && /bin/mv ${request}.$$ ${request}`;
  script(node, "account", "account", answer("account", "x"), save);
  const lines = PLUGINS.map((name) =>
    `- name: ${name}
  apiVersion: credentialprovider.kubelet.k8s.io/v1
  matchImages: [${name}.example.com]
  defaultCacheDuration: 1s
  env: [{name: PLUGIN_PASSWORD, value: "${secrets["plugin-env"]}"}]
`
  );
  const attributes = `  tokenAttributes:
    serviceAccountTokenAudience: registry
    requireServiceAccount: true
    cacheType: Token
`;
  const head = "apiVersion: kubelet.config.k8s.io/v1\nkind: CredentialProviderConfig\nproviders:\n";
  Deno.writeTextFileSync(node.providerConfigPath, head + lines.join("") + attributes);
}

function answer(name: string, password: string): string {
  return JSON.stringify({
    kind: "CredentialProviderResponse",
    apiVersion: "credentialprovider.kubelet.k8s.io/v1",
    cacheKeyType: "Registry",
    cacheDuration: "1s",
    auth: { [`${name}.example.com`]: { username: "u", password } },
  });
}

/** Writes a script that prints a text from a file and runs long enough to be captured. */
function script(node: SimNode, name: string, file: string, text: string, more = ":"): void {
  const data = join(node.dir, "own", "secrets", file);
  Deno.writeTextFileSync(data, text, { mode: 0o600 });
  const path = join(node.dir, "bin", name);
  const lines = ["#!/bin/sh", `/bin/cat ${data}`, "/bin/sleep 0.05", more, ""];
  Deno.writeTextFileSync(`${path}.new`, lines.join("\n"), { mode: 0o755 });
  Deno.renameSync(`${path}.new`, path);
}

/** Adds a pod with a pull secret, and a pod whose service account has tokens. */
export function canaryPullSecret(api: SimKubeApi, password: string): void {
  putSecret(api, "pull", "kube.example.com/team", password);
  putAccount(api, "default");
  putPod(api, "app", { secrets: ["pull"], images: ["kube.example.com/team/a:1"] });
  putPod(api, "other", { images: ["account.example.com/a:1"] });
}

/** Writes a kubeconfig that contains a token. */
export async function writeCanaryKubeconfig(
  folder: string,
  api: SimKubeApi,
  token: string,
): Promise<void> {
  api.tokens.set(token, USER);
  await writeKubeconfig(folder, api, { user: `token: "${token}"` });
}

/** Sends a pull of a kubelet through the CRI proxy in a folder to a fake runtime. */
export async function pullThroughCriProxy(
  folder: string,
  image: string,
  password: string,
): Promise<void> {
  const listener = Deno.listen({ transport: "unix", path: join(folder, "containerd.sock") });
  const client = await Deno.connect({ transport: "unix", path: join(folder, "cri.sock") });
  const server = await listener.accept();
  try {
    const conversation = new Conversation();
    const message = pullImageRequest({ image, auth: { username: "u", password } });
    const call = conversation.call({
      path: PULL,
      message,
      answer: pulled(`sha256:${"a".repeat(64)}`),
    });
    for (const { from, bytes } of [...conversation.opening(), ...call]) {
      const [sender, receiver] = from === "client" ? [client, server] : [server, client];
      for (let done = 0; done < bytes.length;) done += await sender.write(bytes.subarray(done));
      const buffer = new Uint8Array(bytes.length);
      for (let done = 0; done < bytes.length;) done += await receiver.read(buffer) ?? Infinity;
    }
  } finally {
    client.close();
    server.close();
    listener.close();
  }
}
