/**
 * The provider chain, with the providers that have their credentials in memory: pull labels, pushed
 * credentials and CRI pulls. The other providers are in the packages below.
 *
 * @module
 */
export { CredentialChain } from "./chain.ts";
export { type PushedCredential, PushedCredentials, type PushTarget } from "./pushed_credentials.ts";
export {
  confirmedPullProvider,
  criProvider,
  type CriPulls,
  disabledProvider,
  labelsCredential,
  labelsProvider,
} from "./simple_providers.ts";
