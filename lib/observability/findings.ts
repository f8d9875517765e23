import {
  type AgentStatus,
  type CriProxyStatus,
  type DaemonStatus,
  defined,
  formatDuration,
  type ImageStatus,
  type InstanceStatus,
  reasonOutcome,
} from "../model/mod.ts";

/** A problem that an operator may have to act on, derived from the status. */
export interface Finding {
  readonly area:
    | "configuration"
    | "credentials"
    | "deliveries"
    | "reads"
    | "daemons"
    | "sources"
    | "discovery"
    | "cri-proxy";
  readonly level: "warning" | "critical";
  /** Identifies the problem as long as it lasts. */
  readonly key: string;
  /** The affected image, if known. */
  readonly image?: string;
  /** What is wrong, and if the status has it, since and until when. */
  readonly text: string;
  /** Whether `text` contains how long the problem has lasted. */
  readonly hasDuration?: true;
  /** What to do about it. */
  readonly remedy: string;
}

/** A rotation makes reads fail for seconds. Failures that last longer are critical. */
const CRITICAL_READ_FAILURE_MS = 30_000;
/** A kubelet keeps its connection and lists images about every 20 seconds. */
const CRI_PROXY_IDLE_MS = 2 * 60_000;

/** Returns all findings of a status. Those about images are sorted by expiry. */
export function findingsOf(status: AgentStatus, nowMs: number): readonly Finding[] {
  const { images, daemons, staleWatches = [], problems } = status;
  const imagesByExpiry = images.toSorted((a, b) =>
    compare(a.expiresAtMs ?? Infinity, b.expiresAtMs ?? Infinity)
  );
  const withoutCredential = new Set(
    images.flatMap(({ image, provider }) => provider === undefined ? [image] : []),
  );
  const criProxy = criProxyFindings(status.criProxy, nowMs);
  const [unobservedPulls] = criProxy;
  // Images that do not depend on observed pulls.
  const fromOtherProviders = new Set(
    images.flatMap(({ image, provider }) =>
      provider === undefined || provider === "adopted" || provider === "cri" ? [] : [image]
    ),
  );
  const mounts = daemons.flatMap((daemon) => daemon.instances.map((mount) => ({ daemon, mount })));
  return [
    ...configurationFindings(status),
    ...imagesByExpiry.flatMap((image) => imageFinding(image, nowMs) ?? []),
    ...mounts.flatMap(({ daemon, mount }) =>
      [
        deliveryFinding(daemon, mount, withoutCredential),
        outdatedCredentialFinding(daemon, mount, nowMs),
        configFileFinding(daemon, mount),
        unapprovedHostFinding(daemon, mount),
      ].filter((finding) => finding !== undefined)
    ),
    ...mounts.flatMap(({ daemon, mount }) => {
      const pulls = fromOtherProviders.has(mount.image ?? "") ? undefined : unobservedPulls;
      return readFinding(daemon, mount, nowMs, pulls) ?? [];
    }),
    ...daemons.flatMap((daemon) => daemonFinding(daemon) ?? []),
    ...staleWatches.map(({ subject, reason, detail }): Finding => ({
      area: "sources",
      level: "warning",
      key: `watch ${subject}`,
      text: `failed to watch the Kubernetes API (${subject}; ${reason}: ${detail}); the last ` +
        "known state is used and changes are not detected",
      remedy: "retried automatically; see docs/kubernetes.md for the required permissions",
    })),
    ...problems.map(({ source, subject, detail }): Finding => ({
      area: "discovery",
      level: "warning",
      key: `discovery ${source} ${subject}`,
      text: `failed to list mounts from ${source} ${subject}: ${detail}`,
      remedy: "check whether nydus-snapshotter is running; known mounts are still renewed",
    })),
    ...criProxy,
  ];
}

