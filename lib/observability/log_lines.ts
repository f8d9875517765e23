import {
  type AgentEvent,
  type ConfigProblem,
  defined,
  formatProblem,
  PROVIDER_NAMES,
  REASON_CODES,
} from "../model/mod.ts";
import { imageLabel } from "./findings.ts";
import type { LogEventName } from "./log_events.ts";

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
  /** Ends the problem of a subject, which is logged as `event` if there was one. */
  readonly recovery?: { readonly subject: string; readonly event: LogEventName };
  /** Subjects whose problems end without a log line. A final slash ends all with that prefix. */
  readonly ends?: readonly string[];
  /** Whether the line is only logged as a recovery. */
  readonly isRecoveryOnly?: true;
}

type EventOf<K extends AgentEvent["kind"]> = Extract<AgentEvent, { kind: K }>;

/** Returns the log lines of an event. The log decides which of them are written. */
export function logLinesOf(event: AgentEvent): readonly LogLine[] {
  switch (event.kind) {
    case "provider-queried":
      return [providerLine(event)];
    case "plugin-executed":
      return [pluginLine(event)];
    case "credential-renewed":
      return [renewedLine(event)];
    case "renewal-failed":
      return [renewalFailedLine(event)];
    case "registry-probed":
      return [probedLine(event)];
    case "candidate-selected":
      return [selectionLine(event)];
    case "credential-evicted":
      return [evictedLine(event)];
    case "credential-adopted":
      return [adoptedLine(event)];
    case "unapproved-host":
      return [unapprovedHostLine(event)];
    case "delivery-attempted":
      return [...deliveryLines(event), ...configFileLines(event)];
    case "delivery-state-changed":
      return [mountStateLine(event)];
    case "daemon-state-changed":
      return [daemonLine(event)];
    case "discovery-problem":
    case "discovery-recovered":
      return [discoveryLine(event)];
    case "reconcile-finished":
      return [reconcileLine(event)];
    case "source-changed": {
      const { kind: _, ...fields } = event;
      return [line("source-changed", `${event.source} changed: ${event.path}`, fields)];
    }
    case "config-loaded": {
      const { kind: _, ...fields } = event;
      return [line("config-loaded", "loaded the configuration", fields)];
    }
    case "config-refused":
      return [refusedConfigLine(event.problems)];
    case "health-changed": {
      const { level, about, summary } = event;
      return [line(`health-${level}`, summary, { about })];
    }
    case "warning": {
      const { code, text } = event;
      const problem = { subject: `warning ${code} ${text}`, signature: "" };
      return [{ ...line("warning", text, { code }), problem }];
    }
    default:
      return event satisfies never;
  }
}

function providerLine(event: EventOf<"provider-queried">): LogLine {
  const { provider, image, outcome, reason, detail, durationMs } = event;
  const fields = {
    provider,
    image,
    reason,
    ...(detail && { detail }),
    duration_ms: Math.round(durationMs),
  };
  const subject = `provider ${provider} ${image}`;
  const why = `${REASON_CODES[reason]}${suffix(detail)}`;
  if (outcome === "failed") {
    const message = `failed to get a credential for ${image} from provider ${provider}: ${why}; ` +
      "trying the next provider";
    const continues = reason === "plugin-backing-off";
    const problem = { subject, signature: `${reason} ${detail ?? ""}`, continues };
    return { ...line("provider-failed", message, fields), problem };
  }
  const recovery = { subject, event: "provider-recovered" } as const;
  return {
    ...line(`provider-${outcome}`, `${image}: provider ${provider}: ${why}`, fields),
    recovery,
  };
}

function pluginLine(event: EventOf<"plugin-executed">): LogLine {
  const { provider, plugin, result, detail, durationMs } = event;
  const fields = {
    provider,
    plugin,
    result,
    ...(detail && { detail }),
    duration_ms: Math.round(durationMs),
  };
  const name = `${provider === "docker" ? "credential helper" : "plugin"} ${plugin}`;
  const subject = `plugin ${provider} ${plugin}`;
  if (result === "failure" || result === "timeout") {
    const message = `failed to execute ${name}: ${result}${suffix(detail)}; ` +
      "retrying after a backoff";
    const problem = { subject, signature: `${result} ${detail ?? ""}` };
    return { ...line("plugin-failed", message, fields), problem };
  }
  const recovery = { subject, event: "plugin-recovered" } as const;
  const message = `executed ${name}: ${result}${suffix(detail)}`;
  return { ...line("plugin-executed", message, fields), recovery };
}

