import {
  type AgentStatus,
  type DaemonStatus,
  formatDuration,
  type ImageStatus,
  type InstanceStatus,
} from "../model/mod.ts";
import type { Finding } from "./finding.ts";
import { imageLabel } from "./image_label.ts";
import { readFinding } from "./read_findings.ts";
import { isNone } from "./reasons.ts";
import { criProxyFindings } from "./cri_proxy_findings.ts";

/** All that is wrong, what ends first coming first within its level. */
export function findingsOf(status: AgentStatus, nowMs: number): readonly Finding[] {
  const byEnd = status.images.toSorted((a, b) =>
    compare(a.expiresAtMs ?? Infinity, b.expiresAtMs ?? Infinity)
  );
  const sourceless = new Set(
    status.images.flatMap(({ image, provider }) => provider === undefined ? [image] : []),
  );
  const criProxy = criProxyFindings(status.criProxy, nowMs);
  const [unseenPulls] = criProxy;
  // Images that some source other than pulls has a credential for.
  const sourced = new Set(
    status.images.flatMap(({ image, provider }) =>
      provider === undefined || provider === "adopted" || provider === "cri" ? [] : [image]
    ),
  );
  return [
    ...configurationFindings(status),
    ...byEnd.flatMap((image) => imageFinding(image, nowMs) ?? []),
    ...status.daemons.flatMap((daemon) =>
      daemon.instances.flatMap((mount) =>
        [
          mountFinding(daemon, mount, sourceless),
          behindFinding(daemon, mount, nowMs),
          fileFinding(daemon, mount),
          hostFinding(daemon, mount),
        ].filter((one) => !!one)
      )
    ),
    ...status.daemons.flatMap((daemon) =>
      daemon.instances.flatMap((mount) => {
        const isSourced = mount.image !== undefined && sourced.has(mount.image);
        return readFinding(daemon, mount, nowMs, isSourced ? undefined : unseenPulls) ?? [];
      })
    ),
    ...status.daemons.flatMap((daemon) => daemonFinding(daemon) ?? []),
    ...(status.staleWatches ?? []).map(({ subject, reason, detail }): Finding => ({
      area: "sources",
      level: "warning",
      key: `watch ${subject}`,
      text:
        `the Kubernetes API is not followed (${subject}; ${reason}: ${detail}): what was read ` +
        "last is used, a change is not seen",
      remedy: "it is tried again by itself; see docs/kubernetes.md for the rights that it takes",
    })),
    ...status.problems.map(({ source, subject, detail }): Finding => ({
      area: "discovery",
      level: "warning",
      key: `discovery ${source} ${subject}`,
      text: `the ${source} ${subject} does not tell which mounts there are: ${detail}`,
      remedy: "see whether nydus-snapshotter runs; renewal and delivery go on meanwhile",
    })),
    ...criProxy,
  ];
}

function configurationFindings({ refusedConfig = [] }: AgentStatus): readonly Finding[] {
  const [first] = refusedConfig;
  if (first === undefined) return [];
  const more = refusedConfig.length > 1 ? ` (and ${refusedConfig.length - 1} more)` : "";
  return [{
    area: "configuration",
    level: "warning",
    key: "configuration",
    text: `the new configuration was refused and the previous one is in force: ${first}${more}`,
    remedy: "fix it (nydus-auth-agent check) and reload",
  }];
}

function compare(a: number, b: number): number {
  return a === b ? 0 : a < b ? -1 : 1;
}

