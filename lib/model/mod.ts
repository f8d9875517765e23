/**
 * Shared types and pure functions: image references, patterns, durations, credentials, daemons and
 * mounts, provider outcomes, events, and the ports to the outside. Every package imports this one;
 * it imports no other package.
 *
 * @module
 */
export * from "./backoff.ts";
export * from "./columns.ts";
export * from "./concurrency.ts";
export * from "./credential.ts";
export * from "./defined.ts";
export * from "./duration.ts";
export * from "./endpoint.ts";
export * from "./errors.ts";
export * from "./events.ts";
export * from "./image_pattern.ts";
export * from "./image_reference.ts";
export * from "./instance.ts";
export * from "./ports.ts";
export * from "./provider.ts";
export * from "./registry.ts";
export * from "./status.ts";
