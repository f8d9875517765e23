import type { AgentEvent } from "../model/mod.ts";
import { line, type LogLine, snakeCase, suffix } from "./log_line.ts";

type DeliveryAttempted = Extract<AgentEvent, { kind: "delivery-attempted" }>;

/** An attempt: the mount, and its configuration file beside it. */
export function deliveryLines(event: DeliveryAttempted): readonly LogLine[] {
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
    duration_ms: Math.round(durationMs),
  };
  const subject = `delivery ${mount}`;
  const file = fileLine(event);
  switch (outcome.kind) {
    case "rejected":
    case "unreachable":
    case "unsupported": {
      const next = outcome.kind === "unsupported" ? "another form is awaited" : "it is tried again";
      const message = `mount ${mount} (${image}): ${outcome.kind}${suffix(detail)}; ${next}`;
      const problem = { subject, signature: `${outcome.kind} ${detail ?? ""}` };
      return [{ ...line("delivery-failed", message, fields), problem }, ...file];
    }
    case "file-only": {
      if (outcome.file.kind === "failed") return file; // nothing was delivered
      const isNews = outcome.file.kind === "written";
      const name = isNews ? "credential-delivered" : "delivery-unchanged";
      const message = `mount ${mount} (${image}): only its configuration file${suffix(detail)}`;
      const recovery = { subject, event: "delivery-recovered" } as const;
      return [{ ...line(name, message, fields), recovery }, ...file];
    }
    case "delivered":
    case "unchanged": {
      const name = outcome.kind === "unchanged" ? "delivery-unchanged" : "credential-delivered";
      const message = `mount ${mount} (${image}) holds its credential`;
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
    const message =
      `configuration file of mount ${mount} (${image}): ${file.detail}; it is tried ` +
      "again, and nydusd itself is told all the same";
    const problem = { subject, signature: file.detail };
    const failed = line("config-file-failed", message, { ...fields, detail: file.detail });
    return [{ ...failed, problem }];
  }
  if (file.kind === "skipped") return []; // it was not tried: nothing is known
  const recovery = { subject, event: "config-file-recovered" } as const;
  const message = `configuration file of mount ${mount}: ${file.kind}`;
  return [{ ...line("config-file-recovered", message, fields), recovery, unavailable: true }];
}

/** What comes next for a mount that is not served. */
const NEXT = {
  refused: "it is tried again, after a pause that grows to 10s",
  unreachable: "it is tried again at every look, and given the newest then",
  unsupported: "its source has to give a user name and a password",
  withheld: "it is delivered once its hosts are named (delivery.allowed_hosts)",
} as const;

/** A mount's delivery moved on. */
export function mountStateLine(
  event: Extract<AgentEvent, { kind: "delivery-state-changed" }>,
): LogLine {
  const { kind: _, ...fields } = event;
  const mount = mountOf(event);
  const { image, from, to, detail } = event;
  const message = `mount ${mount} (${image}): ${from} to ${to}${suffix(detail)}`;
  const subject = `state ${mount}`;
  switch (event.to) {
    case "refused":
    case "unreachable":
    case "unsupported":
    case "withheld": {
      const problem = { subject, signature: event.to };
      const whole = `${message}; ${NEXT[event.to]}`;
      return { ...line("mount-without-credential", whole, snakeCase(fields)), problem };
    }
    case "pending": // nothing is known yet: a trouble that there was is not over
      return line("delivery-state-changed", message, snakeCase(fields));
    case "stored":
    case "in-use":
    case "proven":
    case "file-only":
    case "adopted":
    case "none":
      return { ...line("delivery-state-changed", message, snakeCase(fields)), ends: [subject] };
    default:
      return event.to satisfies never;
  }
}

/** A credential goes where nobody said that it may, or is withheld for that. */
export function unapprovedHostLine(
  event: Extract<AgentEvent, { kind: "unapproved-host" }>,
): LogLine {
  const { daemonId, snapshotId, image, hosts, action } = event;
  const mount = mountOf(event);
  const fields = { daemon_id: daemonId, snapshot_id: snapshotId, image, hosts, action };
  const message = `mount ${mount} (${image}) shows its credential to ${hosts.join(", ")}, which ` +
    `nothing names as a place for it: it was ${action}; name each in delivery.allowed_hosts, or ` +
    "mend that nydusd's configuration";
  const problem = { subject: `hosts ${mount}`, signature: `${action} ${hosts.join(" ")}` };
  return { ...line("unapproved-host", message, fields), problem };
}

/** A daemon came, went, or changed its state; the troubles of its mounts end with it. */
export function daemonLine(event: Extract<AgentEvent, { kind: "daemon-state-changed" }>): LogLine {
  const { kind: _, ...fields } = event;
  const { daemonId, to, detail } = event;
  const failing = to === "unresponsive" || to === "broken";
  const name = failing ? "daemon-failing" : "daemon-state-changed";
  const next = failing ? "; it is asked again at every look" : "";
  const message = `nydusd ${daemonId} is ${to}${suffix(detail)}${next}`;
  const subjects = ["delivery", "file", "state", "hosts"].map((what) => `${what} ${daemonId}/`);
  return { ...line(name, message, snakeCase(fields)), ends: to === "gone" ? subjects : [] };
}

function mountOf({ daemonId, snapshotId }: {
  readonly daemonId: string;
  readonly snapshotId: string;
}): string {
  return `${daemonId}/${snapshotId}`;
}
