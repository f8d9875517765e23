import type { ProvidersConfig } from "./agent_config.ts";
import type { ConfigInput } from "./config_input.ts";
import { type Findings, valueOr } from "./settings.ts";

const CONTAINERD_SOCKET = "/run/containerd/containerd.sock";

/** Which providers there are: ours over the snapshotter's, and no plugins without their paths. */
export function normalizeProviders(said: ConfigInput, findings: Findings): ProvidersConfig {
  const { settings, snapshotter } = said;
  const imageService = settings["providers.cri.image_service"]?.value ??
    (snapshotter?.["remote.auth.image_service_address"]?.value || CONTAINERD_SOCKET);
  const link = valueOr(settings, "providers.cri.link");
  const dockerConfig = settings["providers.docker.config"]?.value;
  return {
    timeoutMs: valueOr(settings, "providers.timeout"),
    labels: { enabled: valueOr(settings, "providers.labels.enabled") },
    cri: {
      enabled: settings["providers.cri.enabled"]?.value ??
        snapshotter?.["remote.auth.enable_cri_keychain"]?.value ?? false,
      socket: valueOr(settings, "providers.cri.socket"),
      ...(link === "off" ? {} : { link }),
      imageServiceSocket: imageService,
      fallbackDelayMs: valueOr(settings, "providers.cri.fallback_delay"),
      persist: valueOr(settings, "providers.cri.persist"),
    },
    docker: {
      enabled: valueOr(settings, "providers.docker.enabled"),
      ...(dockerConfig === undefined ? {} : { configPath: dockerConfig }),
      helperTimeoutMs: valueOr(settings, "providers.docker.helper_timeout"),
    },
    kubelet: normalizeKubelet(said, findings),
    kubesecret: normalizeKubesecret(said, findings),
  };
}

function normalizeKubesecret(
  { settings, snapshotter }: ConfigInput,
  { warnings }: Findings,
): ProvidersConfig["kubesecret"] {
  const kubeconfig = settings["providers.kubesecret.kubeconfig"]?.value ??
    snapshotter?.["remote.auth.kubeconfig_path"]?.value;
  const mode = valueOr(settings, "providers.kubesecret.mode");
  const namespaces = settings["providers.kubesecret.namespaces"];
  const nodeName = settings["providers.kubesecret.node_name"];
  const idle = mode === "list" ? nodeName : namespaces;
  if (idle !== undefined) {
    const problem = `it has no effect, because providers.kubesecret.mode is "${mode}"`;
    warnings.push({ ...idle.origin, problem, remedy: "remove it, or choose the other mode" });
  }
  return {
    enabled: settings["providers.kubesecret.enabled"]?.value ??
      snapshotter?.["remote.auth.enable_kubeconfig_keychain"]?.value ?? false,
    ...(kubeconfig === undefined ? {} : { kubeconfigPath: kubeconfig }),
    mode,
    ...(namespaces === undefined ? {} : { namespaces: namespaces.value }),
    ...(nodeName === undefined ? {} : { nodeName: nodeName.value }),
  };
}

function normalizeKubelet(
  { settings, snapshotter }: ConfigInput,
  { problems, warnings }: Findings,
): ProvidersConfig["kubelet"] {
  const ourPaths = [settings["providers.kubelet.config"], settings["providers.kubelet.bin_dir"]];
  const config = ourPaths[0] ?? snapshotter?.["remote.auth.credential_provider_config"];
  const binDir = ourPaths[1] ?? snapshotter?.["remote.auth.credential_provider_bin_dir"];
  const explicit = settings["providers.kubelet.enabled"];
  const theirs = snapshotter?.["remote.auth.enable_kubelet_credential_providers"];
  const bothOurs = ourPaths.every((path) => path !== undefined);
  const enabled = explicit?.value ?? (bothOurs || theirs?.value === true);
  const missing = [
    { found: config, ours: "config", theirs: "credential_provider_config" },
    { found: binDir, ours: "bin_dir", theirs: "credential_provider_bin_dir" },
  ].filter(({ found }) => found === undefined);
  for (const key of enabled ? missing : []) {
    const file = (explicit ?? theirs)?.origin.file ?? "";
    const ours = `providers.kubelet.${key.ours}`;
    const place = explicit === undefined ? `remote.auth.${key.theirs}` : ours;
    // A path that was given and refused is not missing.
    if (problems.some((known) => known.place === ours || known.place.endsWith(key.theirs))) {
      continue;
    }
    const problem = "it is missing, and the kubelet's plugins are enabled";
    problems.push({ file, place, problem, remedy: `set ${ours}, or switch the provider off` });
  }
  for (const path of enabled || explicit !== undefined ? [] : ourPaths) {
    if (path === undefined) continue;
    const problem = "it has no effect, because the kubelet's plugins are not enabled";
    const remedy = "set both providers.kubelet.config and providers.kubelet.bin_dir";
    warnings.push({ ...path.origin, problem, remedy });
  }
  return {
    enabled,
    configPath: enabled ? config?.value ?? "" : "",
    binDir: enabled ? binDir?.value ?? "" : "",
    timeoutMs: valueOr(settings, "providers.kubelet.timeout"),
    maxParallel: valueOr(settings, "providers.kubelet.max_parallel"),
  };
}
