import type {
  AgentConfig,
  ApiConfig,
  DeliveryConfig,
  LogConfig,
  NodeConfig,
  RenewalConfig,
} from "./agent_config.ts";
import { resolveDaemons } from "./daemons.ts";
import type { ListenAddress } from "./key_types.ts";
import { normalizeProviders } from "./normalize_providers.ts";
import type { ConfigInput } from "./config_input.ts";
import { defaultOf, type Findings, type Settings, valueOr } from "./settings.ts";
import type { SnapshotterSettings } from "./snapshotter.ts";

/** The configuration but for what tells where it came from. */
export type ConfigMeaning = Omit<AgentConfig, "files" | "hash" | "warnings">;

const DEFAULT_ROOT = "/var/lib/containerd/io.containerd.snapshotter.v1.nydus";
const DEFAULT_SYSTEM_SOCKET = "/run/containerd-nydus/system.sock";
/** What the snapshotter takes when its file names none (`internal/constant/values.go`). */
const DEFAULT_DAEMON_TEMPLATE = "/etc/nydus/nydusd-config.json";
const MAX_KNOB_CHECK_INTERVAL_MS = 60_000;

/** Fills in defaults, splits the one knob, and checks what concerns several keys. */
export function normalize(said: ConfigInput, findings: Findings): ConfigMeaning {
  const address = listenAddress(said.settings, findings);
  const metrics = metricsAddress(said.settings, address, findings);
  return {
    node: normalizeNode(said, findings),
    renewal: normalizeRenewal(said, findings),
    providers: normalizeProviders(said, findings),
    delivery: normalizeDelivery(said, findings),
    ...(address === undefined ? {} : { server: address }),
    ...(metrics === undefined ? {} : { metricsServer: metrics }),
    api: normalizeApi(said.settings, findings),
    log: normalizeLog(said.settings),
  };
}

function normalizeNode(
  { settings, daemons, snapshotter }: ConfigInput,
  findings: Findings,
): NodeConfig {
  const systemSocket = settings["snapshotter.system_address"]?.value ??
    snapshotterSystemSocket(snapshotter);
  const mode = settings["snapshotter.daemon_mode"] ?? snapshotter?.daemon_mode;
  if (mode?.value === "none" && daemons.length === 0) {
    findings.warnings.push({
      ...mode.origin,
      problem: "in this mode the snapshotter runs no nydusd, and no daemon is listed by hand",
      remedy: "list daemons in [[daemons]], or do without the agent on this node",
    });
  }
  const mirrorsDir = snapshotter?.["remote.mirrors_config.dir"]?.value;
  return {
    root: settings["snapshotter.root"]?.value ?? snapshotter?.root?.value ?? DEFAULT_ROOT,
    ...(systemSocket === "off" ? {} : { systemSocket }),
    fsDriver: settings["snapshotter.fs_driver"]?.value ??
      snapshotter?.["daemon.fs_driver"]?.value ?? "fusedev",
    daemonMode: mode === undefined || mode.value === "multiple" ? "dedicated" : mode.value,
    daemons: resolveDaemons(daemons, findings),
    ...(mirrorsDir === undefined ? {} : { mirrorsDir }),
    daemonTemplate: snapshotter?.["daemon.nydusd_config"]?.value ?? DEFAULT_DAEMON_TEMPLATE,
    vpcRegistry: snapshotter?.["remote.convert_vpc_registry"]?.value ?? false,
  };
}

/**
 * The snapshotter serves its system API only with `enable = true`. A file that names a socket and
 * leaves `enable` out is taken at its word: asking a socket that is not there does no harm.
 */
function snapshotterSystemSocket(snapshotter: SnapshotterSettings | undefined): string {
  if (snapshotter === undefined) return DEFAULT_SYSTEM_SOCKET;
  const address = snapshotter["system.address"]?.value;
  const enabled = snapshotter["system.enable"]?.value ?? address !== undefined;
  return enabled ? address ?? DEFAULT_SYSTEM_SOCKET : "off";
}