function imageFinding(image: ImageStatus, nowMs: number): Finding | undefined {
  const { expiresAtMs: endMs, failures, lastFailure } = image;
  const remedy = `run: nydus-auth-agent explain ${image.image}`;
  const name = imageLabel(image);
  const about = { area: "credentials", image: image.image, key: `credential ${name}` } as const;
  const why = lastFailure === undefined ? "" : ` (${lastFailure.reason}: ${lastFailure.detail})`;
  if (image.window === "expired" || (endMs !== undefined && endMs <= nowMs)) {
    const since = endMs === undefined ? "" : ` ${formatDuration(nowMs - endMs)} ago`;
    const text = `the credential of ${name} expired${since}, and reads that nydusd has ` +
      `not cached fail${why}`;
    const told = endMs === undefined ? {} : { reportedSinceMs: true } as const;
    return { ...about, level: "critical", text, ...told, remedy };
  }
  if (image.provider === "adopted") {
    const text = `no source has a credential for ${name}: its mounts keep the one that ` +
      `they hold${until(endMs, nowMs)}, and nobody renews it`;
    return { ...about, level: "warning", text, remedy };
  }
  if (failures === 0) return undefined;
  if (image.provider === undefined) {
    if (lastFailure === undefined || isNone(lastFailure.reason)) return undefined;
    const text = `no credential for ${name} could be had in ${tries(failures)}${why}`;
    return { ...about, level: "warning", text, remedy };
  }
  const since = image.renewedAtMs === undefined
    ? ""
    : `, last renewed ${formatDuration(Math.max(0, nowMs - image.renewedAtMs))} ago`;
  const text = `renewing the credential of ${name} failed in ${tries(failures)}${why}` +
    `${since}; it is good${until(endMs, nowMs) || " for a time that nobody tells"}`;
  const level = image.window === "mandatory" ? "critical" : "warning";
  return { ...about, level, text, ...(since !== "" && { reportedSinceMs: true }), remedy };
}

function tries(count: number): string {
  return count === 1 ? "one try" : `${count} tries`;
}

function until(endMs: number | undefined, nowMs: number): string {
  return endMs === undefined ? "" : ` for ${formatDuration(endMs - nowMs)} more`;
}

/** @param sourceless Images that nobody has a credential for, nor a mount one to share. */
function mountFinding(
  { id, pid }: DaemonStatus,
  instance: InstanceStatus,
  sourceless: ReadonlySet<string>,
): Finding | undefined {
  const { snapshotId, delivery, deliveryDetail, image, imageProblem } = instance;
  const mount = `mount ${snapshotId} of nydusd ${id}${image === undefined ? "" : ` (${image})`}`;
  const about = {
    area: "deliveries",
    level: "warning",
    key: `mount ${id}/${snapshotId}`,
    ...(image !== undefined && { image }),
  } as const;
  const why = deliveryDetail === undefined ? "" : `: ${deliveryDetail}`;
  switch (delivery) {
    case "refused":
    case "unreachable": {
      const text = `${mount} cannot be given its credential, it is ${delivery}${why}`;
      const look = delivery === "refused" ? "look at that nydusd's log" : processRemedy(pid);
      return { ...about, text, remedy: `it is tried again by itself; ${look}` };
    }
    case "unsupported": {
      const text = `the credential of ${mount} has a form that nydusd cannot use${why}`;
      return { ...about, text, remedy: "give its registry a user name and a password" };
    }
    case "adopted": {
      if (image === undefined || !sourceless.has(image)) break; // told by its image
      const text = `${mount} keeps the credential that it holds, and nobody renews it${why}`;
      return { ...about, text, remedy: `run: nydus-auth-agent explain ${image}` };
    }
    case "pending":
    case "stored":
    case "in-use":
    case "proven":
    case "file-only": // told where it goes on with an older one
    case "withheld": // told by its hosts
    case "none":
      break;
    default:
      return delivery satisfies never;
  }
  if (image !== undefined || imageProblem === undefined) return undefined;
  const text = `it is not known which image ${mount} serves: ${imageProblem}`;
  return { ...about, text, remedy: "list that daemon with its image in the configuration" };
}

/** How to see why a process does not answer. */
function processRemedy(pid: number | undefined): string {
  return pid === undefined
    ? "see whether its process is stopped"
    : `see whether its process is stopped (T) or waits (D): ps -o stat= -p ${pid}`;
}

