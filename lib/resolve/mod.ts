/**
 * Image → credential. A room of its own because every source has rules of its own: here they all
 * become one answer, `found`, `none` or `failed`, each with its reason.
 *
 * @module
 */
export { AnswerDeadline, type AnswerDeadlineOptions } from "./answer_deadline.ts";
export { Backoff, type BackoffOptions } from "./backoff.ts";
export { CredentialChain, type CredentialChainOptions, type ResolveOptions } from "./chain.ts";
export {
  CLOUD_HABITS,
  type CloudHabits,
  habitsOfHost,
  habitsOfPlugin,
  type PluginMend,
} from "./cloud_habits.ts";
export { CredentialHelpers, type CredentialHelpersOptions } from "./credential_helper.ts";
export { ASKED_BY_AGENT } from "./credential_helper.ts";
export {
  credentialsOf,
  type DockerConfig,
  dockerServer,
  findAuth,
  knowsRegistry,
  parseDockerConfig,
} from "./docker_config.ts";
export { DockerProvider, type DockerProviderOptions } from "./docker_provider.ts";
export { EndpointChain } from "./endpoint_chain.ts";
export {
  KubeletProvider,
  type KubeletProviderOptions,
  type ReloadOutcome,
} from "./kubelet_provider.ts";
export { type Kube, type KubeOptions, openKube } from "./kube.ts";
export { type PluginReading, readPluginResponse } from "./plugin_response.ts";
export type { PodAccounts } from "./pod_accounts.ts";
export {
  findProviderConfig,
  openProviderConfig,
  type PluginDefinition,
  type ProviderConfigReading,
} from "./provider_config_file.ts";
export type { ElectionReason, Verify } from "./registry/election.ts";
export {
  type Contender,
  type Election,
  type ElectionRequest,
  Elector,
  type ElectorOptions,
} from "./registry/elector.ts";
export { type PutCredential, PutCredentials, type PutTarget } from "./put_credentials.ts";
export { RegistryProbe, type RegistryProbeOptions } from "./registry/probe.ts";
export { defaultProbeTarget } from "./registry/target.ts";
export {
  criProvider,
  type CriPulls,
  disabledProvider,
  labelsCredential,
  labelsProvider,
  pulledProvider,
} from "./simple_providers.ts";
