/**
 * Docker configuration files and credential helpers.
 *
 * @module
 */
export { CredentialHelpers } from "./credential_helper.ts";
export {
  credentialsOf,
  type DockerConfig,
  dockerServer,
  findAuth,
  parseDockerConfig,
  readDockerAuth,
} from "./docker_config.ts";
export { DockerProvider } from "./docker_provider.ts";
export {
  type KeyringMatch,
  type PullSecret,
  type SecretEntry,
  SecretKeyring,
} from "./secret_keyring.ts";
