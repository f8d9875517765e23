import {
  type AgentStatus,
  type CriProxyStatus,
  type DaemonStatus,
  defined,
  formatDuration,
  type ImageStatus,
  type InstanceStatus,
  reasonOutcome,
  type StaleWatch,
} from "../model/mod.ts";

/** The parts of the agent's work, each with a check of its own. */
export const FINDING_AREAS = [
  ...["configuration", "credentials", "deliveries", "reads", "daemons", "sources"] as const,
  ...["discovery", "cri-proxy", "loop"] as const,
] as const;
/** A part of the agent's work. */
export type FindingArea = (typeof FINDING_AREAS)[number];

/** Properties of all findings with the same code. */
export interface FindingDefinition {
  readonly area: FindingArea;
  readonly title: string;
  /** Findings that can cause this one. */
  readonly causes?: readonly string[];
  /** How long it lasts before it is shown: a restart or a rotation ends it earlier. */
  readonly showAfterMs?: number;
}

/** A restart or a rotation ends a problem within this time. */
const TRANSIENT_MS = 10_000;

/** Every finding. Those that cost reads come first. */
export const FINDINGS = {
  "loop-stuck": { area: "loop", title: "Reconciles do not complete" },
  "reads-failing": {
    area: "reads",
    title: "Reads fail",
    causes: [
      ...["credential-expired", "renewal-failed", "credential-missing", "credential-outdated"],
      ...["delivery-failed", "delivery-unsupported", "unapproved-host"],
    ],
    showAfterMs: TRANSIENT_MS,
  },
  "credential-expired": { area: "credentials", title: "A credential has expired" },
  "delivery-failed": {
    area: "deliveries",
    title: "Deliveries fail",
    causes: ["daemon-failing"],
    showAfterMs: TRANSIENT_MS,
  },
  "delivery-unsupported": { area: "deliveries", title: "A credential cannot be delivered" },
  "renewal-failed": { area: "credentials", title: "Renewals fail" },
  "credential-missing": { area: "credentials", title: "No credential, because a provider fails" },
  "credential-outdated": { area: "deliveries", title: "nydusd needs a restart" },
  "credential-not-renewed": { area: "credentials", title: "A credential is not renewed" },
  "unapproved-host": { area: "deliveries", title: "A mount uses an unapproved host" },
  "image-unknown": { area: "deliveries", title: "The image of a mount is unknown" },
  "config-file-failed": {
    area: "deliveries",
    title: "A configuration file of nydusd is outdated",
    showAfterMs: TRANSIENT_MS,
  },
  "daemon-failing": {
    area: "daemons",
    title: "nydusd does not respond",
    showAfterMs: TRANSIENT_MS,
  },
  "config-rejected": { area: "configuration", title: "The configuration was not reloaded" },
  "watch-interrupted": {
    area: "sources",
    title: "Kubernetes watches are interrupted",
    showAfterMs: TRANSIENT_MS,
  },
  "discovery-failed": {
    area: "discovery",
    title: "Discovery fails",
    showAfterMs: TRANSIENT_MS,
  },
  "pulls-not-observed": { area: "cri-proxy", title: "CRI pulls are not observed" },
} as const satisfies Readonly<Record<string, FindingDefinition>>;
/** A key of {@linkcode FINDINGS}. */
export type FindingCode = keyof typeof FINDINGS;
/** The codes in the order of {@linkcode FINDINGS}. */
export const FINDING_CODES = Object.keys(FINDINGS) as FindingCode[];

/** A rotation makes reads fail for seconds. Failures that last longer are critical. */
const CRITICAL_READ_FAILURE_MS = 30_000;
/** A kubelet keeps its connection and lists images about every 20 seconds. */
const CRI_PROXY_IDLE_MS = 2 * 60_000;

/** One occurrence of a finding, at an image, a mount or a daemon. */
export interface Problem {
  readonly code: FindingCode;
  /** Problems with the same cause are one finding. */
  readonly cause: string;
  readonly severity: "warning" | "critical";
  /** The affected image and daemon, if known. */
  readonly image?: string;
  readonly daemon?: string;
  /** What is wrong, and if the status has it, since and until when. */
  readonly text: string;
  /** Wall time (ms) since which it has lasted, if the status has it. */
  readonly sinceMs?: number;
  /** What to do about it. */
  readonly remedy: string;
}

