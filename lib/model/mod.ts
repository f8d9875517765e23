/**
 * The words: image references, patterns, durations, credentials, instances, answers and ports.
 * Every room speaks them, so they import nothing and decide nothing about how the agent works.
 *
 * @module
 */
export * from "./credential.ts";
export { Deadline } from "./deadline.ts";
export * from "./duration.ts";
export * from "./endpoint.ts";
export * from "./errors.ts";
export * from "./events.ts";
export * from "./gate.ts";
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
export * from "./registry_backend.ts";
export * from "./registry.ts";
export * from "./secret.ts";
export * from "./soon.ts";
export * from "./status.ts";
export * from "./tap.ts";
export * from "./token_expiry.ts";
export * from "./turns.ts";
export * from "./waiting.ts";