/** Returns the finding about the CRI proxy, if there is one. */
export function criProxyFindings(
  criProxy: CriProxyStatus | undefined,
  nowMs: number,
): readonly Finding[] {
  if (criProxy === undefined) return [];
  const base = { area: "cri-proxy", level: "warning", key: "cri-proxy" } as const;
  const effect = "credentials of CRI pulls are not observed";
  switch (criProxy.state) {
    case "switched-off":
      return [];
    case "not-serving": {
      const why = criProxy.detail === undefined ? "" : `: ${criProxy.detail}`;
      const text = `${effect}: the CRI proxy is not serving${why}`;
      return [{ ...base, text, remedy: "fix the cause and reload the agent" }];
    }
    case "bypassed": {
      const { link, linkTarget, socket } = criProxy;
      const text = linkTarget === undefined
        ? `${effect}: ${link} does not exist and should point to ${socket}`
        : `${effect}: ${link} points to ${linkTarget} instead of ${socket}`;
      return [{ ...base, text, remedy: "run: nydus-auth-agent cri-proxy on" }];
    }
    case "in-path": {
      const idleMs = nowMs - (criProxy.idleSinceMs ?? nowMs);
      if (idleMs < CRI_PROXY_IDLE_MS) return [];
      const restored = criProxy.restoredImages === 0
        ? ""
        : `; ${criProxy.restoredImages} images were pulled through it before the agent ` +
          "restarted, so the kubelet is probably connected directly to the container runtime";
      const text = `${effect}: no client has been connected to the CRI proxy for ` +
        `${formatDuration(idleMs)}${restored}`;
      const remedy = "restart the kubelet; if that does not help, check that its image service " +
        `endpoint is unix://${criProxy.link ?? criProxy.socket}`;
      return [{ ...base, text, hasDuration: true, remedy }];
    }
    default:
      return criProxy.state satisfies never;
  }
}

/**
 * Returns an image with its endpoint, if that is not its own registry: each endpoint has a
 * credential and problems of its own.
 */
export function imageLabel(
  { image, endpoint }: { readonly image: string; readonly endpoint?: string },
): string {
  return endpoint === undefined ? image : `${image} (read from ${endpoint})`;
}

function configurationFindings({ refusedConfig = [] }: AgentStatus): readonly Finding[] {
  const [first] = refusedConfig;
  if (first === undefined) return [];
  const more = refusedConfig.length > 1 ? ` (and ${refusedConfig.length - 1} more)` : "";
  return [{
    area: "configuration",
    level: "warning",
    key: "configuration",
    text: "failed to reload the configuration; the previous configuration stays in effect: " +
      `${first}${more}`,
    remedy: "fix the configuration (check it with: nydus-auth-agent check) and reload the agent",
  }];
}

function compare(a: number, b: number): number {
  return a === b ? 0 : a < b ? -1 : 1;
}

function imageFinding(image: ImageStatus, nowMs: number): Finding | undefined {
  const { expiresAtMs, renewedAtMs, failures, lastFailure } = image;
  const name = imageLabel(image);
  const base = {
    area: "credentials",
    level: "warning",
    key: `credential ${name}`,
    image: image.image,
    remedy: `run: nydus-auth-agent explain ${image.image}`,
  } as const;
  const why = lastFailure === undefined ? "" : ` (${lastFailure.reason}: ${lastFailure.detail})`;
  if (image.window === "expired" || (expiresAtMs !== undefined && expiresAtMs <= nowMs)) {
    const effect = `reads of data that nydusd has not cached fail${why}`;
    if (expiresAtMs === undefined) {
      const text = `the credential of ${name} has expired; ${effect}`;
      return { ...base, level: "critical", text };
    }
    const agoText = `${formatDuration(nowMs - expiresAtMs)} ago`;
    const text = `the credential of ${name} expired ${agoText}; ${effect}`;
    return { ...base, level: "critical", text, hasDuration: true };
  }
  const expires = expiresAtMs === undefined
    ? undefined
    : `expires in ${formatDuration(expiresAtMs - nowMs)}`;
  if (image.provider === "adopted") {
    const text = `no provider has a credential for ${name}; its mounts keep their current ` +
      `credential, which ${expires === undefined ? "" : `${expires} and `}is not renewed`;
    return { ...base, text };
  }
  if (failures === 0) return undefined;
  const attempts = failures === 1 ? "1 attempt" : `${failures} attempts`;
  if (image.provider === undefined) {
    if (lastFailure === undefined || reasonOutcome(lastFailure.reason) === "none") return undefined;
    return { ...base, text: `failed to get a credential for ${name} after ${attempts}${why}` };
  }
  const level = image.window === "mandatory" ? "critical" : "warning";
  const validity = expires === undefined ? "its expiry is unknown" : `it ${expires}`;
  const text = `failed to renew the credential of ${name} after ${attempts}${why}; ${validity}`;
  if (renewedAtMs === undefined) return { ...base, level, text };
  const agoText = `${formatDuration(Math.max(0, nowMs - renewedAtMs))} ago`;
  return { ...base, level, text: `${text}; last renewed ${agoText}`, hasDuration: true };
}