/** A problem of a place. It is a warning unless it has another severity. */
type PlacedProblem =
  & Omit<Problem, "severity" | "image" | "daemon">
  & Pick<Partial<Problem>, "severity">;

/** Returns the problems in a status. Those of images are sorted by expiry. */
export function problemsOf(status: AgentStatus, nowMs: number): readonly Problem[] {
  const { images, daemons, staleWatches = [], problems } = status;
  const imagesByExpiry = images.toSorted((a, b) =>
    (a.expiresAtMs ?? Infinity) - (b.expiresAtMs ?? Infinity) || 0 // not NaN
  );
  const withoutCredential = new Set(
    images.flatMap(({ image, provider }) => provider === undefined ? [image] : []),
  );
  const criProxy = criProxyProblem(status.criProxy, nowMs);
  // Images that do not depend on observed pulls.
  const fromOtherProviders = new Set(
    images.flatMap(({ image, provider }) =>
      provider === undefined || provider === "adopted" || provider === "cri" ? [] : [image]
    ),
  );
  const at = (place: Pick<Problem, "image" | "daemon">, found: (PlacedProblem | undefined)[]) =>
    found.filter((problem) => problem !== undefined).map((problem): Problem => ({
      severity: "warning",
      ...place,
      ...problem,
    }));
  const atMount = (daemon: DaemonStatus, mount: InstanceStatus) => {
    const isPulled = !fromOtherProviders.has(mount.image ?? "");
    return at(defined({ image: mount.image, daemon: daemon.id }), [
      deliveryProblem(daemon, mount, withoutCredential),
      outdatedCredentialProblem(daemon, mount, nowMs),
      configFileProblem(daemon, mount),
      unapprovedHostProblem(daemon, mount),
      readProblem(daemon, mount, nowMs, isPulled ? criProxy : undefined),
    ]);
  };
  return [
    ...at({}, [loopProblem(status, nowMs), configurationProblem(status)]),
    ...imagesByExpiry.flatMap((image) => at({ image: image.image }, [imageProblem(image, nowMs)])),
    ...daemons.flatMap((daemon) => daemon.instances.flatMap((mount) => atMount(daemon, mount))),
    ...daemons.flatMap((daemon) => at({ daemon: daemon.id }, [daemonProblem(daemon)])),
    ...at({}, [...staleWatches.map(watchProblem), ...problems.map(discoveryProblem), criProxy]),
  ];
}

const FIRST_RECONCILE_LIMIT_MS = 120_000;
const STUCK_MIN_MS = 60_000;
const STUCK_INTERVALS = 3;

/** Returns since how long no reconcile has completed, and whether that is too long. */
export function loopState(
  { firstReconcileAtMs, lastReconcileAtMs, startedAtMs, loopAgeMs, checkIntervalMs = 0 }:
    AgentStatus,
  nowMs: number,
): { readonly durationMs: number; readonly isStuck: boolean } {
  const durationMs = Math.max(0, loopAgeMs ?? nowMs - (lastReconcileAtMs ?? startedAtMs));
  const limitMs = firstReconcileAtMs === undefined
    ? FIRST_RECONCILE_LIMIT_MS
    : Math.max(STUCK_INTERVALS * checkIntervalMs, STUCK_MIN_MS);
  return { durationMs, isStuck: durationMs > limitMs };
}

function loopProblem(status: AgentStatus, nowMs: number): PlacedProblem | undefined {
  const { durationMs, isStuck } = loopState(status, nowMs);
  if (!isStuck) return undefined;
  return {
    code: "loop-stuck",
    severity: "critical",
    cause: "loop",
    text: status.firstReconcileAtMs === undefined
      ? `the first reconcile has not completed after ${formatDuration(durationMs)}`
      : `no reconcile has completed for ${formatDuration(durationMs)}`,
    sinceMs: nowMs - durationMs,
    remedy: "restart nydus-auth-agent and report a bug",
  };
}

function watchProblem({ subject, reason, detail }: StaleWatch): PlacedProblem {
  return {
    code: "watch-interrupted",
    cause: `watches ${reason}`,
    text: `failed to watch the Kubernetes API (${subject}; ${reason}: ${detail}); the last ` +
      "known state is used and changes are not detected",
    remedy: "retried automatically; see docs/kubernetes.md for the required permissions",
  };
}

