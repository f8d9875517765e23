import {
  type AgentEvent,
  type DeliveryState,
  formatDuration,
  formatProblem,
  PROVIDER_NAMES,
  REASON_CODES,
} from "../model/mod.ts";
import { imageLabel } from "./problems.ts";

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

/** A log line for an event, and how it relates to earlier ones. */
export interface LogLine {
  readonly event: LogEventName;
  readonly message: string;
  readonly fields: Readonly<Record<string, unknown>>;
  /** Set for a problem that may repeat: repetitions are counted by subject and mostly not logged. */
  readonly problem?: {
    readonly subject: string;
    readonly signature: string;
    /** Whether it continues the current problem of the subject regardless of its signature. */
    readonly continues?: boolean;
  };
  /**
   * Ends the problem of a subject, which is logged as `event` if there was one. A line with the same
   * event is not logged otherwise.
   */
  readonly recovery?: { readonly subject: string; readonly event: LogEventName };
  /** Subjects whose problems end without a log line. A final slash ends all with that prefix. */
  readonly ends?: readonly string[];
}

type EventOf<K extends AgentEvent["kind"]> = Extract<AgentEvent, { kind: K }>;

/** A log line; the kind and the fields of the event are the defaults of its name and fields. */
type Line<Kind> =
  & Omit<LogLine, "event" | "fields">
  & Partial<Pick<LogLine, "fields">>
  & (Kind extends LogEventName ? { readonly name?: LogEventName }
    : { readonly name: LogEventName });

/** Returns the log lines of an event. The log decides which of them are written. */
export function logLinesOf(event: AgentEvent): readonly LogLine[] {
  const linesOf = LINES[event.kind] as (event: AgentEvent) => Line<string> | Line<string>[];
  return [linesOf(event)].flat().map(({ name, fields = event, ...line }) => ({
    event: name ?? event.kind as LogEventName,
    ...line,
    fields: logFields(fields),
  }));
}

