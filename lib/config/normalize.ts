import { basename, dirname } from "@std/path";
import { type ConfigProblem, defined, type Immutable } from "../model/mod.ts";
import { type DefaultedPath, DEFAULTS, type KeyValue } from "./keys.ts";
import type { DaemonEntry, Findings, Setting, Settings } from "./settings.ts";
import { DAEMON_ID, type ListenAddress, readValue } from "./value_type.ts";

/** The validated settings of all sources. */
interface ConfigInput {
  /** Flags, environment, configuration file and the snapshotter's, merged. */
  readonly settings: Settings;
  /** Without the snapshotter's. */
  readonly own: Settings;
  readonly daemons: readonly DaemonEntry[];
  /** Whether the snapshotter's file was read. */
  readonly hasSnapshotter: boolean;
}

/**
 * The agent's configuration: frozen, complete with defaults, durations in milliseconds. An optional
 * field is absent when its feature is disabled. The table of keys describes the settings.
 */
export type AgentConfig = Immutable<ReturnType<typeof normalize>> & {
  /** The files that were read, in order. */
  readonly files: readonly string[];
  /** SHA-256 (hex) of the settings: equal for equal configurations from different sources. */
  readonly hash: string;
  /** Valid settings that are probably mistakes; printed by `check`, logged by `run`. */
  readonly warnings: readonly ConfigProblem[];
  /** Every setting as JSON, by key path, to compare configurations. */
  readonly values: Readonly<Record<string, string>>;
};

const DEFAULT_SYSTEM_SOCKET = "/run/containerd-nydus/system.sock";
/** The snapshotter's default (`internal/constant/values.go`). */
const DEFAULT_DAEMON_TEMPLATE = "/etc/nydus/nydusd-config.json";
/** Upper limit of `check_interval` if it is derived from `credential_renewal_interval`. */
const MAX_DERIVED_CHECK_INTERVAL_MS = 60_000;

/** Returns the value of a key, or its default. */
function valueOr<Path extends DefaultedPath>(settings: Settings, path: Path): KeyValue<Path> {
  return settings[path]?.value ?? DEFAULTS[path];
}

function warn({ warnings }: Findings, { origin }: Setting, problem: string, remedy: string): void {
  warnings.push({ ...origin, problem, remedy });
}

/** Adds defaults, derives dependent settings, and validates rules across keys. */
export function normalize(input: ConfigInput, findings: Findings) {
  const { settings } = input;
  const value = <Path extends DefaultedPath>(path: Path) => valueOr(settings, path);
  const metricsServer = value("server.metrics_address");
  const apiSocket = value("api.socket");
  return defined({
    node: normalizeNode(input, findings),
    renewal: normalizeRenewal(settings, findings),
    providers: normalizeProviders(input, findings),
    delivery: normalizeDelivery(settings, findings),
    server: serverAddress(settings, findings),
    metricsServer: metricsServer === "off" ? undefined : metricsServer,
    api: defined({
      socket: apiSocket === "off" ? undefined : apiSocket,
      group: settings["api.group"]?.value,
    }),
    log: { level: value("log.level"), format: value("log.format") },
  });
}

function normalizeNode({ settings, daemons, hasSnapshotter }: ConfigInput, findings: Findings) {
  const systemSocket = settings["snapshotter.system_address"]?.value ??
    (hasSnapshotter ? snapshotterSystemSocket(settings) : DEFAULT_SYSTEM_SOCKET);
  const mode = settings["snapshotter.daemon_mode"];
  if (mode?.value === "none" && daemons.length === 0) {
    const problem = "the snapshotter starts no nydusd in this mode, and [[daemons]] is empty";
    const remedy = "add the daemons to [[daemons]], or do not run the agent on this node";
    warn(findings, mode, problem, remedy);
  }
  return defined({
    root: valueOr(settings, "snapshotter.root"),
    systemSocket: systemSocket === "off" ? undefined : systemSocket,
    fsDriver: valueOr(settings, "snapshotter.fs_driver"),
    daemonMode: mode === undefined || mode.value === "multiple" ? "dedicated" : mode.value,
    daemons: resolveDaemons(daemons, findings),
    mirrorsDir: settings["remote.mirrors_config.dir"]?.value,
    daemonTemplate: settings["daemon.nydusd_config"]?.value ?? DEFAULT_DAEMON_TEMPLATE,
    vpcRegistry: settings["remote.convert_vpc_registry"]?.value ?? false,
  });
}

