import { key } from "./key.ts";

const PROVIDER_LIMIT = { kind: "duration", minMs: 100, maxMs: 600_000 } as const;
const FALLBACK_DELAY = { kind: "duration", minMs: 1_000, maxMs: 60_000, zero: true } as const;

/** The keys of `[providers.…]`. */
export const PROVIDER_KEYS = [
  key("providers.timeout", PROVIDER_LIMIT, {
    default: "5s",
    field: "providers.timeoutMs",
    description: "How long the running agent waits for a provider, a plugin or a credential " +
      "helper before it goes on to the next one. What answers later is used when it arrives.",
  }),
  key("providers.labels.enabled", { kind: "boolean" }, {
    default: true,
    field: "providers.labels.enabled",
    description: "Take credentials from the labels of a request.",
  }),
  key("providers.cri.enabled", { kind: "boolean" }, {
    defaultNote: "the snapshotter's `enable_cri_keychain`",
    example: false,
    field: "providers.cri.enabled",
    description: "Take credentials that were seen in CRI pulls.",
  }),
  key("providers.cri.socket", { kind: "path" }, {
    default: "/run/nydus-auth-agent/cri.sock",
    field: "providers.cri.socket",
    description: "The socket on which CRI requests are taken and passed on, byte for byte.",
  }),
  key("providers.cri.link", { kind: "path", off: true }, {
    default: "/run/nydus-auth-agent-cri/image.sock",
    field: "providers.cri.link",
    description: "The path to give to the kubelet as image service endpoint: a symbolic link to " +
      "our socket while the agent serves it, to the image service when it does not. " +
      '"off" makes none.',
  }),
  key("providers.cri.image_service", { kind: "path" }, {
    defaultNote: "the snapshotter's `image_service_address`, else " +
      "`/run/containerd/containerd.sock`",
    example: "/run/containerd/containerd.sock",
    field: "providers.cri.imageServiceSocket",
    description: "Socket of the image service that CRI requests are passed on to.",
  }),
  key("providers.cri.fallback_delay", FALLBACK_DELAY, {
    default: "0s",
    field: "providers.cri.fallbackDelayMs",
    description:
      "How long `providers.cri.link` keeps leading to the agent after its end. With 0s " +
      "the agent points it at the image service as it ends; otherwise the service unit does so " +
      "later. See docs/cri-proxy.md.",
  }),
  key("providers.cri.persist", { kind: "boolean" }, {
    default: true,
    field: "providers.cri.persist",
    description: "Keep what was seen over a restart of the agent, in a file of mode 0600 beside " +
      "`providers.cri.socket`; only where that is in memory (tmpfs), never on a disk.",
  }),
  key("providers.docker.enabled", { kind: "boolean" }, {
    default: true,
    field: "providers.docker.enabled",
    description: "Take credentials from docker's configuration and its credential helpers.",
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
    description: "After this time a credential helper is stopped.",
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
    description: "The `CredentialProviderConfig`, YAML or JSON: a file, or a folder of them.",
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
    description: "After this time a plugin, and all that it started, is stopped.",
  }),
  key("providers.kubelet.max_parallel", { kind: "integer", min: 1, max: 64 }, {
    default: 4,
    field: "providers.kubelet.maxParallel",
    description: "How many plugins run side by side at most.",
  }),
  key("providers.kubesecret.enabled", { kind: "boolean" }, {
    defaultNote: "the snapshotter's `enable_kubeconfig_keychain`",
    example: false,
    field: "providers.kubesecret.enabled",
    description: "Take credentials from pull secrets in the Kubernetes API.",
  }),
  key("providers.kubesecret.kubeconfig", { kind: "path" }, {
    defaultNote:
      "the snapshotter's `kubeconfig_path`; else `$KUBECONFIG`, `~/.kube/config` or the pod's " +
      "service account",
    example: "/etc/kubernetes/kubelet.conf",
    flag: "kubeconfig",
    field: "providers.kubesecret.kubeconfigPath",
    description: "The kubeconfig to reach the Kubernetes API with.",
  }),
  key("providers.kubesecret.mode", { kind: "choice", choices: ["referenced", "list"] }, {
    default: "referenced",
    field: "providers.kubesecret.mode",
    description: `"referenced": the pull secrets that pods on this node name, got one by one. ` +
      `"list": all pull secrets there are.`,
  }),
  key("providers.kubesecret.namespaces", { kind: "kube-names", max: 32 }, {
    defaultNote: "all namespaces",
    example: ["default"],
    field: "providers.kubesecret.namespaces",
    description: `With "list": the namespaces whose secrets are taken.`,
  }),
  key("providers.kubesecret.node_name", { kind: "kube-name" }, {
    defaultNote: "`$NODE_NAME`, else the machine's name",
    example: "node-1",
    field: "providers.kubesecret.nodeName",
    description: `With "referenced": this node's name in Kubernetes.`,
  }),
] as const;