/** The log lines of every kind of event. */
const LINES: {
  readonly [K in AgentEvent["kind"]]: (event: EventOf<K>) => Line<K> | readonly Line<K>[];
} = {
  "provider-queried": ({ outcome, notes: _, ...fields }) => {
    const { provider, image, reason, detail } = fields;
    const subject = `provider ${provider} ${image}`;
    const why = `${REASON_CODES[reason]}${suffix(detail)}`;
    if (outcome !== "failed") {
      const message = `${image}: provider ${provider}: ${why}`;
      const recovery = { subject, event: "provider-recovered" } as const;
      return { name: `provider-${outcome}`, message, fields, recovery };
    }
    const message = `failed to get a credential for ${image} from provider ${provider}: ${why}; ` +
      "trying the next provider";
    const continues = reason === "plugin-backing-off";
    const problem = { subject, signature: `${reason} ${detail ?? ""}`, continues };
    return { name: "provider-failed", message, fields, problem };
  },

  "plugin-executed": ({ provider, plugin, result, detail }) => {
    const program = `${provider === "docker" ? "credential helper" : "plugin"} ${plugin}`;
    const subject = `plugin ${provider} ${plugin}`;
    const outcome = `${result}${suffix(detail)}`;
    if (result === "success" || result === "none") {
      const recovery = { subject, event: "plugin-recovered" } as const;
      return { message: `executed ${program}: ${outcome}`, recovery };
    }
    const message = `failed to execute ${program}: ${outcome}; retrying after a backoff`;
    return { name: "plugin-failed", message, problem: { subject, signature: outcome } };
  },

  "credential-renewed": ({ changed, ...fields }) => {
    const { provider, dueAtMs } = fields;
    const image = imageLabel(fields);
    const what = changed
      ? `renewed the credential of ${image} from provider ${provider}`
      : `the credential of ${image} from provider ${provider} is unchanged`;
    const message = `${what}; next renewal ${atTime(dueAtMs) ?? "when the source changes"}`;
    const recovery = { subject: `renewal ${image}`, event: "renewal-recovered" } as const;
    const name = changed ? "credential-renewed" : "credential-unchanged";
    return { name, message, fields, recovery, ends: [`adopted ${image}`] };
  },

  "renewal-failed": ({ expired, ...fields }) => {
    const { reason, detail, nextAttemptAtMs } = fields;
    const image = imageLabel(fields);
    const state = expired ? "; the credential has expired and reads of its mounts fail" : "";
    const next = atTime(nextAttemptAtMs);
    const retry = next === undefined ? "" : `; retrying ${next}`;
    const message = `failed to renew the credential of ${image}: ${detail}${state}${retry}`;
    const signature = `${reason} ${expired} ${detail}`;
    // Expiry is worth another line, the backoff of a plugin is not.
    const continues = reason === "plugin-backing-off" && !expired;
    const problem = { subject: `renewal ${image}`, signature, continues };
    return { name: expired ? "credential-expired" : "renewal-failed", message, fields, problem };
  },

  "registry-probed": ({ host, origin, image, verdict, detail }) => ({
    message: `verified ${origin} for ${image} against ${host}: ${verdict}, ${detail}`,
  }),

  "candidate-selected": ({ image, provider, origin, detail }) => ({
    message: `selected the credential of ${provider} (${origin}) for ${image}: ${detail}`,
  }),

  /** Ends the problems of the image: if it is mounted again, they are logged again immediately. */
  "credential-evicted": (event) => {
    const image = imageLabel(event);
    const providers = PROVIDER_NAMES.map((provider) =>
      `provider ${provider} ${event.endpoint ?? event.image}`
    );
    const message = `${image} is no longer mounted; removed its credential`;
    return { message, ends: [`renewal ${image}`, `adopted ${image}`, ...providers] };
  },

  "credential-adopted": (event) => {
    const image = imageLabel(event);
    const message =
      `no provider has a credential for ${image}; using the one from ${event.origin} until a ` +
      "provider returns one; it is not renewed";
    return { message, problem: { subject: `adopted ${image}`, signature: event.fingerprint } };
  },

  "unapproved-host": ({ daemonId, snapshotId, image, hosts, action }) => {
    const mount = `${daemonId}/${snapshotId}`;
    const message = `mount ${mount} (${image}) is configured to send its credential to ` +
      `unapproved hosts: ${hosts.join(", ")} (${action}); add them to delivery.allowed_hosts, or ` +
      "fix the configuration of that nydusd";
    const signature = `${action} ${hosts.join(" ")}`;
    return { message, problem: { subject: `hosts ${mount}`, signature } };
  },

  "delivery-attempted": (event) => [...deliveryLines(event), ...configFileLines(event)],

  "delivery-state-changed": ({ daemonId, snapshotId, image, from, to, detail }) => {
    const mount = `${daemonId}/${snapshotId}`;
    const message = `mount ${mount} (${image}): delivery state changed from ${from} to ${to}` +
      suffix(detail);
    const subject = `state ${mount}`;
    const nextStep = NEXT_STEP[to];
    if (nextStep !== undefined) {
      const problem = { subject, signature: to };
      return { name: "mount-without-credential", message: `${message}; ${nextStep}`, problem };
    }
    // `pending` does not end a problem: the result is not known yet.
    return { message, ends: to === "pending" ? [] : [subject] };
  },

  /** Ends the problems of the mounts when their daemon is gone. */
  "daemon-state-changed": ({ daemonId, to, detail }) => {
    const failing = to === "unresponsive" || to === "broken";
    const next = failing ? "; retrying on every reconcile" : "";
    const subjects = ["delivery", "file", "state", "hosts"].map((what) => `${what} ${daemonId}/`);
    const message = `nydusd ${daemonId} is ${to}${suffix(detail)}${next}`;
    const name = failing ? "daemon-failing" : "daemon-state-changed";
    return { name, message, ends: to === "gone" ? subjects : [] };
  },

  "discovery-problem": ({ source, subject, detail }) => ({
    message: `failed to discover daemons from ${source} ${subject}: ${detail}; ` +
      "retrying on the next reconcile",
    problem: { subject: `discovery ${source} ${subject}`, signature: detail },
  }),

  "discovery-recovered": ({ kind, source, subject }) => ({
    message: `discovery from ${source} ${subject} succeeded`,
    recovery: { subject: `discovery ${source} ${subject}`, event: kind },
  }),

  /** Logged when its numbers change: most reconciles find what the previous one found. */
  "reconcile-finished": ({ images, instances, daemons }) => {
    // As letters, because a different number does not make a different signature.
    const signature = `${daemons} ${instances} ${images}`
      .replace(/\d/g, (digit) => "abcdefghij".charAt(Number(digit)));
    const message = `reconciled (daemons: ${daemons}, mounts: ${instances}, images: ${images})`;
    return { message, problem: { subject: "reconcile", signature } };
  },

  "source-changed": ({ source, path }) => ({ message: `${source} changed: ${path}` }),

  "agent-started": () => ({ message: "started nydus-auth-agent" }),

  "agent-stopped": ({ uptimeMs, reason }) => ({
    message: `stopped after ${formatDuration(uptimeMs)}: ${reason}`,
  }),

  "agent-failed": ({ detail }) => ({ message: detail, fields: {} }),

  "config-loaded": () => ({ message: "loaded the configuration" }),

  "config-refused": (event) => {
    const problems = event.problems.map(formatProblem);
    const message = "failed to reload the configuration; the previous configuration stays in " +
      `effect: ${problems.join("; ")}`;
    return { message, fields: { problems } };
  },

  "health-changed": ({ level, about, summary }) => ({
    name: `health-${level}`,
    message: summary,
    fields: { about },
  }),

  "warning": ({ code, text }) => ({
    message: text,
    fields: { code },
    problem: { subject: `warning ${code} ${text}`, signature: "" },
  }),
};

