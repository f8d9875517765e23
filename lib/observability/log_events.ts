/** A level of a log line, as in `log.level`, from the least to the most severe. */
export type LogLevel = "debug" | "info" | "warning" | "error";

/** An event that can be logged. Its name and level are a contract with log queries and alerts. */
export interface LogEventDefinition {
  readonly level: LogLevel;
  readonly meaning: string;
}

/** Every event that the agent logs. A test compares this table with `docs/logs.md`. */
export const LOG_EVENTS = {
  "provider-found": { level: "debug", meaning: "a provider returned a credential for an image" },
  "provider-none": { level: "debug", meaning: "a provider has no credential for an image" },
  "provider-failed": { level: "warning", meaning: "a request to a provider failed" },
  "provider-recovered": { level: "info", meaning: "a provider succeeded after failures" },
  "plugin-executed": {
    level: "debug",
    meaning: "a plugin or credential helper was executed and responded",
  },
  "plugin-failed": {
    level: "warning",
    meaning: "a plugin or credential helper failed or timed out",
  },
  "plugin-recovered": {
    level: "info",
    meaning: "a plugin or credential helper succeeded after failures",
  },
  "credential-renewed": { level: "info", meaning: "an image has a new credential" },
  "credential-unchanged": {
    level: "debug",
    meaning: "a renewal returned the credential that is already in use",
  },
  "renewal-failed": {
    level: "warning",
    meaning: "a renewal failed; the current credential stays in use",
  },
  "credential-expired": {
    level: "error",
    meaning: "a renewal failed and the current credential has expired: reads fail",
  },
  "renewal-recovered": { level: "info", meaning: "a renewal succeeded after failures" },
  "registry-probed": { level: "info", meaning: "a credential was verified against a registry" },
  "candidate-selected": {
    level: "info",
    meaning: "a credential other than the first candidate was selected",
  },
  "credential-evicted": {
    level: "info",
    meaning: "an image is no longer mounted and its credential was removed",
  },
  "credential-adopted": {
    level: "warning",
    meaning: "no provider has a credential; one from nydusd or a pull is used but not renewed",
  },
  "credential-delivered": { level: "info", meaning: "a credential was delivered to a mount" },
  "delivery-unchanged": { level: "debug", meaning: "a mount already has the current credential" },
  "delivery-failed": {
    level: "warning",
    meaning: "the delivery of a credential to a mount failed",
  },
  "unapproved-host": {
    level: "warning",
    meaning: "a nydusd is configured to send its credential to an unapproved host",
  },
  "delivery-recovered": { level: "info", meaning: "a delivery succeeded after failures" },
  "config-file-failed": {
    level: "warning",
    meaning: "writing the configuration file of a daemon failed",
  },
  "config-file-recovered": {
    level: "info",
    meaning: "writing the configuration file of a daemon succeeded after failures",
  },
  "delivery-state-changed": { level: "info", meaning: "the delivery state of a mount changed" },
  "mount-without-credential": {
    level: "warning",
    meaning: "the delivery state of a mount became refused, unreachable, unsupported or withheld",
  },
  "daemon-state-changed": {
    level: "info",
    meaning: "a nydusd appeared, disappeared or changed its state",
  },
  "daemon-failing": {
    level: "warning",
    meaning: "a nydusd does not respond or returns invalid responses",
  },
  "discovery-problem": { level: "warning", meaning: "a discovery source failed" },
  "discovery-recovered": {
    level: "info",
    meaning: "a discovery source succeeded after failures",
  },
  "reconcile-finished": { level: "debug", meaning: "a reconcile completed" },
  "source-changed": { level: "info", meaning: "a watched file or socket changed" },
  "agent-started": { level: "info", meaning: "the agent has started" },
  "agent-stopped": { level: "info", meaning: "the agent has stopped" },
  "agent-failed": { level: "error", meaning: "the agent ends because of an error" },
  "config-loaded": { level: "info", meaning: "a configuration was loaded" },
  "config-refused": {
    level: "error",
    meaning: "reloading the configuration failed; the previous configuration stays in effect",
  },
  "health-ok": { level: "info", meaning: "status summary of the node: everything works" },
  "health-warning": {
    level: "warning",
    meaning: "status summary of the node: action is needed, but reads still succeed",
  },
  "health-critical": {
    level: "error",
    meaning: "status summary of the node: reads fail or will fail shortly, or reconciling is stuck",
  },
  "warning": { level: "warning", meaning: "any other warning; text lines have its `code` here" },
} as const satisfies Readonly<Record<string, LogEventDefinition>>;

/** The name of a logged event. */
export type LogEventName = keyof typeof LOG_EVENTS;
