import {
  type AgentEvent,
  type ConfigProblem,
  formatProblem,
  PROVIDER_NAMES,
  REASON_CODES,
} from "../model/mod.ts";
import { at, line, type LogLine, suffix, time } from "./log_line.ts";
import { daemonLine, deliveryLines, mountStateLine, unapprovedHostLine } from "./mount_lines.ts";
import { imageLabel } from "./image_label.ts";

type ProviderAsked = Extract<AgentEvent, { kind: "provider-queried" }>;

/** The lines of an event; which of them are written is the log's affair. */
export function linesOf(event: AgentEvent): readonly LogLine[] {
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
      return deliveryLines(event);
    case "delivery-state-changed":
      return [mountStateLine(event)];
    case "daemon-state-changed":
      return [daemonLine(event)];
    case "discovery-problem": {
      const { source, subject, detail } = event;
      const problem = { subject: `discovery ${source} ${subject}`, signature: detail };
      const message = `${source}, ${subject}: ${detail}; it is asked again at every look`;
      return [{ ...line("discovery-problem", message, { source, subject, detail }), problem }];
    }
    case "discovery-recovered": {
      const { source, subject } = event;
      const recovery = { subject: `discovery ${source} ${subject}`, event: event.kind };
      const message = `${source}, ${subject}: it answers again`;
      const fields = { source, subject };
      return [{ ...line("discovery-recovered", message, fields), recovery, unavailable: true }];
    }
    case "reconcile-finished":
      return [reconcileLine(event)];
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
    case "config-refused":
      return [refusedLine(event.problems)];
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

function refusedLine(refused: readonly ConfigProblem[]): LogLine {
  const problems = refused.map(formatProblem);
  const message = "the new configuration cannot be used, the old one stays in force: " +
    problems.join("; ");
  return line("config-refused", message, { problems });
}

/** Every round of a calm node is the same: it is said when something is different. */
function reconcileLine(event: Extract<AgentEvent, { kind: "reconcile-finished" }>): LogLine {
  const { kind: _, durationMs, ...fields } = event;
  const { images, instances, daemons } = event;
  const message = `${daemons} daemons, ${instances} mounts, ${images} images compared`;
  // Letters: the numbers of a signature do not count, and here they are all there is.
  const signature = `${daemons} ${instances} ${images}`
    .replace(/\d/g, (digit) => "abcdefghij".charAt(Number(digit)));
  const problem = { subject: "round", signature };
  const rounded = { ...fields, duration_ms: Math.round(durationMs) };
  return { ...line("reconcile-finished", message, rounded), problem };
}

/** Under what a provider's troubles with an image are counted. */
export function providerSubject({ provider, image }: ProviderAsked): string {
  return `provider ${provider} ${image}`;
}

function providerLine(event: ProviderAsked): LogLine {
  const { provider, image, outcome, reason, detail, durationMs } = event;
  const fields = {
    provider,
    image,
    reason,
    ...(detail && { detail }),
    duration_ms: Math.round(durationMs),
  };
  const message = `${image}: ${provider}: ${REASON_CODES[reason]}${suffix(detail)}`;
  const subject = providerSubject(event);
  if (outcome === "failed") {
    const continues = reason === "plugin-backing-off";
    const problem = { subject, signature: `${reason} ${detail ?? ""}`, continues };
    return {
      ...line("provider-failed", `${message}; the next provider is asked`, fields),
      problem,
    };
  }
  const recovery = { subject, event: "provider-recovered" } as const;
  return { ...line(`provider-${outcome}`, message, fields), recovery };
}

function pluginLine(event: Extract<AgentEvent, { kind: "plugin-executed" }>): LogLine {
  const { provider, plugin, result, detail, durationMs } = event;
  const fields = {
    provider,
    plugin,
    result,
    ...(detail && { detail }),
    duration_ms: Math.round(durationMs),
  };
  const message = `${plugin}: ${result}${suffix(detail)}`;
  const subject = `plugin ${provider} ${plugin}`;
  if (result === "failure" || result === "timeout") {
    const problem = { subject, signature: `${result} ${detail ?? ""}` };
    const next = "it is not run again before a pause, which grows";
    return { ...line("plugin-failed", `${message}; ${next}`, fields), problem };
  }
  const recovery = { subject, event: "plugin-recovered" } as const;
  return { ...line("plugin-executed", message, fields), recovery };
}

function renewedLine(event: Extract<AgentEvent, { kind: "credential-renewed" }>): LogLine {
  const { provider, changed, fingerprint } = event;
  const image = imageLabel(event);
  const fields = {
    ...imageFields(event),
    provider,
    fingerprint,
    ...time("soft_expires_at", event.refreshAtMs),
    ...time("hard_expires_at", event.expiresAtMs),
    ...time("due_at", event.dueAtMs),
  };
  const what = changed
    ? `${image} has a new credential from ${provider}`
    : `${image}: ${provider} gave the credential that we have`;
  const message = `${what}; it is asked again ${at(event.dueAtMs) ?? "when its source changes"}`;
  const recovery = { subject: `renewal ${image}`, event: "renewal-recovered" } as const;
  const name = changed ? "credential-renewed" : "credential-unchanged";
  return { ...line(name, message, fields), recovery, ends: [`adopted ${image}`] };
}

function probedLine(event: Extract<AgentEvent, { kind: "registry-probed" }>): LogLine {
  const { host, origin, image, verdict, detail, provider, fingerprint, durationMs } = event;
  const fields = { image, host, provider, origin, fingerprint, verdict, detail };
  const message = `${host} was asked about ${origin} for ${image}: ${verdict}, ${detail}`;
  return line("registry-probed", message, { ...fields, duration_ms: durationMs });
}

function selectionLine(event: Extract<AgentEvent, { kind: "candidate-selected" }>): LogLine {
  const { image, provider, origin, fingerprint, reason, detail, otherCandidates } = event;
  const fields = { image, provider, origin, fingerprint, reason, detail, otherCandidates };
  const message = `${image} gets the credential of ${provider} (${origin}): ${detail}`;
  return line("candidate-selected", message, fields);
}

function adoptedLine(event: Extract<AgentEvent, { kind: "credential-adopted" }>): LogLine {
  const { fingerprint, origin } = event;
  const name = imageLabel(event);
  const message = `no provider has a credential for ${name}: using the one ${origin}, which is ` +
    "not renewed; a credential from a provider replaces it at once";
  const problem = { subject: `adopted ${name}`, signature: fingerprint };
  const fields = { ...imageFields(event), fingerprint, origin };
  return { ...line("credential-adopted", message, fields), problem };
}

/** An image that comes back starts anew: its troubles are said again at once. */
function evictedLine(event: Extract<AgentEvent, { kind: "credential-evicted" }>): LogLine {
  const image = imageLabel(event);
  const providers = PROVIDER_NAMES.map((provider) =>
    `provider ${provider} ${event.endpoint ?? event.image}`
  );
  const ends = [`renewal ${image}`, `adopted ${image}`, ...providers];
  return {
    ...line("credential-evicted", `${image} backs no mount any more`, imageFields(event)),
    ends,
  };
}

function renewalFailedLine(event: Extract<AgentEvent, { kind: "renewal-failed" }>): LogLine {
  const { provider, reason, detail, expired, nextAttemptAtMs } = event;
  const image = imageLabel(event);
  const fields = {
    ...imageFields(event),
    ...(provider && { provider }),
    reason,
    detail,
    ...time("next_attempt_at", nextAttemptAtMs),
  };
  const state = expired ? "; its credential is dead, and reads of its mounts fail" : "";
  const next = at(nextAttemptAtMs);
  const again = next === undefined ? "" : `; it is asked again ${next}`;
  const message = `${image}: ${detail}${state}${again}`;
  const signature = `${reason} ${expired} ${detail}`;
  // That it expires meanwhile is news; that its plugin rests is not.
  const continues = reason === "plugin-backing-off" && !expired;
  const problem = { subject: `renewal ${image}`, signature, continues };
  return { ...line(expired ? "credential-expired" : "renewal-failed", message, fields), problem };
}

interface ImageAndLocation {
  readonly image: string;
  readonly endpoint?: string;
}

function imageFields({ image, endpoint }: ImageAndLocation) {
  return { image, ...(endpoint !== undefined && { endpoint }) };
}
