import { type AgentEvent, formatProblem, REASON_CODES } from "../model/mod.ts";
import type { LogEventName } from "./log_events.ts";

/** What to say of one event. */
export interface LogLine {
  readonly event: LogEventName;
  readonly message: string;
  readonly fields: Readonly<Record<string, unknown>>;
  /** A problem that may come again: counted by subject, and said again only when it must be. */
  readonly problem?: { readonly subject: string; readonly signature: string };
  /** All is well with this subject: said as `event` where there was a problem. */
  readonly recovery?: { readonly subject: string; readonly event: LogEventName };
  /** Nothing to say but a recovery. */
  readonly quiet?: true;
}

/** The lines of an event; which of them are written is the log's affair. */
export function linesOf(event: AgentEvent): readonly LogLine[] {
  switch (event.kind) {
    case "provider-asked":
      return [providerLine(event)];
    case "plugin-executed":
      return [pluginLine(event)];
    case "credential-renewed":
      return [renewedLine(event)];
    case "renewal-failed":
      return [renewalFailedLine(event)];
    case "credential-evicted":
      return [line("credential-evicted", `${event.image} backs no mount any more`, {
        image: event.image,
      })];
    case "credential-adopted": {
      const { image, fingerprint } = event;
      const message = `no source has a credential for ${image}: the one nydusd holds stays`;
      const problem = { subject: `adopted ${image}`, signature: fingerprint };
      return [{ ...line("credential-adopted", message, { image, fingerprint }), problem }];
    }
    case "delivery-attempted":
      return deliveryLines(event);
    case "delivery-state-changed": {
      const { kind: _, ...fields } = event;
      const unserved = ["refused", "unreachable", "unsupported"].includes(event.to);
      const name = unserved ? "mount-unserved" : "delivery-state-changed";
      const message = `mount ${mountOf(event)}: ${event.from} to ${event.to}`;
      return [line(name, message, snakeCase(fields))];
    }
    case "daemon-state-changed": {
      const { kind: _, ...fields } = event;
      const troubled = event.to === "unresponsive" || event.to === "broken";
      const name = troubled ? "daemon-troubled" : "daemon-state-changed";
      const message = `nydusd ${event.daemonId} is ${event.to}${suffix(event.detail)}`;
      return [line(name, message, snakeCase(fields))];
    }
    case "discovery-problem": {
      const { source, subject, detail } = event;
      const problem = { subject: `discovery ${source} ${subject}`, signature: detail };
      const message = `${source}, ${subject}: ${detail}`;
      return [{ ...line("discovery-problem", message, { source, subject, detail }), problem }];
    }
    case "discovery-recovered": {
      const { source, subject } = event;
      const recovery = { subject: `discovery ${source} ${subject}`, event: event.kind };
      const message = `${source}, ${subject}: it answers again`;
      const fields = { source, subject };
      return [{ ...line("discovery-recovered", message, fields), recovery, quiet: true }];
    }
    case "reconcile-finished": {
      const { kind: _, ...fields } = event;
      const { images, instances, daemons } = event;
      const message = `${daemons} daemons, ${instances} mounts, ${images} images compared`;
      return [line("reconcile-finished", message, snakeCase(fields))];
    }
    case "source-changed":
      return [line("source-changed", `${event.source} changed: ${event.path}`, {
        source: event.source,
        path: event.path,
      })];
    case "config-loaded":
      return [line("config-loaded", "a configuration is in force", {
        hash: event.hash,
        files: event.files,
        ...(event.differences && { differences: event.differences }),
      })];
    case "config-refused": {
      const problems = event.problems.map(formatProblem);
      const message = "the new configuration cannot be used, the old one stays in force: " +
        problems.join("; ");
      return [line("config-refused", message, { problems })];
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

function providerLine(event: Extract<AgentEvent, { kind: "provider-asked" }>): LogLine {
  const { provider, image, outcome, reason, detail, durationMs } = event;
  const fields = { provider, image, reason, ...(detail && { detail }), duration_ms: durationMs };
  const message = `${provider}: ${REASON_CODES[reason]}${suffix(detail)}`;
  const subject = `provider ${provider} ${image}`;
  if (outcome === "failed") {
    const problem = { subject, signature: `${reason} ${detail ?? ""}` };
    return { ...line("provider-failed", message, fields), problem };
  }
  const recovery = { subject, event: "provider-recovered" } as const;
  return { ...line(`provider-${outcome}`, message, fields), recovery };
}

function pluginLine(event: Extract<AgentEvent, { kind: "plugin-executed" }>): LogLine {
  const { provider, plugin, result, detail, durationMs } = event;
  const fields = { provider, plugin, result, ...(detail && { detail }), duration_ms: durationMs };
  const message = `${plugin}: ${result}${suffix(detail)}`;
  const subject = `plugin ${provider} ${plugin}`;
  if (result === "failure" || result === "timeout") {
    const problem = { subject, signature: `${result} ${detail ?? ""}` };
    return { ...line("plugin-failed", message, fields), problem };
  }
  const recovery = { subject, event: "plugin-recovered" } as const;
  return { ...line("plugin-executed", message, fields), recovery };
}

function renewedLine(event: Extract<AgentEvent, { kind: "credential-renewed" }>): LogLine {
  const { image, provider, changed, fingerprint } = event;
  const fields = {
    image,
    provider,
    fingerprint,
    ...time("soft_expires_at", event.softExpiresAtMs),
    ...time("hard_expires_at", event.hardExpiresAtMs),
    ...time("due_at", event.dueAtMs),
  };
  const message = changed
    ? `${image} has a new credential from ${provider}`
    : `${image}: ${provider} gave the credential that we have`;
  const recovery = { subject: `renewal ${image}`, event: "renewal-recovered" } as const;
  const name = changed ? "credential-renewed" : "credential-unchanged";
  return { ...line(name, message, fields), recovery };
}

function renewalFailedLine(event: Extract<AgentEvent, { kind: "renewal-failed" }>): LogLine {
  const { image, provider, reason, detail, expired, nextAttemptAtMs } = event;
  const fields = {
    image,
    ...(provider && { provider }),
    reason,
    detail,
    ...time("next_attempt_at", nextAttemptAtMs),
  };
  const message = `${image}: ${detail}${expired ? "; its credential is dead" : ""}`;
  const problem = { subject: `renewal ${image}`, signature: `${reason} ${expired} ${detail}` };
  return { ...line(expired ? "credential-expired" : "renewal-failed", message, fields), problem };
}

type DeliveryAttempted = Extract<AgentEvent, { kind: "delivery-attempted" }>;

function deliveryLines(event: DeliveryAttempted): readonly LogLine[] {
  const { daemonId, snapshotId, image, outcome, durationMs } = event;
  const mount = mountOf(event);
  const detail = "detail" in outcome ? outcome.detail : undefined;
  const fields = {
    daemon_id: daemonId,
    snapshot_id: snapshotId,
    image,
    result: outcome.kind,
    file: outcome.file.kind,
    ...(detail !== undefined && { detail }),
    duration_ms: durationMs,
  };
  const subject = `delivery ${mount}`;
  const file = fileLine(event);
  switch (outcome.kind) {
    case "rejected":
    case "unreachable":
    case "unsupported": {
      const message = `mount ${mount} (${image}): ${outcome.kind}${suffix(detail)}`;
      const problem = { subject, signature: `${outcome.kind} ${detail ?? ""}` };
      return [{ ...line("delivery-failed", message, fields), problem }, ...file];
    }
    case "delivered":
    case "file-only":
    case "unchanged": {
      const name = outcome.kind === "unchanged" ? "delivery-unchanged" : "credential-delivered";
      const message = outcome.kind === "file-only"
        ? `mount ${mount} (${image}): only its configuration file${suffix(detail)}`
        : `mount ${mount} (${image}) holds its credential`;
      const recovery = { subject, event: "delivery-recovered" } as const;
      return [{ ...line(name, message, fields), recovery }, ...file];
    }
    default:
      return outcome satisfies never;
  }
}

/** The daemon's configuration file is a second delivery: it fails and recovers on its own. */
function fileLine(event: DeliveryAttempted): readonly LogLine[] {
  const { daemonId, snapshotId, image, outcome: { file } } = event;
  const mount = mountOf(event);
  const subject = `file ${mount}`;
  const fields = { daemon_id: daemonId, snapshot_id: snapshotId, image };
  if (file.kind === "failed") {
    const message = `configuration file of mount ${mount}: ${file.detail}`;
    const problem = { subject, signature: file.detail };
    const failed = line("config-file-failed", message, { ...fields, detail: file.detail });
    return [{ ...failed, problem }];
  }
  if (file.kind === "skipped") return []; // it was not tried: nothing is known
  const recovery = { subject, event: "config-file-recovered" } as const;
  const message = `configuration file of mount ${mount}: ${file.kind}`;
  return [{ ...line("config-file-recovered", message, fields), recovery, quiet: true }];
}

function line(
  event: LogEventName,
  message: string,
  fields: Readonly<Record<string, unknown>>,
): LogLine {
  return { event, message, fields };
}

function mountOf({ daemonId, snapshotId }: {
  readonly daemonId: string;
  readonly snapshotId: string;
}): string {
  return `${daemonId}/${snapshotId}`;
}

function suffix(detail: string | undefined): string {
  return detail ? `: ${detail}` : "";
}

function time(name: string, ms: number | undefined): Readonly<Record<string, string>> {
  if (ms === undefined || Number.isNaN(new Date(ms).getTime())) return {};
  return { [name]: new Date(ms).toISOString() };
}

function snakeCase(fields: Readonly<Record<string, unknown>>): Record<string, unknown> {
  return Object.fromEntries(
    Object.entries(fields).map(([name, value]) => [
      name.replace(/[A-Z]/g, (letter) => `_${letter.toLowerCase()}`),
      value,
    ]),
  );
}