type DeliveryAttempted = EventOf<"delivery-attempted">;

function deliveryLines({ outcome, ...event }: DeliveryAttempted): Line<"delivery-attempted">[] {
  const { daemonId, snapshotId, image } = event;
  const { kind, file } = outcome;
  const mount = `mount ${daemonId}/${snapshotId} (${image})`;
  const detail = "detail" in outcome ? outcome.detail : undefined;
  const fields = { ...event, result: kind, file: file.kind, detail };
  const subject = `delivery ${daemonId}/${snapshotId}`;
  const recovery = { subject, event: "delivery-recovered" } as const;
  switch (kind) {
    case "rejected":
    case "unreachable":
    case "unsupported": {
      const next = kind === "unsupported" ? "waiting for a credential in another form" : "retrying";
      const message = `failed to deliver the credential to ${mount}: ` +
        `${kind}${suffix(detail)}; ${next}`;
      const problem = { subject, signature: `${kind} ${detail ?? ""}` };
      return [{ name: "delivery-failed", message, fields, problem }];
    }
    case "file-only": {
      if (file.kind === "failed") return []; // logged as a failure of the file
      const name = file.kind === "written" ? "credential-delivered" : "delivery-unchanged";
      const message = `the credential of ${mount} is only in its configuration file` +
        suffix(detail);
      return [{ name, message, fields, recovery }];
    }
    case "delivered": {
      const message = `delivered the credential to ${mount}`;
      return [{ name: "credential-delivered", message, fields, recovery }];
    }
    case "unchanged": {
      const message = `${mount} already has the current credential`;
      return [{ name: "delivery-unchanged", message, fields, recovery }];
    }
    default:
      return kind satisfies never;
  }
}

/** The configuration file of the daemon fails and recovers independently of the delivery. */
function configFileLines(
  { daemonId, snapshotId, image, outcome: { file } }: DeliveryAttempted,
): Line<"delivery-attempted">[] {
  const mount = `${daemonId}/${snapshotId}`;
  const subject = `file ${mount}`;
  const fields = { daemonId, snapshotId, image };
  if (file.kind === "skipped") return []; // not attempted
  if (file.kind !== "failed") {
    const name = "config-file-recovered";
    const message = `configuration file of mount ${mount}: ${file.kind}`;
    return [{ name, message, fields, recovery: { subject, event: name } }];
  }
  const { detail } = file;
  const message = `failed to write the configuration file of mount ${mount} (${image}): ` +
    `${detail}; retrying`;
  const problem = { subject, signature: detail };
  return [{ name: "config-file-failed", message, fields: { ...fields, detail }, problem }];
}

/** What happens next, or what to do, for a mount without its credential. */
const NEXT_STEP: Partial<Record<DeliveryState, string>> = {
  refused: "retrying with a backoff of at most 10s",
  unreachable: "retrying on every reconcile",
  unsupported: "configure a user name and a password for its registry",
  withheld: "add its hosts to delivery.allowed_hosts",
};

/** Returns fields for a log line; `kind` and fields without a value are left out. */
function logFields(fields: Readonly<Record<string, unknown>>): LogLine["fields"] {
  return Object.fromEntries(
    Object.entries(fields).filter(([name]) => name !== "kind").map(logField)
      .filter(([, value]) => value !== undefined && value !== ""),
  );
}

/** Returns a field in snake case, with times in RFC 3339 and whole milliseconds. */
function logField([name, value]: readonly [string, unknown]): readonly [string, unknown] {
  const key = name.replace(/[A-Z]/g, (letter) => `_${letter.toLowerCase()}`);
  if (typeof value !== "number") return [key, value];
  return name.endsWith("AtMs")
    ? [key.replace(/_ms$/, ""), isoTime(value)]
    : [key, Math.round(value)];
}

/** Returns a detail after a colon, or nothing if there is none. */
function suffix(detail: string | undefined): string {
  return detail ? `: ${detail}` : "";
}

/** Returns an RFC 3339 time, or undefined for a time that is not known. */
function isoTime(ms: number | undefined): string | undefined {
  const date = new Date(ms ?? NaN);
  return Number.isNaN(date.getTime()) ? undefined : date.toISOString();
}

/** Returns for example `at 2026-01-01T12:00:00Z`, or undefined for a time that is not known. */
function atTime(ms: number | undefined): string | undefined {
  const iso = isoTime(ms);
  return iso && `at ${iso.replace(/\.\d+Z$/, "Z")}`;
}
