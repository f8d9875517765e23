/** A level of a log line, as in `log.level`, from the least to the most severe. */
export type LogLevel = "debug" | "info" | "warning" | "error";

/** An event that can be logged. Its name and level are a contract with log queries and alerts. */
export interface LogEventDefinition {
  readonly level: LogLevel;
  readonly meaning: string;
}

function define(level: LogLevel) {
  return (meaning: string): LogEventDefinition => ({ level, meaning });
}

const debug = define("debug");
const info = define("info");
const warning = define("warning");
const error = define("error");

/** Every event that the agent logs. A test compares this table with `docs/logs.md`. */
export const LOG_EVENTS = {
  "provider-found": debug("a provider returned a credential for an image"),
  "provider-none": debug("a provider has no credential for an image"),
  "provider-failed": warning("a request to a provider failed"),
  "provider-recovered": info("a provider succeeded after failures"),
  "plugin-executed": debug("a plugin or credential helper was executed and responded"),
  "plugin-failed": warning("a plugin or credential helper failed or timed out"),
  "plugin-recovered": info("a plugin or credential helper succeeded after failures"),
  "credential-renewed": info("an image has a new credential"),
  "credential-unchanged": debug("a renewal returned the credential that is already in use"),
  "renewal-failed": warning("a renewal failed; the current credential stays in use"),
  "credential-expired": error(
    "a renewal failed and the current credential has expired: reads fail",
  ),
  "renewal-recovered": info("a renewal succeeded after failures"),
  "registry-probed": info("a credential was verified against a registry"),
  "candidate-selected": info("a credential other than the first candidate was selected"),
  "credential-evicted": info("an image is no longer mounted and its credential was removed"),
  "credential-adopted": warning(
    "no provider has a credential; one from nydusd or a pull is used but not renewed",
  ),
  "credential-delivered": info("a credential was delivered to a mount"),
  "delivery-unchanged": debug("a mount already has the current credential"),
  "delivery-failed": warning("the delivery of a credential to a mount failed"),
  "unapproved-host": warning("a nydusd is configured to send its credential to an unapproved host"),
  "delivery-recovered": info("a delivery succeeded after failures"),
  "config-file-failed": warning("writing the configuration file of a daemon failed"),
  "config-file-recovered": info(
    "writing the configuration file of a daemon succeeded after failures",
  ),
  "delivery-state-changed": info("the delivery state of a mount changed"),
  "mount-without-credential": warning(
    "the delivery state of a mount became refused, unreachable, unsupported or withheld",
  ),
  "daemon-state-changed": info("a nydusd appeared, disappeared or changed its state"),
  "daemon-failing": warning("a nydusd does not respond or returns invalid responses"),
  "discovery-problem": warning("a discovery source failed"),
  "discovery-recovered": info("a discovery source succeeded after failures"),
  "reconcile-finished": debug("a reconcile completed"),
  "source-changed": info("a watched file or socket changed"),
  "agent-started": info("the agent has started"),
  "agent-stopped": info("the agent has stopped"),
  "agent-failed": error("the agent ends because of an error"),
  "config-loaded": info("a configuration was loaded"),
  "config-refused": error(
    "reloading the configuration failed; the previous configuration stays in effect",
  ),
  "health-ok": info("status summary of the node: everything works"),
  "health-warning": warning(
    "status summary of the node: action is needed, but reads still succeed",
  ),
  "health-critical": error(
    "status summary of the node: reads fail or will fail shortly, or reconciling is stuck",
  ),
  "warning": warning("any other warning; text lines have its `code` here"),
} as const satisfies Readonly<Record<string, LogEventDefinition>>;

/** The name of a logged event. */
export type LogEventName = keyof typeof LOG_EVENTS;