/** Returns how a mount is named in findings. */
function mountLabel({ id }: DaemonStatus, { snapshotId, image }: InstanceStatus): string {
  return `mount ${snapshotId} of nydusd ${id}${image === undefined ? "" : ` (${image})`}`;
}

/** Returns the fields that findings about the delivery to a mount share. */
function deliveryBase(topic: string, { id }: DaemonStatus, { snapshotId, image }: InstanceStatus) {
  return {
    area: "deliveries",
    level: "warning",
    key: `${topic} ${id}/${snapshotId}`,
    ...defined({ image }),
  } as const;
}

/** @param withoutCredential Images for which no provider and no mount has a credential. */
function deliveryFinding(
  daemon: DaemonStatus,
  instance: InstanceStatus,
  withoutCredential: ReadonlySet<string>,
): Finding | undefined {
  const { delivery, deliveryDetail, image, imageProblem } = instance;
  const mount = mountLabel(daemon, instance);
  const base = deliveryBase("mount", daemon, instance);
  const why = deliveryDetail === undefined ? "" : `: ${deliveryDetail}`;
  switch (delivery) {
    case "refused":
    case "unreachable": {
      const text = `failed to deliver the credential to ${mount} (${delivery})${why}`;
      const check = delivery === "refused"
        ? "check the log of that nydusd"
        : processRemedy(daemon.pid);
      return { ...base, text, remedy: `retried automatically; ${check}` };
    }
    case "unsupported": {
      const text = `nydusd does not support the form of the credential of ${mount}${why}`;
      return { ...base, text, remedy: "configure a user name and a password for its registry" };
    }
    case "adopted": {
      if (image === undefined || !withoutCredential.has(image)) break; // a finding of its image
      const text = `${mount} keeps its current credential, which is not renewed${why}`;
      return { ...base, text, remedy: `run: nydus-auth-agent explain ${image}` };
    }
    case "pending":
    case "stored":
    case "in-use":
    case "proven":
    case "file-only": // see outdatedCredentialFinding
    case "withheld": // see unapprovedHostFinding
    case "none":
      break;
    default:
      return delivery satisfies never;
  }
  if (image !== undefined || imageProblem === undefined) return undefined;
  const text = `the image of ${mount} is unknown: ${imageProblem}`;
  return { ...base, text, remedy: "list that daemon and its image in the configuration" };
}

/** Returns how to find out why a process does not respond. */
function processRemedy(pid: number | undefined): string {
  return pid === undefined
    ? "check whether its process is stopped"
    : `check whether its process is stopped (T) or blocked (D): ps -o stat= -p ${pid}`;
}

/** Reports a mount whose nydusd cannot be updated while it runs. */
function outdatedCredentialFinding(
  daemon: DaemonStatus,
  instance: InstanceStatus,
  nowMs: number,
): Finding | undefined {
  const { delivery, deliveryDetail = "", behindSinceMs, file } = instance;
  if (delivery !== "file-only") return undefined;
  const mount = mountLabel(daemon, instance);
  const base = deliveryBase("behind", daemon, instance);
  if (file === "skipped" || file === "absent" || file === "secret-free") {
    const text = `no credential can be delivered to ${mount}: ${deliveryDetail}, and there is no ` +
      `configuration file to write it to (${file})`;
    const remedy = 'upgrade nydusd to 2.4.1 or later, or set delivery.config_files = "always"';
    return { ...base, text, remedy };
  }
  if (behindSinceMs === undefined) return undefined;
  const duration = formatDuration(Math.max(0, nowMs - behindSinceMs));
  const text = `${mount} has used an outdated credential for ${duration}, and its reads will ` +
    `fail when that expires: ${deliveryDetail}`;
  const remedy = "restart that nydusd, whose configuration file has the current credential, and " +
    "upgrade it to 2.4.1 or later";
  return { ...base, text, hasDuration: true, remedy };
}

