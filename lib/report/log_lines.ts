import { type AgentEvent, formatProblem, PROVIDER_NAMES, REASON_CODES } from "../model/mod.ts";
import { line, type LogLine, snakeCase, suffix, time } from "./log_line.ts";
import { daemonLine, deliveryLines, mountStateLine } from "./mount_lines.ts";

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
    case "registry-probed":
      return [probedLine(event)];
    case "credential-elected":
      return [electedLine(event)];
    case "credential-evicted":
      return [evictedLine(event.image)];
    case "credential-adopted": {
      const { image, fingerprint } = event;
      const message = `no source has a credential for ${image}: the one nydusd holds stays`;
      const problem = { subject: `adopted ${image}`, signature: fingerprint };
      return [{ ...line("credential-adopted", message, { image, fingerprint }), problem }];
    }
    case "delivery-attempted":
      return deliveryLines(event);
    case "delivery-state-changed":
      return [mountStateLine(event)];
    case "daemon-state-changed":
      return [daemonLine(event)];
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
    case "source-changed": {
      const { kind: _, ...fields } = event;
      return [line("source-changed", `${event.source} changed: ${event.path}`, fields)];
    }
    case "config-loaded": {
      const { kind: _, ...fields } = event;
      return [line("config-loaded", "a configuration is in force", fields)];
    }
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
  return { ...line(name, message, fields), recovery, ends: [`adopted ${image}`] };
}

function probedLine(event: Extract<AgentEvent, { kind: "registry-probed" }>): LogLine {
  const { kind: _, ...fields } = event;
  const { host, origin, image, verdict, detail } = event;
  const message = `${host} was asked about ${origin} for ${image}: ${verdict}, ${detail}`;
  return line("registry-probed", message, snakeCase(fields));
}

function electedLine(event: Extract<AgentEvent, { kind: "credential-elected" }>): LogLine {
  const { kind: _, ...fields } = event;
  const { image, provider, origin, detail } = event;
  const message = `${image} gets the credential of ${provider} (${origin}): ${detail}`;
  return line("credential-elected", message, snakeCase(fields));
}

/** An image that comes back starts anew: its troubles are said again at once. */
function evictedLine(image: string): LogLine {
  const providers = PROVIDER_NAMES.map((provider) => `provider ${provider} ${image}`);
  const ends = [`renewal ${image}`, `adopted ${image}`, ...providers];
  return { ...line("credential-evicted", `${image} backs no mount any more`, { image }), ends };
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
