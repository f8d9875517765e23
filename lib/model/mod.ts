/**
 * Shared types and pure functions: image references, patterns, durations, credentials, daemons and
 * mounts, provider outcomes, events, and the ports to the outside. Every package imports this one;
 * it imports no other package.
 *
 * @module
 */
export { AnswerDeadline } from "./answer_deadline.ts";
export { Backoff, ScopedBackoff, waitingCeilingMs } from "./backoff.ts";
export { alignColumns } from "./columns.ts";
export { abortable, Semaphore } from "./concurrency.ts";
export * from "./credential.ts";
export { Deadline, sleepToNextTick } from "./deadline.ts";
export { defined, setNewest } from "./defined.ts";
export * from "./duration.ts";
export {
  type CredentialHost,
  credentialHosts,
  type CredentialSubject,
  type Endpoint,
  endpointOf,
  readsOwnRegistry,
  subjectKey,
  subjectOf,
  unapprovedHosts,
} from "./endpoint.ts";
export {
  AgentError,
  ConfigError,
  type ConfigProblem,
  EXIT,
  formatProblem,
  joinNames,
  messageOf,
  printable,
  safeMessageOf,
} from "./errors.ts";
export * from "./events.ts";
export { isAllowedHost, isMetadataAddress } from "./hosts.ts";
export {
  type ImageReference,
  isDockerHub,
  parseImageReference,
  repositoryReference,
} from "./image_reference.ts";
export * from "./instance.ts";
export * from "./kube.ts";
export * from "./match_images.ts";
export * from "./ports.ts";
export * from "./provider.ts";
export { Refusals } from "./refusals.ts";
export * from "./registry.ts";
export * from "./registry_backend.ts";
export {
  profileOfHost,
  profileOfPlugin,
  readRefusal,
  REGISTRY_PROFILES,
  type RegistryProfile,
} from "./registry_profiles.ts";
export * from "./secret.ts";
export * from "./status.ts";
export { tokenExpiryOf } from "./token_expiry.ts";
