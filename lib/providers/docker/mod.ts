/**
 * Docker configuration files and credential helpers.
 *
 * @module
 */
export {
  CALLED_BY_AGENT,
  CredentialHelpers,
  type CredentialHelpersOptions,
} from "./credential_helper.ts";
export {
  credentialsOf,
  type DockerConfig,
  dockerServer,
  findAuth,
  knowsRegistry,
  parseDockerConfig,
  readDockerAuth,
} from "./docker_config.ts";
export { DockerProvider, type DockerProviderOptions } from "./docker_provider.ts";
export {
  type KeyringMatch,
  type PullSecret,
  type SecretEntry,
  SecretKeyring,
} from "./secret_keyring.ts";
