/**
 * Every kind of connection to the API server that a kubeconfig or a pod can configure, over TLS and with
 * the program itself, or with the compiled binary, whose runtime is older.
 */
import { doesNotMatch, match, strictEqual } from "node:assert/strict";
import { join } from "@std/path";
import { SimKubeApi } from "../../lib/simulator/kube_api.ts";
import { certificates, HAS_OPENSSL } from "../fakes/certificates.ts";
import {
  explain,
  IMAGE,
  kubeTest,
  NODE,
  putPod,
  putSecret,
  REGISTRY,
  TOKEN,
  withFolder,
  writeKubeconfig,
} from "./kube_stage.ts";
import { command } from "./stage.ts";

kubeTest(
  "connects with files, inline data, exec plugins, without verification, and by another name",
  async () => {
    await withFolder(async (api, folder) => {
      const { ca } = await certificates();
      await Deno.writeTextFile(join(folder, "ca.crt"), ca);
      const plugin = join(folder, "login");
      await Deno.writeTextFile(plugin, execPlugin(), { mode: 0o755 });
      const exec = `exec: {apiVersion: client.authentication.k8s.io/v1, command: ./login, ` +
        `env: [{name: PLUGIN_OUTPUT, value: ${TOKEN}}], provideClusterInfo: true, interactiveMode: Never}`;
      const ways: Parameters<typeof writeKubeconfig>[2][] = [
        { cluster: "certificate-authority: ca.crt" },
        { user: `token: ${TOKEN}` },
        { user: exec },
        { cluster: "insecure-skip-tls-verify: true" },
        {
          cluster: `certificate-authority: ca.crt, tls-server-name: kubernetes.default.svc`,
        },
      ];
      for (const way of ways) {
        const { out, code } = await explain(await writeKubeconfig(folder, api, way));
        strictEqual(code, 0, `${JSON.stringify(way)}\n${out}`);
        match(out, /winner +kubesecret: secret default\/pull, entry registry\.example\.com\/team/);
      }
      const wrongName = "certificate-authority: ca.crt, tls-server-name: other.example.com";
      strictEqual(
        (await explain(await writeKubeconfig(folder, api, { cluster: wrongName }))).code,
        1,
      );
      const unknown = await explain(await writeKubeconfig(folder, api, { cluster: "a: b" }));
      match(unknown.out, /signed by an authority that is not trusted/);
    });
  },
);

/** Returns the token if its input follows the protocol. */
function execPlugin(): string {
  return `#!/bin/sh
case "$KUBERNETES_EXEC_INFO" in
  *'"kind":"ExecCredential"'*'"interactive":false'*'"server":"https://127.0.0.1'*) ;;
  *) exit 1 ;;
esac
echo '{"apiVersion":"client.authentication.k8s.io/v1","kind":"ExecCredential",' \\
  '"status":{"token":"'"$PLUGIN_OUTPUT"'","expirationTimestamp":"2999-01-01T00:00:00Z"}}'
`;
}

Deno.test({
  name:
    "kubesecret: connects with client certificates from files, inline, from a plugin, and unverified",
  // The server of the older runtime does not request client certificates.
  ignore: !HAS_OPENSSL || Deno.version.deno.startsWith("2.6."),
  async fn() {
    const { ca, cert, key, clientCert, clientKey } = await certificates();
    await using api = await SimKubeApi.start({ cert, key, clientCa: ca });
    putSecret(api, "pull", REGISTRY, "first");
    putPod(api, "app", { secrets: ["pull"] });
    const folder = await Deno.makeTempDir();
    try {
      await Deno.writeTextFile(join(folder, "tls.crt"), clientCert);
      await Deno.writeTextFile(join(folder, "tls.key"), clientKey);
      const status = { clientCertificateData: clientCert, clientKeyData: clientKey };
      const apiVersion = "client.authentication.k8s.io/v1";
      const answer = JSON.stringify({ apiVersion, kind: "ExecCredential", status });
      await Deno.writeTextFile(join(folder, "answer"), `${answer}\n`);
      const plugin = '#!/bin/sh\nread -r answer < "$PLUGIN_OUTPUT"\nprintf "%s" "$answer"\n';
      await Deno.writeTextFile(join(folder, "login"), plugin, { mode: 0o755 });
      const files = "client-certificate: tls.crt, client-key: tls.key";
      const inline = `client-certificate-data: ${btoa(clientCert)}, ` +
        `client-key-data: ${btoa(clientKey)}`;
      const exec = `exec: {apiVersion: ${apiVersion}, command: ./login, ` +
        `env: [{name: PLUGIN_OUTPUT, value: "${join(folder, "answer")}"}], interactiveMode: Never}`;
      for (const user of [files, inline, exec]) {
        for (const cluster of [undefined, "insecure-skip-tls-verify: true"]) {
          const way = { user, ...(cluster !== undefined && { cluster }) };
          const { out, err, code } = await explain(await writeKubeconfig(folder, api, way));
          strictEqual(code, 0, `${user.slice(0, 30)} ${cluster}\n${out}`);
          match(out, /winner +kubesecret: secret default\/pull/);
          doesNotMatch(out + err, /PRIVATE KEY/);
        }
      }
      strictEqual(api.calls.every(({ user }) => user === "system:node:one"), true);
    } finally {
      await Deno.remove(folder, { recursive: true });
    }
  },
});

const UNSHARE = "/usr/bin/unshare";
/** Whether the tests can create a mount namespace, as a pod has one. */
const HAS_NAMESPACES = await new Deno.Command(UNSHARE, {
  args: ["--mount", "/bin/true"],
  stdout: "null",
  stderr: "null",
}).output().then(({ success }) => success, () => false);

/** Mounts a service account as in a pod, and runs a command there. */
const IN_POD = `set -e
pod=/run/secrets/kubernetes.io/serviceaccount
/bin/mount -t tmpfs none /run
/bin/mkdir -p $pod
/bin/cp "$0/token" "$0/ca.crt" $pod
exec "$@"`;

Deno.test({
  name: "kubesecret: connects with the service account in a pod",
  ignore: !HAS_OPENSSL || !HAS_NAMESPACES,
  async fn() {
    await withFolder(async (api, folder) => {
      await writeKubeconfig(folder, api); // for the token beside it
      await Deno.writeTextFile(join(folder, "ca.crt"), (await certificates()).ca);
      await Deno.remove(join(folder, "kubeconfig"));
      const { hostname, port } = new URL(api.url);
      const config = join(folder, "agent.toml");
      const provider = `[providers.kubesecret]\nenabled = true\nnode_name = "${NODE}"\n`;
      await Deno.writeTextFile(config, provider);
      const args = ["explain", IMAGE, "--config", config, "--snapshotter-config", "off"];
      const env = {
        HOME: folder,
        KUBERNETES_SERVICE_HOST: hostname,
        KUBERNETES_SERVICE_PORT: port,
      };
      const inPod = [UNSHARE, "--mount", "/bin/sh", "-c", IN_POD, folder];
      const { out, err, code } = await command(args, env, inPod);
      strictEqual(code, 0, out + err);
      match(out, /winner +kubesecret: secret default\/pull/);
      doesNotMatch(out + err, new RegExp(TOKEN));
    });
  },
});
