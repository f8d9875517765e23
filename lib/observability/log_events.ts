/** How important a line is, as `log.level` names it, least first. */
export type LogThreshold = "debug" | "info" | "warning" | "error";

/** One kind of line: its name and level are a contract with whoever searches for them. */
export interface LogEventDefinition {
  readonly level: LogThreshold;
  readonly meaning: string;
}

/** Every line that the agent can log. `docs/logs.md` is this table for people. */
export const LOG_EVENTS = {
  "provider-found": { level: "debug", meaning: "a provider has a credential for an image" },
  "provider-none": { level: "debug", meaning: "a provider has no credential for an image" },
  "provider-failed": { level: "warning", meaning: "a provider failed" },
  "provider-recovered": { level: "info", meaning: "a provider that had failed answers again" },
  "plugin-executed": { level: "debug", meaning: "a plugin or helper ran and answered" },
  "plugin-failed": { level: "warning", meaning: "a plugin or helper failed or timed out" },
  "plugin-recovered": {
    level: "info",
    meaning: "a plugin or helper that had failed answers again",
  },
  "credential-renewed": { level: "info", meaning: "an image has a new credential" },
  "credential-unchanged": {
    level: "debug",
    meaning: "a renewal returned the current credential",
  },
  "renewal-failed": {
    level: "warning",
    meaning: "a renewal failed; the current credential stays in use",
  },
  "credential-expired": {
    level: "error",
    meaning: "a renewal failed and the current credential has expired: reads fail",
  },
  "renewal-recovered": { level: "info", meaning: "a renewal that had failed succeeded" },
  "registry-probed": {
    level: "info",
    meaning: "a registry was probed about a credential",
  },
  "candidate-selected": {
    level: "info",
    meaning: "another candidate than the first was selected",
  },
  "credential-evicted": {
    level: "info",
    meaning: "the last mount of an image is gone, and its credential was dropped",
  },
  "credential-adopted": {
    level: "warning",
    meaning: "no provider has a credential: one of nydusd or a pull is used, not renewed",
  },
  "credential-delivered": { level: "info", meaning: "a mount got its credential" },
  "delivery-unchanged": { level: "debug", meaning: "a mount already has its credential" },
  "delivery-failed": { level: "warning", meaning: "a delivery failed" },
  "unapproved-host": {
    level: "warning",
    meaning: "a nydusd sends its credential to an unapproved host",
  },
  "delivery-recovered": { level: "info", meaning: "a delivery that had failed succeeded" },
  "config-file-failed": {
    level: "warning",
    meaning: "a daemon's configuration file could not be rewritten",
  },
  "config-file-recovered": {
    level: "info",
    meaning: "a daemon's configuration file could be rewritten again",
  },
  "delivery-state-changed": { level: "info", meaning: "the delivery state of a mount changed" },
  "mount-without-credential": {
    level: "warning",
    meaning: "a delivery became refused, unreachable, unsupported or withheld",
  },
  "daemon-state-changed": {
    level: "info",
    meaning: "a nydusd appeared, disappeared or changed its state",
  },
  "daemon-failing": { level: "warning", meaning: "a nydusd does not answer, or not correctly" },
  "discovery-problem": { level: "warning", meaning: "a source of discovery does not answer" },
  "discovery-recovered": { level: "info", meaning: "a source of discovery answers again" },
  "reconcile-finished": { level: "debug", meaning: "a reconcile ended" },
  "source-changed": { level: "info", meaning: "a watched file or socket changed" },
  "config-loaded": { level: "info", meaning: "a configuration took effect" },
  "config-refused": {
    level: "error",
    meaning: "a new configuration was rejected; the current one stays in effect",
  },
  "health-ok": { level: "info", meaning: "status summary: no problems" },
  "health-warning": {
    level: "warning",
    meaning: "status summary: action is needed; reads still work",
  },
  "health-critical": {
    level: "error",
    meaning: "status summary: reads fail or are about to, or the loop is stuck",
  },
  "warning": { level: "warning", meaning: "any other problem; `code` identifies it" },
} as const satisfies Readonly<Record<string, LogEventDefinition>>;

/** The name of a line. */
export type LogEventName = keyof typeof LOG_EVENTS;
