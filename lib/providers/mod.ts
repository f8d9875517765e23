/**
 * The provider chain: labels, pushed credentials and CRI pulls here, docker, exec plugins and Kubernetes in
 * packages below.
 *
 * @module
 */
export { CredentialChain, type CredentialChainOptions, type ResolveOptions } from "./chain.ts";
export { EndpointChain } from "./endpoint_chain.ts";
export { type PutCredential, PutCredentials, type PutTarget } from "./pushed_credentials.ts";
export {
  criProvider,
  type CriPulls,
  disabledProvider,
  labelsCredential,
  labelsProvider,
  pulledProvider,
} from "./simple_providers.ts";