function renewedLine(event: EventOf<"credential-renewed">): LogLine {
  const { provider, changed, fingerprint, refreshAtMs, expiresAtMs, dueAtMs } = event;
  const image = imageLabel(event);
  const fields = {
    ...imageFields(event),
    provider,
    fingerprint,
    ...defined({
      refresh_at: isoTime(refreshAtMs),
      expires_at: isoTime(expiresAtMs),
      due_at: isoTime(dueAtMs),
    }),
  };
  const what = changed
    ? `renewed the credential of ${image} from provider ${provider}`
    : `the credential of ${image} from provider ${provider} is unchanged`;
  const message = `${what}; next renewal ${atTime(dueAtMs) ?? "when the source changes"}`;
  const recovery = { subject: `renewal ${image}`, event: "renewal-recovered" } as const;
  const name = changed ? "credential-renewed" : "credential-unchanged";
  return { ...line(name, message, fields), recovery, ends: [`adopted ${image}`] };
}

function renewalFailedLine(event: EventOf<"renewal-failed">): LogLine {
  const { provider, reason, detail, expired, nextAttemptAtMs } = event;
  const image = imageLabel(event);
  const fields = {
    ...imageFields(event),
    ...defined({ provider }),
    reason,
    detail,
    ...defined({ next_attempt_at: isoTime(nextAttemptAtMs) }),
  };
  const state = expired ? "; the credential has expired and reads of its mounts fail" : "";
  const next = atTime(nextAttemptAtMs);
  const retry = next === undefined ? "" : `; retrying ${next}`;
  const message = `failed to renew the credential of ${image}: ${detail}${state}${retry}`;
  const signature = `${reason} ${expired} ${detail}`;
  // Expiry is worth another line, the backoff of a plugin is not.
  const continues = reason === "plugin-backing-off" && !expired;
  const problem = { subject: `renewal ${image}`, signature, continues };
  return { ...line(expired ? "credential-expired" : "renewal-failed", message, fields), problem };
}

function probedLine(event: EventOf<"registry-probed">): LogLine {
  const { host, origin, image, verdict, detail, provider, fingerprint, durationMs } = event;
  const fields = { image, host, provider, origin, fingerprint, verdict, detail };
  const message = `verified ${origin} for ${image} against ${host}: ${verdict}, ${detail}`;
  return line("registry-probed", message, { ...fields, duration_ms: durationMs });
}

function selectionLine(event: EventOf<"candidate-selected">): LogLine {
  const { image, provider, origin, detail } = event;
  const { kind: _, ...fields } = event;
  const message = `selected the credential of ${provider} (${origin}) for ${image}: ${detail}`;
  return line("candidate-selected", message, snakeCase(fields));
}

function adoptedLine(event: EventOf<"credential-adopted">): LogLine {
  const { fingerprint, origin } = event;
  const name = imageLabel(event);
  const message =
    `no provider has a credential for ${name}; using the one from ${origin} until a ` +
    "provider returns one; it is not renewed";
  const problem = { subject: `adopted ${name}`, signature: fingerprint };
  const fields = { ...imageFields(event), fingerprint, origin };
  return { ...line("credential-adopted", message, fields), problem };
}

/** Ends the problems of the image: if it is mounted again, they are logged again immediately. */
function evictedLine(event: EventOf<"credential-evicted">): LogLine {
  const image = imageLabel(event);
  const providers = PROVIDER_NAMES.map((provider) =>
    `provider ${provider} ${event.endpoint ?? event.image}`
  );
  const message = `${image} is no longer mounted; removed its credential`;
  const ends = [`renewal ${image}`, `adopted ${image}`, ...providers];
  return { ...line("credential-evicted", message, imageFields(event)), ends };
}

