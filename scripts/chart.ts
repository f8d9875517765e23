// deno-lint-ignore-file no-console -- a script prints its results
/**
 * Writes the plain Kubernetes manifest (`lib/assets/daemonset.yaml`) from the Helm chart. With
 * `--check`, lints and renders the chart with the values of every profile instead, validates the
 * objects with kubeconform (strict), and fails if the manifest is not up to date.
 *
 * `HELM` and `KUBECONFORM` name the programs. `KUBE_SCHEMAS` is a folder with JSON schemas in the layout
 * of the Python package kubernetes-validate; without it kubeconform downloads them.
 *
 * @module
 */
import { fileURLToPath } from "node:url";

const CHART = fileURLToPath(new URL("../lib/assets/chart", import.meta.url));
const MANIFEST = new URL("../lib/assets/daemonset.yaml", import.meta.url);
const NAME = "nydus-auth-agent";
const KUBERNETES_VERSIONS = ["1.28.0", "1.37.0"];

const HEADER =
  `# ${NAME} on every node of a cluster. Set the image and adapt the host paths to your nodes;
# docs/kubernetes.md describes each. Generated from the Helm chart by "deno task chart", for clusters
# without Helm.
`;

/** Values of each rendering besides the profiles, as arguments of helm. */
const VARIANTS: Readonly<Record<string, readonly string[]>> = {
  defaults: [],
  manifest: ["--set", "createNamespace=true"],
  everything: [
    "--set",
    "monitoring.podMonitor.enabled=true,monitoring.prometheusRule.enabled=true," +
    "providers.kubelet.enabled=true,providers.kubelet.serviceAccountTokens=true,apiOnHost=true",
    "--set",
    "extraEnv[0].name=A,extraEnv[0].value=b,podLabels.team=a,podAnnotations.note=a",
    "--set",
    'extraConfig=[delivery]\nunapproved_hosts = "refuse"',
    "--set",
    "image.digest=sha256:" + "0".repeat(64),
  ],
  "no Kubernetes API": ["--set", "providers.kubesecret.enabled=false"],
};

/** Kinds of objects, and permissions, that a rendering must not have. */
const ABSENT: Readonly<Record<string, readonly string[]>> = {
  defaults: ["kind: Namespace", "kind: PodMonitor", '"serviceaccounts/token"]\n    verbs'],
  "no Kubernetes API": ["kind: ClusterRole", "kind: Role", "automountServiceAccountToken: true"],
  "eks.yaml": ["kind: NetworkPolicy", "path: /root"],
  "talos.yaml": ["path: /etc/nydus", "path: /root"],
};

async function run(program: string, args: readonly string[], input = ""): Promise<string> {
  const child = new Deno.Command(program, {
    args: [...args],
    stdin: "piped",
    stdout: "piped",
    stderr: "piped",
  }).spawn();
  const writer = child.stdin.getWriter();
  await writer.write(new TextEncoder().encode(input)).catch(() => {});
  await writer.close().catch(() => {});
  const { success, stdout, stderr } = await child.output();
  const text = (bytes: Uint8Array) => new TextDecoder().decode(bytes);
  if (!success) throw new Error(`${program} ${args.join(" ")}:\n${text(stdout)}${text(stderr)}`);
  return text(stdout);
}

const helm = (...args: string[]) => run(Deno.env.get("HELM") ?? "helm", args);

const template = (values: readonly string[], version = "1.37.0") =>
  helm("template", NAME, CHART, "--namespace", NAME, "--kube-version", version, ...values);

async function manifest(): Promise<string> {
  const rendered = (await template(VARIANTS.manifest ?? []))
    .replaceAll(/^# Source: .*\n/gm, "")
    // Without Helm the checksum would not follow changes of the ConfigMap.
    .replaceAll(/^ *(app\.kubernetes\.io\/managed-by: Helm|checksum\/config: .*)\n/gm, "")
    .replaceAll(/^\n+/gm, "\n");
  return HEADER + rendered.replace(/^---\n/, "");
}

async function check(): Promise<void> {
  const variants = { ...VARIANTS };
  for await (const { name } of Deno.readDir(`${CHART}/profiles`)) {
    variants[name] = ["--values", `${CHART}/profiles/${name}`];
  }
  const schemas = Deno.env.get("KUBE_SCHEMAS");
  const layout = "{{ .NormalizedKubernetesVersion }}-local{{ .StrictSuffix }}/" +
    "{{ .ResourceKind }}{{ .KindSuffix }}.json";
  for (const [name, values] of Object.entries(variants)) {
    for (const version of KUBERNETES_VERSIONS) {
      await helm("lint", "--strict", "--quiet", CHART, "--kube-version", version, ...values);
      const rendered = await template(values, version);
      for (const text of ABSENT[name] ?? []) {
        if (rendered.includes(text)) throw new Error(`${name}: unexpected ${text}`);
      }
      await run(Deno.env.get("KUBECONFORM") ?? "kubeconform", [
        "-strict",
        "-kubernetes-version",
        version,
        // Their schemas are not part of Kubernetes.
        "-skip",
        "PodMonitor,PrometheusRule",
        ...(schemas === undefined ? [] : ["-schema-location", `${schemas}/${layout}`]),
        "-",
      ], rendered);
    }
    console.log(`ok: ${name}`);
  }
  if (await manifest() !== await Deno.readTextFile(MANIFEST)) {
    throw new Error(`${fileURLToPath(MANIFEST)} is not up to date: run "deno task chart"`);
  }
}

if (Deno.args.includes("--check")) await check();
else await Deno.writeTextFile(MANIFEST, await manifest());
