/**
 * The words: image references, patterns, durations, credentials, instances, answers and ports.
 * Every room speaks them, so they import nothing and decide nothing about how the agent works.
 *
 * @module
 */
export { abortable } from "./abortable.ts";
export { AnswerDeadline, type AnswerDeadlineOptions } from "./answer_deadline.ts";
export { Backoff, type BackoffOptions } from "./backoff.ts";
export * from "./credential.ts";
export * from "./cri_proxy_status.ts";
export { Deadline } from "./deadline.ts";
export * from "./duration.ts";
export * from "./endpoint.ts";
export * from "./errors.ts";
export * from "./event_loop_yielder.ts";
export * from "./events.ts";
export * from "./exit_codes.ts";
export { few } from "./few.ts";
export { isNewEnough, isRefused, SHARED_EXECUTION_MS } from "./freshness.ts";
export { isAllowedHost } from "./host_check.ts";
export * from "./image_reference.ts";
export * from "./install_files.ts";
export * from "./instance.ts";
export * from "./kube.ts";
export * from "./match_images.ts";
export { isMetadataAddress } from "./metadata_address.ts";
export * from "./ports.ts";
export * from "./provider.ts";
export { Refusals, type RefusedUse } from "./refusals.ts";
export * from "./registry.ts";
export * from "./registry_backend.ts";
export {
  type PluginRemedy,
  profileOfHost,
  profileOfPlugin,
  readRefusal,
  REGISTRY_PROFILES,
  type RegistryProfile,
} from "./registry_profiles.ts";
export * from "./retry_ceiling.ts";
export { ScopedBackoff } from "./scoped_backoff.ts";
export * from "./secret.ts";
export * from "./semaphore.ts";
export type {
  AccountAnswer,
  AccountProblem,
  PodAccounts,
  PodIdentity,
  PodsAnswer,
  TokenAnswer,
} from "./service_accounts.ts";
export * from "./status.ts";
export { targetOf } from "./target_of.ts";
export * from "./token_expiry.ts";