/**
 * The snapshotter serves its system API only with `enable = true`. If its file sets an address
 * without `enable`, the address is used: connecting to a missing socket does no harm.
 */
function snapshotterSystemSocket(settings: Settings): string {
  const address = settings["system.address"]?.value;
  const enabled = settings["system.enable"]?.value ?? address !== undefined;
  return enabled ? address ?? DEFAULT_SYSTEM_SOCKET : "off";
}

/** Gives each configured daemon an id, and rejects duplicate ids and sockets. */
function resolveDaemons(entries: readonly DaemonEntry[], { problems }: Findings) {
  const places = new Map<string, string>();
  const claim = (entry: DaemonEntry, name: "id" | "socket", value: string, remedy: string) => {
    const place = `${entry.origin.place}.${name}`;
    const other = places.get(`${name} ${value}`);
    if (other === undefined) return void places.set(`${name} ${value}`, place);
    const problem = `${JSON.stringify(value)} is already used by ${other}`;
    problems.push({ file: entry.origin.file, place, problem, remedy });
  };
  return entries.flatMap((entry, index) => {
    const { socket, ref } = entry;
    if (socket === undefined || ref === undefined) return [];
    const id = entry.id ?? deriveId(socket, index);
    claim(entry, "socket", socket, "list each socket once");
    claim(entry, "id", id, `set a unique id, for example id = "${id}-${index + 1}"`);
    return [{ id, socket, ref }];
  });
}

/**
 * The snapshotter's sockets are `<root>/socket/<daemonID>/api.sock`, so the folder has the id; for
 * any other socket the id is the file name.
 */
function deriveId(socket: string, index: number): string {
  const file = basename(socket).replace(/\.sock$/, "");
  const name = /^api\d*$/.test(file) ? basename(dirname(socket)) : file;
  return readValue(DAEMON_ID, name).kind === "value" ? name : `configured-${index + 1}`;
}

/** `credential_renewal_interval` sets three intervals, unless they are set explicitly. */
function normalizeRenewal(settings: Settings, findings: Findings) {
  const interval = settings["renewal.credential_renewal_interval"]?.value;
  const enabled = interval !== 0;
  const intervalMs = enabled ? interval : undefined;
  const checkMs = intervalMs && Math.min(MAX_DERIVED_CHECK_INTERVAL_MS, intervalMs);
  const theirs = settings["remote.auth.credential_renewal_interval"];
  if (enabled && theirs !== undefined && theirs.value > 0) {
    const remedy = `set credential_renewal_interval = "0s" there and restart the snapshotter`;
    warn(findings, theirs, "the snapshotter also renews credentials", remedy);
  }
  return {
    enabled,
    checkIntervalMs: settings["renewal.check_interval"]?.value ?? checkMs ??
      DEFAULTS["renewal.check_interval"],
    leadTimeMs: settings["renewal.lead_time"]?.value ?? intervalMs ??
      DEFAULTS["renewal.lead_time"],
    refreshIntervalMs: settings["renewal.refresh_interval"]?.value ?? intervalMs ??
      DEFAULTS["renewal.refresh_interval"],
  };
}