/** A credential is there, and its nydusd goes on with an older one. */
function behindFinding(
  { id }: DaemonStatus,
  { snapshotId, image, delivery, deliveryDetail = "", behindSinceMs, file }: InstanceStatus,
  nowMs: number,
): Finding | undefined {
  if (delivery !== "file-only") return undefined;
  const mount = `mount ${snapshotId} of nydusd ${id}${image === undefined ? "" : ` (${image})`}`;
  const about = {
    area: "deliveries",
    level: "warning",
    key: `behind ${id}/${snapshotId}`,
    ...(image !== undefined && { image }),
  } as const;
  if (file === "skipped" || file === "absent" || file === "secret-free") {
    const text = `${mount} cannot be given a credential at all: ${deliveryDetail}, and there is ` +
      `no configuration file to write it into (${file})`;
    return {
      ...about,
      text,
      remedy: 'use nydusd 2.4.1 or later, or delivery.config_files = "always"',
    };
  }
  if (behindSinceMs === undefined) return undefined;
  const forText = formatDuration(Math.max(0, nowMs - behindSinceMs));
  const text = `${mount} has gone on for ${forText} with an older credential than there is, and ` +
    `reads fail when that ends: ${deliveryDetail}`;
  const remedy = "its file has the new one: restart that nydusd, and use 2.4.1 or later";
  return { ...about, text, reportedSinceMs: true, remedy };
}

/** It holds what it should, and would not after a restart. */
function fileFinding({ id }: DaemonStatus, mount: InstanceStatus): Finding | undefined {
  const { snapshotId, image, delivery, file, deliveryDetail = "" } = mount;
  const isReported = delivery === "stored" || delivery === "in-use" || delivery === "proven";
  if (file !== "failed" || (!isReported && delivery !== "file-only")) return undefined;
  const what = `mount ${snapshotId} of nydusd ${id}${image === undefined ? "" : ` (${image})`}`;
  return {
    area: "deliveries",
    level: "warning",
    key: `file ${id}/${snapshotId}`,
    ...(image !== undefined && { image }),
    text: `${what} holds its credential, but would begin with an old one after a restart: ` +
      deliveryDetail,
    remedy: 'make that folder writable for the agent, or set delivery.config_files = "never"',
  };
}

function hostFinding({ id }: DaemonStatus, mount: InstanceStatus): Finding | undefined {
  const { snapshotId, image = "an unknown image", unapprovedHosts = [], delivery } = mount;
  if (unapprovedHosts.length === 0) return undefined;
  const done = delivery === "withheld"
    ? "it is withheld"
    : delivery === "adopted"
    ? "it keeps the one that it held before"
    : "it is delivered all the same";
  const hosts = unapprovedHosts.join(", ");
  const text = `mount ${snapshotId} of nydusd ${id} (${image}) shows its credential to ${hosts}, ` +
    `which nothing names as a place for it: ${done}`;
  const remedy =
    "name each such host in delivery.allowed_hosts, or mend that nydusd's configuration";
  const key = `hosts ${id}/${snapshotId}`;
  return {
    area: "deliveries",
    level: "warning",
    key,
    ...(mount.image !== undefined && { image: mount.image }),
    text,
    remedy,
  };
}

function daemonFinding({ id, pid, state, stateDetail }: DaemonStatus): Finding | undefined {
  if (state !== "unresponsive" && state !== "broken") return undefined;
  const what = state === "unresponsive" ? "does not answer" : "does not answer as a nydusd";
  const why = stateDetail === undefined ? "" : ` (${stateDetail})`;
  return {
    area: "daemons",
    level: "warning",
    key: `daemon ${id}`,
    text: `nydusd ${id} ${what}${why}`,
    remedy: `it is asked again at every look; ${processRemedy(pid)}`,
  };
}
