import { key } from "./key.ts";

const PROVIDER_LIMIT = { kind: "duration", minMs: 100, maxMs: 600_000 } as const;
const FALLBACK_DELAY = { kind: "duration", minMs: 1_000, maxMs: 60_000, zero: true } as const;

/** The keys of `[providers.…]`. */
export const PROVIDER_KEYS = [
  key("providers.timeout", PROVIDER_LIMIT, {
    default: "5s",
    field: "providers.timeoutMs",
    description: "How long the running agent waits for a provider, plugin or credential helper " +
      "before it continues with the next one. A late answer is used when it arrives.",
  }),
  key("providers.labels.enabled", { kind: "boolean" }, {
    default: true,
    field: "providers.labels.enabled",
    description: "Use the labels of a request.",
  }),
  key("providers.cri.enabled", { kind: "boolean" }, {
    defaultNote: "the snapshotter's `enable_cri_keychain`",
    example: false,
    field: "providers.cri.enabled",
    description: "Use credentials observed in CRI pulls.",
  }),
  key("providers.cri.socket", { kind: "path" }, {
    default: "/run/nydus-auth-agent/cri.sock",
    field: "providers.cri.socket",
    description: "Socket of the CRI proxy.",
  }),
  key("providers.cri.link", { kind: "path", off: true }, {
    default: "/run/nydus-auth-agent-cri/image.sock",
    field: "providers.cri.link",
    description: "The image service endpoint for the kubelet: a symlink to the proxy's socket " +
      `while the agent serves, else to the image service. "off" creates none.`,
  }),
  key("providers.cri.image_service", { kind: "path" }, {
    defaultNote: "the snapshotter's `image_service_address`, else " +
      "`/run/containerd/containerd.sock`",
    example: "/run/containerd/containerd.sock",
    field: "providers.cri.imageServiceSocket",
    description: "Socket of the image service to which CRI requests are forwarded.",
  }),
  key("providers.cri.fallback_delay", FALLBACK_DELAY, {
    default: "0s",
    field: "providers.cri.fallbackDelayMs",
    description: "How long `providers.cri.link` leads to the agent after its end. With 0s the " +
      "agent itself moves it; otherwise the unit does so later. See " +
      "docs/cri-proxy.md.",
  }),
  key("providers.cri.persist", { kind: "boolean" }, {
    default: true,
    field: "providers.cri.persist",
    description: "Keep observed credentials over a restart of the agent, in a file of mode 0600 " +
      "beside `providers.cri.socket`, only on a tmpfs.",
  }),
  key("providers.docker.enabled", { kind: "boolean" }, {
    default: true,
    field: "providers.docker.enabled",
    description: "Use docker's configuration and its credential helpers.",
  }),
  key("providers.docker.config", { kind: "path" }, {
    defaultNote: "`$DOCKER_CONFIG/config.json`, else `~/.docker/config.json`",
    example: "/var/lib/kubelet/config.json",
    flag: "dockerConfig",
    field: "providers.docker.configPath",
    description: "Docker's configuration file.",
  }),
  key("providers.docker.helper_timeout", PROVIDER_LIMIT, {
    default: "30s",
    field: "providers.docker.helperTimeoutMs",
    description: "A credential helper is stopped after this time.",
  }),
  key("providers.kubelet.enabled", { kind: "boolean" }, {
    defaultNote: "true when both paths below are set, else the snapshotter's " +
      "`enable_kubelet_credential_providers`",
    example: false,
    field: "providers.kubelet.enabled",
    description: "Run the kubelet's credential provider plugins.",
  }),
  key("providers.kubelet.config", { kind: "path" }, {
    defaultNote: "the snapshotter's `credential_provider_config`",
    example: "/etc/nydus/credential-provider-config.yaml",
    flag: "credentialProviderConfig",
    field: "providers.kubelet.configPath",
    description: "The `CredentialProviderConfig`, YAML or JSON: a file, or a folder of files.",
  }),
  key("providers.kubelet.bin_dir", { kind: "path" }, {
    defaultNote: "the snapshotter's `credential_provider_bin_dir`",
    example: "/usr/local/bin/credential-providers",
    flag: "credentialProviderBinDir",
    field: "providers.kubelet.binDir",
    description: "The folder with the plugins.",
  }),
  key("providers.kubelet.timeout", PROVIDER_LIMIT, {
    default: "1m",
    field: "providers.kubelet.timeoutMs",
    description: "A plugin and its child processes are stopped after this time.",
  }),
  key("providers.kubelet.max_parallel", { kind: "integer", min: 1, max: 64 }, {
    default: 4,
    field: "providers.kubelet.maxParallel",
    description: "Maximum number of concurrent plugin executions.",
  }),
  key("providers.kubesecret.enabled", { kind: "boolean" }, {
    defaultNote: "the snapshotter's `enable_kubeconfig_keychain`",
    example: false,
    field: "providers.kubesecret.enabled",
    description: "Use pull secrets in the Kubernetes API.",
  }),
  key("providers.kubesecret.kubeconfig", { kind: "path" }, {
    defaultNote:
      "the snapshotter's `kubeconfig_path`; else `$KUBECONFIG`, `~/.kube/config` or the pod's " +
      "service account",
    example: "/etc/kubernetes/kubelet.conf",
    flag: "kubeconfig",
    field: "providers.kubesecret.kubeconfigPath",
    description: "The kubeconfig for the Kubernetes API.",
  }),
  key("providers.kubesecret.mode", { kind: "choice", choices: ["referenced", "list"] }, {
    default: "referenced",
    field: "providers.kubesecret.mode",
    description: `"referenced": the pull secrets that pods on this node reference. "list": all.`,
  }),
  key("providers.kubesecret.namespaces", { kind: "kube-names", max: 32 }, {
    defaultNote: "all namespaces",
    example: ["default"],
    field: "providers.kubesecret.namespaces",
    description: `With "list": the namespaces to read.`,
  }),
  key("providers.kubesecret.node_name", { kind: "kube-name" }, {
    defaultNote: "`$NODE_NAME`, else the machine's name",
    example: "node-1",
    field: "providers.kubesecret.nodeName",
    description: `With "referenced": this node's name in Kubernetes.`,
  }),
] as const;
