/**
 * Kubelet credential plugins: configuration, execution, cache and service accounts.
 *
 * @module
 */
export {
  KubeletProvider,
  type KubeletProviderOptions,
  type ReloadOutcome,
} from "./kubelet_provider.ts";
export { type PluginReading, readPluginResponse } from "./plugin_response.ts";
export {
  findProviderConfig,
  openProviderConfig,
  type PluginDefinition,
  type ProviderConfigReading,
} from "./provider_config_file.ts";
