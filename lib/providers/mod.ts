/**
 * The provider chain, with the providers that have their credentials in memory: pull labels, pushed
 * credentials and CRI pulls. The other providers are in the packages below.
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
