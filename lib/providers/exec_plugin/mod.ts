/**
 * The kubelet's credential provider plugins: configuration, execution, cache and service accounts.
 *
 * @module
 */
export { KubeletProvider, type ReloadOutcome } from "./kubelet_provider.ts";
export { lintPlugins } from "./plugin_linter.ts";
export { readPluginResponse } from "./plugin_api.ts";
export {
  openProviderConfig,
  type PluginDefinition,
  providerConfigPaths,
  type ProviderConfigReading,
  readProviderConfig,
} from "./provider_config.ts";