/** Upstream's one knob is three settings here; each that is set by itself stays as it is set. */
function normalizeRenewal(
  { settings, snapshotter }: ConfigInput,
  { warnings }: Findings,
): RenewalConfig {
  const knob = settings["renewal.credential_renewal_interval"];
  const enabled = knob?.value !== 0;
  const knobMs = enabled ? knob?.value : undefined;
  const checkMs = knobMs === undefined ? undefined : Math.min(MAX_KNOB_CHECK_INTERVAL_MS, knobMs);
  const theirs = snapshotter?.["remote.auth.credential_renewal_interval"];
  if (enabled && theirs !== undefined && theirs.value > 0) {
    warnings.push({
      ...theirs.origin,
      problem: "the snapshotter renews credentials too, so both would",
      remedy: `set credential_renewal_interval = "0s" there and restart the snapshotter`,
    });
  }
  const idle = TIMING_KEYS.map((path) => settings[path]).filter((setting) => !!setting);
  for (const { origin } of enabled ? [] : idle) {
    warnings.push({
      ...origin,
      problem: "it has no effect, because renewal is off",
      remedy: `remove it, or remove credential_renewal_interval = "0s"`,
    });
  }
  return {
    enabled,
    checkIntervalMs: settings["renewal.check_interval"]?.value ?? checkMs ??
      defaultOf("renewal.check_interval"),
    leadTimeMs: settings["renewal.lead_time"]?.value ?? knobMs ?? defaultOf("renewal.lead_time"),
    refreshIntervalMs: settings["renewal.refresh_interval"]?.value ?? knobMs ??
      defaultOf("renewal.refresh_interval"),
  };
}

const TIMING_KEYS = [
  "renewal.check_interval",
  "renewal.lead_time",
  "renewal.refresh_interval",
] as const;

/**
 * With `enable_backend_source` (and its system API, which serves the credentials then) the
 * snapshotter writes files free of secrets: ours to keep so.
 */
function normalizeDelivery(
  { settings, snapshotter }: ConfigInput,
  { warnings }: Findings,
): DeliveryConfig {
  const source = snapshotter?.["experimental.enable_backend_source"];
  const secretFree = source?.value === true && snapshotter?.["system.enable"]?.value === true;
  const configFiles = settings["delivery.config_files"];
  if (secretFree && configFiles !== undefined && configFiles.value === "always") {
    warnings.push({
      ...configFiles.origin,
      problem: "it writes credentials into files that the snapshotter keeps free of secrets " +
        `(enable_backend_source in ${source.origin.file})`,
      remedy: `use "never", or remove it`,
    });
  }
  return {
    configFiles: configFiles?.value ?? (secretFree ? "never" : defaultOf("delivery.config_files")),
    allowedHosts: settings["delivery.allowed_hosts"]?.value ?? [],
    unapprovedHostPolicy: valueOr(settings, "delivery.unapproved_hosts"),
    verify: valueOr(settings, "delivery.verify"),
  };
}

function listenAddress(settings: Settings, { warnings }: Findings): ListenAddress | undefined {
  const setting = settings["server.address"];
  const address = setting?.value ?? defaultOf("server.address");
  if (address === "off") return undefined;
  if (setting !== undefined && !isLoopback(address.hostname)) {
    warnings.push({
      ...setting.origin,
      problem:
        `${address.hostname} may be reached from other machines, and the status page names ` +
        "images and daemons",
      remedy: "listen on 127.0.0.1, and use server.metrics_address for scrapers and probes",
    });
  }
  return address;
}

function metricsAddress(
  settings: Settings,
  server: ListenAddress | undefined,
  { problems }: Findings,
): ListenAddress | undefined {
  const setting = settings["server.metrics_address"];
  if (setting === undefined || setting.value === "off") return undefined;
  const { hostname, port } = setting.value;
  const isSame = [server?.hostname, "0.0.0.0", "::"].includes(hostname);
  if (port !== 0 && port === server?.port && isSame) {
    problems.push({
      ...setting.origin,
      problem: `port ${port} is that of server.address`,
      remedy: "choose another port",
    });
  }
  return setting.value;
}

function isLoopback(hostname: string): boolean {
  return hostname === "localhost" || /^127(\.\d{1,3}){3}$/.test(hostname) ||
    URL.parse(`http://[${hostname}]/`)?.hostname === "[::1]";
}

function normalizeApi(settings: Settings, { warnings }: Findings): ApiConfig {
  const socket = valueOr(settings, "api.socket");
  const group = settings["api.group"];
  if (group !== undefined && socket === "off") {
    warnings.push({
      ...group.origin,
      problem: "it has no effect, because the local API is off",
      remedy: "remove it, or set api.socket",
    });
  }
  return {
    ...(socket !== "off" && { socket }),
    ...(group !== undefined && { group: group.value }),
  };
}

function normalizeLog(settings: Settings): LogConfig {
  return { level: valueOr(settings, "log.level"), format: valueOr(settings, "log.format") };
}