type DeliveryAttempted = EventOf<"delivery-attempted">;

function deliveryLines(event: DeliveryAttempted): readonly LogLine[] {
  const { daemonId, snapshotId, image, outcome, durationMs } = event;
  const mount = `mount ${daemonId}/${snapshotId} (${image})`;
  const detail = "detail" in outcome ? outcome.detail : undefined;
  const fields = {
    daemon_id: daemonId,
    snapshot_id: snapshotId,
    image,
    result: outcome.kind,
    file: outcome.file.kind,
    ...defined({ detail }),
    duration_ms: Math.round(durationMs),
  };
  const subject = `delivery ${daemonId}/${snapshotId}`;
  const recovery = { subject, event: "delivery-recovered" } as const;
  switch (outcome.kind) {
    case "rejected":
    case "unreachable":
    case "unsupported": {
      const next = outcome.kind === "unsupported"
        ? "waiting for a credential in another form"
        : "retrying";
      const message = `failed to deliver the credential to ${mount}: ` +
        `${outcome.kind}${suffix(detail)}; ${next}`;
      const problem = { subject, signature: `${outcome.kind} ${detail ?? ""}` };
      return [{ ...line("delivery-failed", message, fields), problem }];
    }
    case "file-only": {
      if (outcome.file.kind === "failed") return []; // logged as a failure of the file
      const name = outcome.file.kind === "written" ? "credential-delivered" : "delivery-unchanged";
      const message = `the credential of ${mount} is only in its configuration file` +
        suffix(detail);
      return [{ ...line(name, message, fields), recovery }];
    }
    case "delivered": {
      const message = `delivered the credential to ${mount}`;
      return [{ ...line("credential-delivered", message, fields), recovery }];
    }
    case "unchanged": {
      const message = `${mount} already has the current credential`;
      return [{ ...line("delivery-unchanged", message, fields), recovery }];
    }
    default:
      return outcome satisfies never;
  }
}

/** The configuration file of the daemon fails and recovers independently of the delivery. */
function configFileLines(event: DeliveryAttempted): readonly LogLine[] {
  const { daemonId, snapshotId, image, outcome: { file } } = event;
  const mount = `${daemonId}/${snapshotId}`;
  const subject = `file ${mount}`;
  const fields = { daemon_id: daemonId, snapshot_id: snapshotId, image };
  if (file.kind === "failed") {
    const message = `failed to write the configuration file of mount ${mount} (${image}): ` +
      `${file.detail}; retrying`;
    const problem = { subject, signature: file.detail };
    const failed = line("config-file-failed", message, { ...fields, detail: file.detail });
    return [{ ...failed, problem }];
  }
  if (file.kind === "skipped") return []; // not attempted
  const recovery = { subject, event: "config-file-recovered" } as const;
  const message = `configuration file of mount ${mount}: ${file.kind}`;
  return [{ ...line("config-file-recovered", message, fields), recovery, isRecoveryOnly: true }];
}

/** What happens next, or what to do, for a mount without its credential. */
const NEXT_STEP = {
  refused: "retrying with a backoff of at most 10s",
  unreachable: "retrying on every reconcile",
  unsupported: "configure a user name and a password for its registry",
  withheld: "add its hosts to delivery.allowed_hosts",
} as const;

function mountStateLine(event: EventOf<"delivery-state-changed">): LogLine {
  const { kind: _, ...fields } = event;
  const { daemonId, snapshotId, image, from, to, detail } = event;
  const mount = `${daemonId}/${snapshotId}`;
  const message = `mount ${mount} (${image}): delivery state changed from ${from} to ${to}` +
    suffix(detail);
  const subject = `state ${mount}`;
  switch (to) {
    case "refused":
    case "unreachable":
    case "unsupported":
    case "withheld": {
      const problem = { subject, signature: to };
      const text = `${message}; ${NEXT_STEP[to]}`;
      return { ...line("mount-without-credential", text, snakeCase(fields)), problem };
    }
    case "pending": // does not end a problem: the result is not known yet
      return line("delivery-state-changed", message, snakeCase(fields));
    case "stored":
    case "in-use":
    case "proven":
    case "file-only":
    case "adopted":
    case "none":
      return { ...line("delivery-state-changed", message, snakeCase(fields)), ends: [subject] };
    default:
      return to satisfies never;
  }
}

