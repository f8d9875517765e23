import { key } from "./key.ts";

const PROVIDER_LIMIT = { kind: "duration", minMs: 100, maxMs: 600_000 } as const;
const FALLBACK_DELAY = { kind: "duration", minMs: 1_000, maxMs: 60_000, zero: true } as const;

/** The keys of `[providers.…]`. */
export const PROVIDER_KEYS = [
  key("providers.timeout", PROVIDER_LIMIT, {
    default: "5s",
    field: "providers.timeoutMs",
    description: "How long a running agent waits for a provider, plugin or credential helper " +
      "before it queries the next one. A late answer is still used.",
  }),
  key("providers.labels.enabled", { kind: "boolean" }, {
    default: true,
    field: "providers.labels.enabled",
    description: "Use the credentials in the pull labels of a request.",
  }),
  key("providers.cri.enabled", { kind: "boolean" }, {
    defaultNote: "the snapshotter's `enable_cri_keychain`",
    example: false,
    field: "providers.cri.enabled",
    description: "Use the credentials of CRI pulls, observed by the CRI proxy.",
  }),
  key("providers.cri.socket", { kind: "path" }, {
    default: "/run/nydus-auth-agent/cri.sock",
    field: "providers.cri.socket",
    description: "Socket on which the CRI proxy listens.",
  }),
  key("providers.cri.link", { kind: "path", off: true }, {
    default: "/run/nydus-auth-agent-cri/image.sock",
    field: "providers.cri.link",
    description:
      "Image service endpoint for the kubelet: a symbolic link to the CRI proxy, or to " +
      `the image service while the agent is stopped. "off" creates none.`,
  }),
  key("providers.cri.image_service", { kind: "path" }, {
    defaultNote: "the snapshotter's `image_service_address`, else " +
      "`/run/containerd/containerd.sock`",
    example: "/run/containerd/containerd.sock",
    field: "providers.cri.imageServiceSocket",
    description: "Socket of the image service that the CRI proxy forwards requests to.",
  }),
  key("providers.cri.fallback_delay", FALLBACK_DELAY, {
    default: "0s",
    field: "providers.cri.fallbackDelayMs",
    description: "How long `providers.cri.link` points to the CRI proxy after the agent has " +
      "stopped; the service unit then switches it. With 0s the agent does (docs/cri-proxy.md).",
  }),
  key("providers.cri.persist", { kind: "boolean" }, {
    default: true,
    field: "providers.cri.persist",
    description: "Keep observed credentials across restarts, in a file (mode 0600) next to " +
      "`providers.cri.socket`; only on tmpfs, never on a disk.",
  }),
  key("providers.docker.enabled", { kind: "boolean" }, {
    default: true,
    field: "providers.docker.enabled",
    description: "Use docker's configuration file and its credential helpers.",
  }),
  key("providers.docker.config", { kind: "path" }, {
    defaultNote: "`$DOCKER_CONFIG/config.json`, else `~/.docker/config.json`",
    example: "/var/lib/kubelet/config.json",
    flag: "dockerConfig",
    field: "providers.docker.configPath",
    description: "Path of docker's configuration file.",
  }),
  key("providers.docker.helper_timeout", PROVIDER_LIMIT, {
    default: "30s",
    field: "providers.docker.helperTimeoutMs",
    description: "Time after which a credential helper is killed.",
  }),
  key("providers.kubelet.enabled", { kind: "boolean" }, {
    defaultNote: "true if both paths are set, else the snapshotter's " +
      "`enable_kubelet_credential_providers`",
    example: false,
    field: "providers.kubelet.enabled",
    description: "Execute the kubelet's credential provider plugins.",
  }),
  key("providers.kubelet.config", { kind: "path" }, {
    defaultNote: "the snapshotter's `credential_provider_config`",
    example: "/etc/nydus/credential-provider-config.yaml",
    flag: "credentialProviderConfig",
    field: "providers.kubelet.configPath",
    description: "The `CredentialProviderConfig` in YAML or JSON: a file or a folder of files.",
  }),
  key("providers.kubelet.bin_dir", { kind: "path" }, {
    defaultNote: "the snapshotter's `credential_provider_bin_dir`",
    example: "/usr/local/bin/credential-providers",
    flag: "credentialProviderBinDir",
    field: "providers.kubelet.binDir",
    description: "Folder of the plugins.",
  }),
  key("providers.kubelet.timeout", PROVIDER_LIMIT, {
    default: "1m",
    field: "providers.kubelet.timeoutMs",
    description: "Time after which a plugin and its child processes are killed.",
  }),
  key("providers.kubelet.max_parallel", { kind: "integer", min: 1, max: 64 }, {
    default: 4,
    field: "providers.kubelet.maxParallel",
    description: "Maximum number of plugins that run in parallel.",
  }),
  key("providers.kubesecret.enabled", { kind: "boolean" }, {
    defaultNote: "the snapshotter's `enable_kubeconfig_keychain`",
    example: false,
    field: "providers.kubesecret.enabled",
    description: "Use the pull secrets in the Kubernetes API.",
  }),
  key("providers.kubesecret.kubeconfig", { kind: "path" }, {
    defaultNote: "the snapshotter's `kubeconfig_path`, `$KUBECONFIG`, `~/.kube/config`, or the " +
      "pod's service account",
    example: "/etc/kubernetes/kubelet.conf",
    flag: "kubeconfig",
    field: "providers.kubesecret.kubeconfigPath",
    description: "Kubeconfig file for the Kubernetes API.",
  }),
  key("providers.kubesecret.node_name", { kind: "kube-name" }, {
    defaultNote: "`$NODE_NAME`, else the host name",
    example: "node-1",
    field: "providers.kubesecret.nodeName",
    description: "Name of this node in Kubernetes.",
  }),
] as const;