/** Reports a mount that would not have its current credential after a restart of its nydusd. */
function configFileFinding(daemon: DaemonStatus, instance: InstanceStatus): Finding | undefined {
  const { delivery, file, deliveryDetail = "" } = instance;
  const hasCredential = delivery === "stored" || delivery === "in-use" || delivery === "proven";
  if (file !== "failed" || (!hasCredential && delivery !== "file-only")) return undefined;
  return {
    ...deliveryBase("file", daemon, instance),
    text: `${mountLabel(daemon, instance)} would use an outdated credential after a restart of ` +
      `its nydusd: ${deliveryDetail}`,
    remedy: 'make that folder writable for the agent, or set delivery.config_files = "never"',
  };
}

function unapprovedHostFinding(
  daemon: DaemonStatus,
  instance: InstanceStatus,
): Finding | undefined {
  const { unapprovedHosts = [], delivery } = instance;
  if (unapprovedHosts.length === 0) return undefined;
  const action = delivery === "withheld"
    ? "the credential is withheld"
    : delivery === "adopted"
    ? "the mount keeps its current credential"
    : "the credential is delivered anyway";
  return {
    ...deliveryBase("hosts", daemon, instance),
    text: `${mountLabel(daemon, instance)} is configured to send its credential to ` +
      `unapproved hosts: ${unapprovedHosts.join(", ")} (${action})`,
    remedy: "add them to delivery.allowed_hosts, or fix the configuration of that nydusd",
  };
}

/** How a mount with failing reads got its credential, by delivery state. */
const CREDENTIAL_TEXT: Partial<Record<InstanceStatus["delivery"], string>> = {
  "none": "and no provider has a credential for it",
  "adopted": "although it keeps its previous credential",
  "stored": "although its current credential was delivered",
  "in-use": "although its current credential was delivered",
  "proven": "although its current credential was delivered",
};

/** @param unobservedPulls Set if the required credential may be in a pull that was not observed. */
function readFinding(
  daemon: DaemonStatus,
  instance: InstanceStatus,
  nowMs: number,
  unobservedPulls?: Finding,
): Finding | undefined {
  const { snapshotId, image, delivery, readsFailingSinceMs } = instance;
  if (readsFailingSinceMs === undefined) return undefined;
  const durationMs = Math.max(0, nowMs - readsFailingSinceMs);
  const credential = CREDENTIAL_TEXT[delivery] ?? "and its credential is not delivered yet";
  return {
    area: "reads",
    level: durationMs >= CRITICAL_READ_FAILURE_MS ? "critical" : "warning",
    key: `reads ${daemon.id}/${snapshotId}`,
    ...defined({ image }),
    text: `reads of ${mountLabel(daemon, instance)} have failed for ` +
      `${formatDuration(durationMs)}, ${credential}: the registry rejects them or is unreachable`,
    hasDuration: true,
    remedy: "check the log of that nydusd for 401, 403 or a network error; see " +
      "docs/troubleshooting.md" +
      (unobservedPulls === undefined
        ? ""
        : `. Credentials of CRI pulls are not observed: ${unobservedPulls.remedy}`),
  };
}

function daemonFinding({ id, pid, state, stateDetail }: DaemonStatus): Finding | undefined {
  if (state !== "unresponsive" && state !== "broken") return undefined;
  const problem = state === "unresponsive" ? "does not respond" : "returns invalid responses";
  const why = stateDetail === undefined ? "" : ` (${stateDetail})`;
  return {
    area: "daemons",
    level: "warning",
    key: `daemon ${id}`,
    text: `nydusd ${id} ${problem}${why}`,
    remedy: `retried on every reconcile; ${processRemedy(pid)}`,
  };
}
