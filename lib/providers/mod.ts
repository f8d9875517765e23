/**
 * The provider chain: labels, pushed credentials and CRI pulls here, docker, exec plugins and Kubernetes in
 * packages below.
 *
 * @module
 */
export { CredentialChain, type CredentialChainOptions, type ResolveOptions } from "./chain.ts";
export { EndpointChain } from "./endpoint_chain.ts";
export { type PushedCredential, PushedCredentials, type PushTarget } from "./pushed_credentials.ts";
export {
  confirmedPullProvider,
  criProvider,
  type CriPulls,
  disabledProvider,
  labelsCredential,
  labelsProvider,
} from "./simple_providers.ts";