function discoveryProblem(
  { source, subject, detail }: AgentStatus["problems"][number],
): PlacedProblem {
  return {
    code: "discovery-failed",
    cause: `discovery ${source} ${subject}`,
    text: `failed to list mounts from ${source} ${subject}: ${detail}`,
    remedy: "check whether nydus-snapshotter is running; known mounts are still renewed",
  };
}

/** Returns the problem of the CRI proxy, if there is one. */
export function criProxyProblem(
  criProxy: CriProxyStatus | undefined,
  nowMs: number,
): Problem | undefined {
  if (criProxy === undefined) return undefined;
  const base = { code: "pulls-not-observed", severity: "warning", cause: "cri-proxy" } as const;
  const effect = "credentials of CRI pulls are not observed";
  switch (criProxy.state) {
    case "switched-off":
      return undefined;
    case "not-serving": {
      const why = criProxy.detail === undefined ? "" : `: ${criProxy.detail}`;
      const text = `${effect}: the CRI proxy is not serving${why}`;
      return { ...base, text, remedy: "fix the cause and reload the agent" };
    }
    case "bypassed": {
      const { link, linkTarget, socket } = criProxy;
      const text = linkTarget === undefined
        ? `${effect}: ${link} does not exist and should point to ${socket}`
        : `${effect}: ${link} points to ${linkTarget} instead of ${socket}`;
      return { ...base, text, remedy: "run: nydus-auth-agent cri-proxy on" };
    }
    case "in-path": {
      const { idleSinceMs = nowMs } = criProxy;
      if (nowMs - idleSinceMs < CRI_PROXY_IDLE_MS) return undefined;
      const restored = criProxy.restoredImages === 0
        ? ""
        : `; ${criProxy.restoredImages} images were pulled through it before the agent ` +
          "restarted, so the kubelet is probably connected directly to the container runtime";
      const text = `${effect}: no client has been connected to the CRI proxy for ` +
        `${formatDuration(nowMs - idleSinceMs)}${restored}`;
      const remedy = "restart the kubelet; if that does not help, check that its image service " +
        `endpoint is unix://${criProxy.link ?? criProxy.socket}`;
      return { ...base, text, sinceMs: idleSinceMs, remedy };
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

function configurationProblem({ refusedConfig = [] }: AgentStatus): PlacedProblem | undefined {
  const [first] = refusedConfig;
  if (first === undefined) return undefined;
  const more = refusedConfig.length > 1 ? ` (and ${refusedConfig.length - 1} more)` : "";
  return {
    code: "config-rejected",
    cause: "configuration",
    text: "failed to reload the configuration; the previous configuration stays in effect: " +
      `${first}${more}`,
    remedy: "fix the configuration (check it with: nydus-auth-agent check) and reload the agent",
  };
}

function imageProblem(image: ImageStatus, nowMs: number): PlacedProblem | undefined {
  const { expiresAtMs, renewedAtMs, failures, lastFailure } = image;
  const name = imageLabel(image);
  const cause = credentialCause(image);
  const base = { cause, remedy: `run: nydus-auth-agent explain ${image.image}` };
  const why = lastFailure === undefined ? "" : ` (${lastFailure.reason}: ${lastFailure.detail})`;
  if (expiresAtMs !== undefined && expiresAtMs <= nowMs) {
    const text = `the credential of ${name} expired ${formatDuration(nowMs - expiresAtMs)} ago; ` +
      `reads of data that nydusd has not cached fail${why}`;
    const code = "credential-expired";
    return { ...base, code, severity: "critical", text, sinceMs: expiresAtMs };
  }
  const expires = expiresAtMs === undefined
    ? undefined
    : `expires in ${formatDuration(expiresAtMs - nowMs)}`;
  if (image.provider === "adopted") {
    const text = `no provider has a credential for ${name}; its mounts keep their current ` +
      `credential, which ${expires === undefined ? "" : `${expires} and `}is not renewed`;
    return { ...base, code: "credential-not-renewed", text };
  }
  if (failures === 0) return undefined;
  const attempts = failures === 1 ? "1 attempt" : `${failures} attempts`;
  if (image.provider === undefined) {
    if (lastFailure === undefined || reasonOutcome(lastFailure.reason) === "none") return undefined;
    const text = `failed to get a credential for ${name} after ${attempts}${why}`;
    return { ...base, code: "credential-missing", text };
  }
  const severity = image.window === "mandatory" ? "critical" : "warning";
  const validity = expires === undefined ? "its expiry is unknown" : `it ${expires}`;
  const renewed = renewedAtMs === undefined
    ? ""
    : `; last renewed ${formatDuration(Math.max(0, nowMs - renewedAtMs))} ago`;
  const text = `failed to renew the credential of ${name} after ${attempts}${why}; ${validity}` +
    renewed;
  return { ...base, code: "renewal-failed", severity, text };
}

/** Images have the same cause if the same plugin, or the same provider in the same way, fails. */
function credentialCause({ provider, plugin = "", lastFailure, ...image }: ImageStatus): string {
  if (lastFailure === undefined || provider === "adopted") return `image ${imageLabel(image)}`;
  const { reason } = lastFailure;
  return reason.startsWith("plugin-") ? `plugin ${plugin}` : `provider ${provider} ${reason}`;
}

/** Returns how a mount is named in findings. */
function mountLabel({ id }: DaemonStatus, { snapshotId, image }: InstanceStatus): string {
  return `mount ${snapshotId} of nydusd ${id}${image === undefined ? "" : ` (${image})`}`;
}

/** @param withoutCredential Images for which no provider and no mount has a credential. */
function deliveryProblem(
  daemon: DaemonStatus,
  instance: InstanceStatus,
  withoutCredential: ReadonlySet<string>,
): PlacedProblem | undefined {
  const { delivery, deliveryDetail, image, imageProblem } = instance;
  const mount = mountLabel(daemon, instance);
  const why = deliveryDetail === undefined ? "" : `: ${deliveryDetail}`;
  switch (delivery) {
    case "refused":
    case "unreachable": {
      const text = `failed to deliver the credential to ${mount} (${delivery})${why}`;
      const check = delivery === "refused"
        ? "check the log of that nydusd"
        : processRemedy(daemon.pid);
      const remedy = `retried automatically; ${check}`;
      return { code: "delivery-failed", cause: `delivery ${delivery}`, text, remedy };
    }
    case "unsupported": {
      const text = `nydusd does not support the form of the credential of ${mount}${why}`;
      const remedy = "configure a user name and a password for its registry";
      return { code: "delivery-unsupported", cause: "delivery unsupported", text, remedy };
    }
    case "adopted": {
      if (image === undefined || !withoutCredential.has(image)) break; // a finding of its image
      const text = `${mount} keeps its current credential, which is not renewed${why}`;
      const remedy = `run: nydus-auth-agent explain ${image}`;
      return { code: "credential-not-renewed", cause: `adopted ${image}`, text, remedy };
    }
    case "pending":
    case "stored":
    case "in-use":
    case "proven":
    case "file-only": // see outdatedCredentialProblem
    case "withheld": // see unapprovedHostProblem
    case "none":
      break;
    default:
      return delivery satisfies never;
  }
  if (image !== undefined || imageProblem === undefined) return undefined;
  const text = `the image of ${mount} is unknown: ${imageProblem}`;
  const remedy = "list that daemon and its image in the configuration";
  return { code: "image-unknown", cause: `image ${daemon.id}`, text, remedy };
}

/** Returns how to find out why a process does not respond. */
function processRemedy(pid: number | undefined): string {
  return pid === undefined
    ? "check whether its process is stopped"
    : `check whether its process is stopped (T) or blocked (D): ps -o stat= -p ${pid}`;
}

/** Reports a mount whose nydusd cannot be updated while it runs. */
function outdatedCredentialProblem(
  daemon: DaemonStatus,
  instance: InstanceStatus,
  nowMs: number,
): PlacedProblem | undefined {
  const { delivery, deliveryDetail = "", behindSinceMs, file } = instance;
  if (delivery !== "file-only") return undefined;
  const mount = mountLabel(daemon, instance);
  const code = "credential-outdated";
  if (file === "skipped" || file === "absent" || file === "secret-free") {
    const text = `no credential can be delivered to ${mount}: ${deliveryDetail}, and there is no ` +
      `configuration file to write it to (${file})`;
    const remedy = 'upgrade nydusd to 2.4.1 or later, or set delivery.config_files = "always"';
    return { code, cause: "no configuration file", text, remedy };
  }
  if (behindSinceMs === undefined) return undefined;
  const duration = formatDuration(Math.max(0, nowMs - behindSinceMs));
  const text = `${mount} has used an outdated credential for ${duration}, and its reads will ` +
    `fail when that expires: ${deliveryDetail}`;
  const remedy = "restart that nydusd, whose configuration file has the current credential, and " +
    "upgrade it to 2.4.1 or later";
  return { code, cause: "outdated nydusd", text, sinceMs: behindSinceMs, remedy };
}

/** Reports a mount that would not have its current credential after a restart of its nydusd. */
function configFileProblem(
  daemon: DaemonStatus,
  instance: InstanceStatus,
): PlacedProblem | undefined {
  const { delivery, file, deliveryDetail = "" } = instance;
  const hasCredential = delivery === "stored" || delivery === "in-use" || delivery === "proven";
  if (file !== "failed" || (!hasCredential && delivery !== "file-only")) return undefined;
  return {
    code: "config-file-failed",
    cause: "configuration files",
    text: `${mountLabel(daemon, instance)} would use an outdated credential after a restart of ` +
      `its nydusd: ${deliveryDetail}`,
    remedy: 'make that folder writable for the agent, or set delivery.config_files = "never"',
  };
}

function unapprovedHostProblem(
  daemon: DaemonStatus,
  instance: InstanceStatus,
): PlacedProblem | undefined {
  const { unapprovedHosts = [], delivery } = instance;
  if (unapprovedHosts.length === 0) return undefined;
  const action = delivery === "withheld"
    ? "the credential is withheld"
    : delivery === "adopted"
    ? "the mount keeps its current credential"
    : "the credential is delivered anyway";
  return {
    code: "unapproved-host",
    cause: `hosts ${unapprovedHosts.join(" ")} ${action}`,
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
function readProblem(
  daemon: DaemonStatus,
  instance: InstanceStatus,
  nowMs: number,
  unobservedPulls?: Problem,
): PlacedProblem | undefined {
  const { image = "", host, delivery, readsFailingSinceMs } = instance;
  if (readsFailingSinceMs === undefined) return undefined;
  const durationMs = Math.max(0, nowMs - readsFailingSinceMs);
  const credential = CREDENTIAL_TEXT[delivery] ?? "and its credential is not delivered yet";
  return {
    code: "reads-failing",
    cause: `reads ${host ?? image.split("/")[0]}`,
    severity: durationMs >= CRITICAL_READ_FAILURE_MS ? "critical" : "warning",
    text: `reads of ${mountLabel(daemon, instance)} have failed for ` +
      `${formatDuration(durationMs)}, ${credential}: the registry rejects them or is unreachable`,
    sinceMs: readsFailingSinceMs,
    remedy: "check the log of that nydusd for 401, 403 or a network error; see " +
      "docs/troubleshooting.md" +
      (unobservedPulls === undefined
        ? ""
        : `. Credentials of CRI pulls are not observed: ${unobservedPulls.remedy}`),
  };
}

function daemonProblem({ id, pid, state, stateDetail }: DaemonStatus): PlacedProblem | undefined {
  if (state !== "unresponsive" && state !== "broken") return undefined;
  const problem = state === "unresponsive" ? "does not respond" : "returns invalid responses";
  const why = stateDetail === undefined ? "" : ` (${stateDetail})`;
  return {
    code: "daemon-failing",
    cause: `nydusd ${state}`,
    text: `nydusd ${id} ${problem}${why}`,
    remedy: `retried on every reconcile; ${processRemedy(pid)}`,
  };
}

/** The levels of health, the worst first. */
export const RANK = { critical: 0, warning: 1, ok: 2 } as const;

/** Compares by severity, the worst first. */
export function bySeverity(
  a: Pick<Problem, "severity">,
  b: Pick<Problem, "severity">,
): number {
  return RANK[a.severity] - RANK[b.severity];
}