function unapprovedHostLine(event: EventOf<"unapproved-host">): LogLine {
  const { daemonId, snapshotId, image, hosts, action } = event;
  const mount = `${daemonId}/${snapshotId}`;
  const fields = { daemon_id: daemonId, snapshot_id: snapshotId, image, hosts, action };
  const message = `mount ${mount} (${image}) is configured to send its credential to ` +
    `unapproved hosts: ${hosts.join(", ")} (${action}); add them to delivery.allowed_hosts, or ` +
    "fix the configuration of that nydusd";
  const problem = { subject: `hosts ${mount}`, signature: `${action} ${hosts.join(" ")}` };
  return { ...line("unapproved-host", message, fields), problem };
}

/** Ends the problems of the mounts when their daemon is gone. */
function daemonLine(event: EventOf<"daemon-state-changed">): LogLine {
  const { kind: _, ...fields } = event;
  const { daemonId, to, detail } = event;
  const failing = to === "unresponsive" || to === "broken";
  const name = failing ? "daemon-failing" : "daemon-state-changed";
  const next = failing ? "; retrying on every reconcile" : "";
  const message = `nydusd ${daemonId} is ${to}${suffix(detail)}${next}`;
  const subjects = ["delivery", "file", "state", "hosts"].map((what) => `${what} ${daemonId}/`);
  return { ...line(name, message, snakeCase(fields)), ends: to === "gone" ? subjects : [] };
}

function discoveryLine(
  event: EventOf<"discovery-problem"> | EventOf<"discovery-recovered">,
): LogLine {
  const { kind, source, subject } = event;
  const key = `discovery ${source} ${subject}`;
  if (kind === "discovery-recovered") {
    const message = `discovery from ${source} ${subject} succeeded`;
    const recovery = { subject: key, event: kind };
    return { ...line(kind, message, { source, subject }), recovery, isRecoveryOnly: true };
  }
  const { detail } = event;
  const message = `failed to discover daemons from ${source} ${subject}: ${detail}; ` +
    "retrying on the next reconcile";
  const problem = { subject: key, signature: detail };
  return { ...line(kind, message, { source, subject, detail }), problem };
}

/** Logged when its numbers change: most reconciles find what the previous one found. */
function reconcileLine(event: EventOf<"reconcile-finished">): LogLine {
  const { kind: _, durationMs, ...fields } = event;
  const { images, instances, daemons } = event;
  const message = `reconciled (daemons: ${daemons}, mounts: ${instances}, images: ${images})`;
  // As letters, because a different number does not make a different signature.
  const signature = `${daemons} ${instances} ${images}`
    .replace(/\d/g, (digit) => "abcdefghij".charAt(Number(digit)));
  const problem = { subject: "reconcile", signature };
  const rounded = { ...fields, duration_ms: Math.round(durationMs) };
  return { ...line("reconcile-finished", message, rounded), problem };
}

function refusedConfigLine(refused: readonly ConfigProblem[]): LogLine {
  const problems = refused.map(formatProblem);
  const message = "failed to reload the configuration; the previous configuration stays in " +
    `effect: ${problems.join("; ")}`;
  return line("config-refused", message, { problems });
}

function line(
  event: LogEventName,
  message: string,
  fields: Readonly<Record<string, unknown>>,
): LogLine {
  return { event, message, fields };
}

function imageFields(
  { image, endpoint }: { readonly image: string; readonly endpoint?: string },
) {
  return { image, ...defined({ endpoint }) };
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

function snakeCase(fields: Readonly<Record<string, unknown>>): Record<string, unknown> {
  return Object.fromEntries(
    Object.entries(fields).map(([name, value]) => [
      name.replace(/[A-Z]/g, (letter) => `_${letter.toLowerCase()}`),
      value,
    ]),
  );
}