function normalizeProviders(input: ConfigInput, findings: Findings) {
  const { settings } = input;
  const value = <Path extends DefaultedPath>(path: Path) => valueOr(settings, path);
  const link = value("providers.cri.link");
  return {
    timeoutMs: value("providers.timeout"),
    labels: { enabled: value("providers.labels.enabled") },
    cri: defined({
      enabled: value("providers.cri.enabled"),
      socket: value("providers.cri.socket"),
      link: link === "off" ? undefined : link,
      imageServiceSocket: value("providers.cri.image_service"),
      fallbackDelayMs: value("providers.cri.fallback_delay"),
      persist: value("providers.cri.persist"),
    }),
    docker: defined({
      enabled: value("providers.docker.enabled"),
      configPath: settings["providers.docker.config"]?.value,
      helperTimeoutMs: value("providers.docker.helper_timeout"),
    }),
    kubelet: normalizeKubelet(input, findings),
    kubesecret: defined({
      enabled: value("providers.kubesecret.enabled"),
      kubeconfigPath: settings["providers.kubesecret.kubeconfig"]?.value,
      nodeName: settings["providers.kubesecret.node_name"]?.value,
    }),
  };
}

/** The plugins are enabled explicitly, or by setting both paths here. */
function normalizeKubelet({ settings, own }: ConfigInput, findings: Findings) {
  const paths = ["providers.kubelet.config", "providers.kubelet.bin_dir"] as const;
  const switched = settings["providers.kubelet.enabled"];
  const enabled = own["providers.kubelet.enabled"]?.value ??
    (paths.every((path) => own[path] !== undefined) || switched?.value === true);
  const [configPath = "", binDir = ""] = paths.map((path) => settings[path]?.value);
  const { problems } = findings;
  // An invalid path is reported already; it is not missing.
  if (switched && enabled && (configPath === "" || binDir === "") && problems.length === 0) {
    const problem = "the kubelet's plugins are enabled without their configuration or folder";
    const remedy = `set ${paths.join(" and ")}, or disable the provider`;
    problems.push({ ...switched.origin, problem, remedy });
  }
  for (const path of enabled || own["providers.kubelet.enabled"] !== undefined ? [] : paths) {
    const setting = own[path];
    if (setting === undefined) continue;
    const problem = "no effect, because the kubelet's plugins are not enabled";
    warn(findings, setting, problem, `set ${paths.join(" and ")}`);
  }
  return {
    enabled,
    configPath: enabled ? configPath : "",
    binDir: enabled ? binDir : "",
    timeoutMs: valueOr(settings, "providers.kubelet.timeout"),
    maxParallel: valueOr(settings, "providers.kubelet.max_parallel"),
  };
}

/**
 * With `enable_backend_source` and its system API, the snapshotter keeps credentials out of the
 * configuration files and serves them over the API. The agent then leaves the files unchanged.
 */
function normalizeDelivery(settings: Settings, findings: Findings) {
  const source = settings["experimental.enable_backend_source"];
  const secretFree = source?.value === true && settings["system.enable"]?.value === true;
  const configFiles = settings["delivery.config_files"];
  if (secretFree && configFiles?.value === "always") {
    const problem = "writes credentials into files that the snapshotter keeps free of secrets " +
      `(enable_backend_source in ${source.origin.file})`;
    warn(findings, configFiles, problem, `use "never", or remove it`);
  }
  return {
    configFiles: configFiles?.value ?? (secretFree ? "never" : DEFAULTS["delivery.config_files"]),
    allowedHosts: settings["delivery.allowed_hosts"]?.value ?? [],
    unapprovedHostPolicy: valueOr(settings, "delivery.unapproved_hosts"),
    verify: valueOr(settings, "delivery.verify"),
  };
}

function serverAddress(settings: Settings, findings: Findings): ListenAddress | undefined {
  const setting = settings["server.address"];
  const address = setting?.value ?? DEFAULTS["server.address"];
  if (address === "off") return undefined;
  if (setting !== undefined && !isLoopback(address.hostname)) {
    const problem = `other machines may reach ${address.hostname}, and the status page shows ` +
      "images and daemons";
    const remedy = "listen on 127.0.0.1, and use server.metrics_address for scrapers and probes";
    warn(findings, setting, problem, remedy);
  }
  return address;
}

function isLoopback(hostname: string): boolean {
  return hostname === "localhost" || /^127(\.\d{1,3}){3}$/.test(hostname) ||
    URL.parse(`http://[${hostname}]/`)?.hostname === "[::1]";
}
