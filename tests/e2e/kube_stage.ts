import { join } from "@std/path";
import { parse } from "yaml";
import { ASSETS } from "../../lib/assets/mod.ts";
import type { KubeCall } from "../../lib/simulator/kube_calls.ts";
import type { KubeObject, KubeResource } from "../../lib/simulator/kube_objects.ts";
import { SimKubeApi } from "../../lib/simulator/kube_api.ts";
import { certificates, HAS_OPENSSL } from "../fakes/certificates.ts";
import { command, type Ended } from "./stage.ts";

/** The user of the token that {@linkcode writeKubeconfig} writes. */
export const USER = "system:serviceaccount:nydus-auth-agent:nydus-auth-agent";
export const NODE = "node-1";
export const TOKEN = "agents-token";
export const IMAGE = "registry.example.com/team/app:1";
export const REGISTRY = "registry.example.com/team";

/** Defines a test that needs certificates; ignored without openssl. */
export function kubeTest(name: string, fn: () => Promise<void>): void {
  Deno.test({ name: `kubesecret: ${name}`, ignore: !HAS_OPENSSL, fn });
}

/** Returns the configuration of the provider. */
export function kubesecret(kubeconfig: string, more = `node_name = "${NODE}"`): string {
  return `[providers.kubesecret]\nenabled = true\nkubeconfig = "${kubeconfig}"\n${more}`;
}

/** Starts an API server that accepts the token. */
export async function kubeApi(): Promise<SimKubeApi> {
  const { cert, key } = await certificates();
  const api = await SimKubeApi.start({ cert, key });
  api.tokens.set(TOKEN, USER);
  return api;
}

/** Writes a kubeconfig and a token file into a folder. Returns the path of the kubeconfig. */
export async function writeKubeconfig(
  folder: string,
  api: SimKubeApi,
  { cluster, user }: { readonly cluster?: string; readonly user?: string } = {},
): Promise<string> {
  const { ca } = await certificates();
  const path = join(folder, "kubeconfig");
  await Deno.writeTextFile(join(folder, "token"), `${TOKEN}\n`);
  await Deno.writeTextFile(
    path,
    `
current-context: main
contexts: [{name: main, context: {cluster: c, user: u}}]
clusters: [{name: c, cluster: {server: "${api.url}", ${
      cluster ?? `certificate-authority-data: ${btoa(ca)}`
    }}}]
users: [{name: u, user: {${user ?? "tokenFile: token"}}}]
`,
  );
  return path;
}

/** Runs `explain` for the image with a kubeconfig. */
export async function explain(
  kubeconfig: string,
  more = `node_name = "${NODE}"`,
  env: Readonly<Record<string, string>> = {},
): Promise<Ended> {
  const folder = await Deno.makeTempDir();
  try {
    const config = join(folder, "agent.toml");
    await Deno.writeTextFile(config, kubesecret(kubeconfig, more));
    const args = ["explain", IMAGE, "--config", config, "--snapshotter-config", "off"];
    return await command(args, env);
  } finally {
    await Deno.remove(folder, { recursive: true });
  }
}

/** Runs a test with a folder and an API server, where a pod on the node references a secret. */
export async function withFolder(
  work: (api: SimKubeApi, folder: string) => Promise<void>,
): Promise<void> {
  await using api = await kubeApi();
  const folder = await Deno.makeTempDir();
  try {
    putSecret(api, "pull", REGISTRY, "first");
    putPod(api, "app", { secrets: ["pull"] });
    await work(api, folder);
  } finally {
    await Deno.remove(folder, { recursive: true });
  }
}

/** Stores a pull secret with one entry. */
export function putSecret(
  api: SimKubeApi,
  name: string,
  registry: string,
  password: string,
  namespace = "default",
): void {
  putSecretEntries(api, name, [[registry, password]], namespace);
}

/** Stores a pull secret with a password for each key. */
export function putSecretEntries(
  api: SimKubeApi,
  name: string,
  entries: readonly (readonly [key: string, password: string])[],
  namespace: string,
): void {
  const auths = Object.fromEntries(
    entries.map(([key, password]) => [key, { username: "robot", password }]),
  );
  put(api, "secrets", {
    metadata: { name, namespace },
    type: "kubernetes.io/dockerconfigjson",
    data: { ".dockerconfigjson": base64(JSON.stringify({ auths })) },
  });
}

/** Stores a pull secret of the older type. */
export function putOldSecret(api: SimKubeApi, name: string, registry: string, password: string) {
  const auths = { [registry]: { username: "robot", password } };
  put(api, "secrets", {
    metadata: { name, namespace: "default" },
    type: "kubernetes.io/dockercfg",
    data: { ".dockercfg": base64(JSON.stringify(auths)) },
  });
}

/** Stores a running pod on the node. */
export function putPod(
  api: SimKubeApi,
  name: string,
  { secrets = [], account = "default", images = [], node = NODE, namespace = "default" }: {
    readonly secrets?: readonly string[];
    readonly account?: string;
    readonly images?: readonly string[];
    readonly node?: string;
    readonly namespace?: string;
  } = {},
): KubeObject {
  return put(api, "pods", {
    metadata: { name, namespace },
    spec: {
      nodeName: node,
      serviceAccountName: account,
      imagePullSecrets: secrets.map((name) => ({ name })),
      containers: images.map((image) => ({ name: "main", image })),
    },
    status: { phase: "Running" },
  });
}

export function putAccount(
  api: SimKubeApi,
  name: string,
  { secrets = [], annotations = {}, namespace = "default" }: {
    readonly secrets?: readonly string[];
    readonly annotations?: Readonly<Record<string, string>>;
    readonly namespace?: string;
  } = {},
): KubeObject {
  return put(api, "serviceaccounts", {
    metadata: { name, namespace, annotations },
    imagePullSecrets: secrets.map((name) => ({ name })),
  });
}

function put(api: SimKubeApi, resource: KubeResource, object: KubeObject): KubeObject {
  return api.objects.put(resource, object);
}

/** Returns `verb resource` for every rule of the manifest; with `tokens`, the optional one too. */
export function manifestRules({ tokens = false } = {}): Set<string> {
  const text = ASSETS["daemonset.yaml"].text;
  const start = text.indexOf("kind: ClusterRole\n");
  const end = text.indexOf("---", start);
  const role = text.slice(start, end);
  const uncommented = tokens ? role.replaceAll(/^( *)# (- | {2})/gm, "$1$2") : role;
  const { rules } = parse(uncommented);
  return new Set(
    (rules as { resources: string[]; verbs: string[] }[]).flatMap(({ resources, verbs }) =>
      resources.flatMap((resource) => verbs.map((verb) => `${verb} ${resource}`))
    ),
  );
}

/** Returns the rule that a call needs. */
export function ruleOf({ verb, resource, subresource }: KubeCall): string {
  return `${verb} ${subresource === "" ? resource : `${resource}/${subresource}`}`;
}

function base64(text: string): string {
  return new TextEncoder().encode(text).toBase64();
}
