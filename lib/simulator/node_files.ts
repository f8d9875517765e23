/** Where a node's parts are, as the snapshotter's configuration names them. */
export interface NodeLocations {
  readonly root: string;
  readonly systemSocket: string;
  readonly daemonTemplatePath: string;
  readonly mirrorsDir: string;
  readonly providerConfigPath: string;
  readonly pluginDir: string;
}

/** The snapshotter's configuration file. */
export function snapshotterConfigText(places: NodeLocations): string {
  return [
    "version = 1",
    `root = "${places.root}"`,
    'daemon_mode = "dedicated"',
    "[system]",
    "enable = true",
    `address = "${places.systemSocket}"`,
    "[daemon]",
    `nydusd_config = "${places.daemonTemplatePath}"`,
    "[remote.mirrors_config]",
    `dir = "${places.mirrorsDir}"`,
    "[remote.auth]",
    "enable_kubelet_credential_providers = true",
    `credential_provider_config = "${places.providerConfigPath}"`,
    `credential_provider_bin_dir = "${places.pluginDir}"`,
    "",
  ].join("\n");
}

/** The kubelet's configuration of its one plugin. */
export function providerConfigText(plugin: string, pattern: string): string {
  return [
    "apiVersion: kubelet.config.k8s.io/v1",
    "kind: CredentialProviderConfig",
    "providers:",
    `- name: ${plugin}`,
    "  apiVersion: credentialprovider.kubelet.k8s.io/v1",
    `  matchImages: ["${pattern}"]`,
    '  defaultCacheDuration: "12h"',
    "",
  ].join("\n");
}
