/**
 * The provider chain and its providers. `program` executes plugins and helpers, with cache and
 * backoff; `docker`, `exec_plugin` and `kubernetes` are the sources of the same names.
 *
 * @module
 */
export { CredentialChain } from "./chain.ts";
export {
  confirmedPullProvider,
  criProvider,
  type CriPulls,
  disabledProvider,
  labelsCredential,
  labelsProvider,
  type PushedCredential,
  PushedCredentials,
  type PushTarget,
} from "./memory_providers.ts";
export {
  credentialsOf,
  type DockerConfig,
  dockerServer,
  findAuth,
  parseDockerConfig,
} from "./docker/docker_config.ts";
export { CredentialHelpers, DockerProvider } from "./docker/docker_provider.ts";
export { KubeletProvider, type ReloadOutcome } from "./exec_plugin/kubelet_provider.ts";
export { lintPlugins } from "./exec_plugin/provider_config.ts";
export { readPluginResponse } from "./exec_plugin/plugin.ts";
export {
  openProviderConfig,
  type PluginDefinition,
  providerConfigPaths,
  type ProviderConfigReading,
  readProviderConfig,
} from "./exec_plugin/provider_config.ts";
export { Kube } from "./kubernetes/kube.ts";
export { CALLED_BY_AGENT, MAX_STDOUT_BYTES, processProblem } from "./program/execution.ts";
