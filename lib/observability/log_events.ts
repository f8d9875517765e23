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
  "provider-failed": { level: "warning", meaning: "a provider could not answer" },
  "provider-recovered": { level: "info", meaning: "a provider that had failed answers again" },
  "plugin-executed": { level: "debug", meaning: "a plugin or helper ran and answered" },
  "plugin-failed": { level: "warning", meaning: "a plugin or helper failed or ran too long" },
  "plugin-recovered": { level: "info", meaning: "a plugin or helper that had failed answers" },
  "credential-renewed": { level: "info", meaning: "an image has a new credential" },
  "credential-unchanged": {
    level: "debug",
    meaning: "an image's source was asked, and gave the credential that we have",
  },
  "renewal-failed": {
    level: "warning",
    meaning: "a renewal failed; the credential that we have goes on to be used",
  },
  "credential-expired": {
    level: "error",
    meaning: "a renewal failed and the credential in use is dead: reads of its mounts fail",
  },
  "renewal-recovered": { level: "info", meaning: "a renewal that had failed succeeded" },
  "registry-probed": {
    level: "info",
    meaning: "a registry was asked what it thinks of a credential",
  },
  "candidate-selected": {
    level: "info",
    meaning: "of several credentials one was chosen that does not come first",
  },
  "credential-evicted": {
    level: "info",
    meaning: "an image backs no mount any more, and its credential was dropped",
  },
  "credential-adopted": {
    level: "warning",
    meaning: "no provider has a credential: one of nydusd or a pull is used, not renewed",
  },
  "credential-delivered": { level: "info", meaning: "a mount was given its credential" },
  "delivery-unchanged": { level: "debug", meaning: "a mount holds what it should" },
  "delivery-failed": { level: "warning", meaning: "a mount could not be given its credential" },
  "unapproved-host": {
    level: "warning",
    meaning: "a nydusd shows its credential to a host that nobody named",
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
  "delivery-state-changed": { level: "info", meaning: "a mount's delivery moved on" },
  "mount-without-credential": {
    level: "warning",
    meaning: "a mount's delivery came to refused, unreachable, unsupported or withheld",
  },
  "daemon-state-changed": { level: "info", meaning: "a nydusd came, went, or changed its state" },
  "daemon-failing": { level: "warning", meaning: "a nydusd does not answer, or not as one" },
  "discovery-problem": { level: "warning", meaning: "a source of discovery does not answer" },
  "discovery-recovered": { level: "info", meaning: "a source of discovery answers again" },
  "reconcile-finished": { level: "debug", meaning: "a round of looking and comparing ended" },
  "source-changed": { level: "info", meaning: "a watched file or socket changed" },
  "config-loaded": { level: "info", meaning: "a configuration is in force" },
  "config-refused": {
    level: "error",
    meaning: "a new configuration cannot be used, the old one stays in force",
  },
  "health-ok": { level: "info", meaning: "the node as a whole is well, in one sentence" },
  "health-warning": {
    level: "warning",
    meaning: "something on the node wants a look; every read works as yet",
  },
  "health-critical": {
    level: "error",
    meaning: "reads fail on the node or are about to, or the agent's loop is stuck",
  },
  "warning": { level: "warning", meaning: "anything else worth knowing; `code` says what" },
} as const satisfies Readonly<Record<string, LogEventDefinition>>;

/** The name of a line. */
export type LogEventName = keyof typeof LOG_EVENTS;
