import { basename, dirname } from "@std/path";
import { type ConfigProblem, defined } from "../model/mod.ts";
import { SINGLE_CONFIG_KEYS } from "./keys.ts";
import type {
  DaemonEntry,
  Findings,
  KeyPath,
  KeyValue,
  Origin,
  Setting,
  Settings,
  SnapshotterSettings,
} from "./settings.ts";
import { DAEMON_ID, type ListenAddress } from "./value_type.ts";

/** The validated settings of all sources. */
interface ConfigInput {
  /** Flags, environment and configuration file, merged. */
  readonly settings: Settings;
  readonly daemons: readonly DaemonEntry[];
  /** The snapshotter's configuration file; undefined if none was read. */
  readonly snapshotter?: SnapshotterSettings;
}

type DeepReadonly<T> = T extends object ? { readonly [K in keyof T]: DeepReadonly<T[K]> } : T;

/**
 * The agent's configuration: frozen, complete with defaults, durations in milliseconds. An optional
 * field is absent when its feature is disabled. The table of keys describes the settings.
 */
export type AgentConfig = DeepReadonly<ReturnType<typeof normalize>> & {
  /** The files that were read, in order. */
  readonly files: readonly string[];
  /** SHA-256 (hex) of the settings: equal for equal configurations from different sources. */
  readonly hash: string;
  /** Valid settings that are probably mistakes; printed by `check`, logged by `run`. */
  readonly warnings: readonly ConfigProblem[];
  /** Every setting as JSON, by key path, to compare configurations. */
  readonly values: Readonly<Record<string, string>>;
};

const DEFAULT_ROOT = "/var/lib/containerd/io.containerd.snapshotter.v1.nydus";
const DEFAULT_SYSTEM_SOCKET = "/run/containerd-nydus/system.sock";
const CONTAINERD_SOCKET = "/run/containerd/containerd.sock";
/** The snapshotter's default (`internal/constant/values.go`). */
const DEFAULT_DAEMON_TEMPLATE = "/etc/nydus/nydusd-config.json";
/** Upper limit of `check_interval` if it is derived from `credential_renewal_interval`. */
const MAX_DERIVED_CHECK_INTERVAL_MS = 60_000;

const INTERVAL_KEYS = [
  "renewal.check_interval",
  "renewal.lead_time",
  "renewal.refresh_interval",
] as const;

/**
 * Returns the default of a key.
 *
 * @throws {TypeError} If the key has none.
 */
export function defaultOf<Path extends KeyPath>(path: Path): KeyValue<Path> {
  const key = SINGLE_CONFIG_KEYS.find((key) => key.path === path);
  const result = key?.type.read(key.default);
  if (result?.kind === "value") return result.value as KeyValue<Path>;
  throw new TypeError(`failed to get the default of ${path}: it has none`);
}

/** Returns the value of a key, or its default. */
function valueOr<Path extends KeyPath>(settings: Settings, path: Path): KeyValue<Path> {
  return settings[path]?.value ?? defaultOf(path);
}

function warn(
  { warnings }: Findings,
  { origin }: { readonly origin: Origin },
  problem: string,
  remedy: string,
): void {
  warnings.push({ ...origin, problem, remedy });
}

/** Adds defaults, derives dependent settings, and validates rules across keys. */
export function normalize(input: ConfigInput, findings: Findings) {
  const { settings } = input;
  const server = serverAddress(settings, findings);
  return defined({
    node: normalizeNode(input, findings),
    renewal: normalizeRenewal(input, findings),
    providers: normalizeProviders(input, findings),
    delivery: normalizeDelivery(input, findings),
    server,
    metricsServer: metricsAddress(settings, server, findings),
    api: normalizeApi(settings, findings),
    log: { level: valueOr(settings, "log.level"), format: valueOr(settings, "log.format") },
  });
}

function normalizeNode(
  { settings, daemons, snapshotter }: ConfigInput,
  findings: Findings,
) {
  const systemSocket = settings["snapshotter.system_address"]?.value ??
    snapshotterSystemSocket(snapshotter);
  const mode = settings["snapshotter.daemon_mode"] ?? snapshotter?.daemon_mode;
  if (mode?.value === "none" && daemons.length === 0) {
    const problem = "the snapshotter starts no nydusd in this mode, and [[daemons]] is empty";
    const remedy = "add the daemons to [[daemons]], or do not run the agent on this node";
    warn(findings, mode, problem, remedy);
  }
  return defined({
    root: settings["snapshotter.root"]?.value ?? snapshotter?.root?.value ?? DEFAULT_ROOT,
    systemSocket: systemSocket === "off" ? undefined : systemSocket,
    fsDriver: settings["snapshotter.fs_driver"]?.value ??
      snapshotter?.["daemon.fs_driver"]?.value ?? "fusedev",
    daemonMode: mode === undefined || mode.value === "multiple" ? "dedicated" : mode.value,
    daemons: resolveDaemons(daemons, findings),
    mirrorsDir: snapshotter?.["remote.mirrors_config.dir"]?.value,
    daemonTemplate: snapshotter?.["daemon.nydusd_config"]?.value ?? DEFAULT_DAEMON_TEMPLATE,
    vpcRegistry: snapshotter?.["remote.convert_vpc_registry"]?.value ?? false,
  });
}

/**
 * The snapshotter serves its system API only with `enable = true`. If its file sets an address
 * without `enable`, the address is used: connecting to a missing socket does no harm.
 */
function snapshotterSystemSocket(snapshotter: SnapshotterSettings | undefined): string {
  if (snapshotter === undefined) return DEFAULT_SYSTEM_SOCKET;
  const address = snapshotter["system.address"]?.value;
  const enabled = snapshotter["system.enable"]?.value ?? address !== undefined;
  return enabled ? address ?? DEFAULT_SYSTEM_SOCKET : "off";
}

/** Gives each configured daemon an id, and rejects duplicate ids and sockets. */
function resolveDaemons(
  entries: readonly DaemonEntry[],
  { problems }: Findings,
) {
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
  return DAEMON_ID.read(name).kind === "value" ? name : `configured-${index + 1}`;
}

/** `credential_renewal_interval` sets three intervals, unless they are set explicitly. */
function normalizeRenewal(
  { settings, snapshotter }: ConfigInput,
  findings: Findings,
) {
  const interval = settings["renewal.credential_renewal_interval"];
  const enabled = interval?.value !== 0;
  const intervalMs = enabled ? interval?.value : undefined;
  const checkMs = intervalMs && Math.min(MAX_DERIVED_CHECK_INTERVAL_MS, intervalMs);
  const theirs = snapshotter?.["remote.auth.credential_renewal_interval"];
  if (enabled && theirs !== undefined && theirs.value > 0) {
    const remedy = `set credential_renewal_interval = "0s" there and restart the snapshotter`;
    warn(findings, theirs, "the snapshotter also renews credentials", remedy);
  }
  for (const path of enabled ? [] : INTERVAL_KEYS) {
    const setting = settings[path];
    if (setting === undefined) continue;
    const remedy = `remove it, or remove credential_renewal_interval = "0s"`;
    warn(findings, setting, "no effect, because renewal is disabled", remedy);
  }
  return {
    enabled,
    checkIntervalMs: settings["renewal.check_interval"]?.value ?? checkMs ??
      defaultOf("renewal.check_interval"),
    leadTimeMs: settings["renewal.lead_time"]?.value ?? intervalMs ??
      defaultOf("renewal.lead_time"),
    refreshIntervalMs: settings["renewal.refresh_interval"]?.value ?? intervalMs ??
      defaultOf("renewal.refresh_interval"),
  };
}

/** The agent's settings override the snapshotter's. */
function normalizeProviders(input: ConfigInput, findings: Findings) {
  const { settings, snapshotter } = input;
  const link = valueOr(settings, "providers.cri.link");
  return {
    timeoutMs: valueOr(settings, "providers.timeout"),
    labels: { enabled: valueOr(settings, "providers.labels.enabled") },
    cri: defined({
      enabled: settings["providers.cri.enabled"]?.value ??
        snapshotter?.["remote.auth.enable_cri_keychain"]?.value ?? false,
      socket: valueOr(settings, "providers.cri.socket"),
      link: link === "off" ? undefined : link,
      imageServiceSocket: settings["providers.cri.image_service"]?.value ??
        (snapshotter?.["remote.auth.image_service_address"]?.value || CONTAINERD_SOCKET),
      fallbackDelayMs: valueOr(settings, "providers.cri.fallback_delay"),
      persist: valueOr(settings, "providers.cri.persist"),
    }),
    docker: defined({
      enabled: valueOr(settings, "providers.docker.enabled"),
      configPath: settings["providers.docker.config"]?.value,
      helperTimeoutMs: valueOr(settings, "providers.docker.helper_timeout"),
    }),
    kubelet: normalizeKubelet(input, findings),
    kubesecret: normalizeKubesecret(input),
  };
}

function normalizeKubelet(
  { settings, snapshotter }: ConfigInput,
  findings: Findings,
) {
  const ours = [
    settings["providers.kubelet.config"],
    settings["providers.kubelet.bin_dir"],
  ] as const;
  const config = ours[0] ?? snapshotter?.["remote.auth.credential_provider_config"];
  const binDir = ours[1] ?? snapshotter?.["remote.auth.credential_provider_bin_dir"];
  const explicit = settings["providers.kubelet.enabled"];
  const theirs = snapshotter?.["remote.auth.enable_kubelet_credential_providers"];
  const enabled = explicit?.value ?? (ours.every(Boolean) || theirs?.value === true);
  const requirePath = (path: Setting | undefined, name: "config" | "bin_dir") => {
    if (path !== undefined || !enabled) return;
    const key = `providers.kubelet.${name}`;
    const theirKey = `remote.auth.credential_provider_${name}`;
    // An invalid path is reported already; it is not missing.
    if (findings.problems.some(({ place }) => place === key || place === theirKey)) return;
    findings.problems.push({
      file: (explicit ?? theirs)?.origin.file ?? "",
      place: explicit === undefined ? theirKey : key,
      problem: "missing, although the kubelet's plugins are enabled",
      remedy: `set ${key}, or disable the provider`,
    });
  };
  requirePath(config, "config");
  requirePath(binDir, "bin_dir");
  for (const path of enabled || explicit !== undefined ? [] : ours) {
    if (path === undefined) continue;
    const problem = "no effect, because the kubelet's plugins are not enabled";
    const remedy = "set both providers.kubelet.config and providers.kubelet.bin_dir";
    warn(findings, path, problem, remedy);
  }
  return {
    enabled,
    configPath: enabled ? config?.value ?? "" : "",
    binDir: enabled ? binDir?.value ?? "" : "",
    timeoutMs: valueOr(settings, "providers.kubelet.timeout"),
    maxParallel: valueOr(settings, "providers.kubelet.max_parallel"),
  };
}

function normalizeKubesecret(
  { settings, snapshotter }: ConfigInput,
) {
  return defined({
    enabled: settings["providers.kubesecret.enabled"]?.value ??
      snapshotter?.["remote.auth.enable_kubeconfig_keychain"]?.value ?? false,
    kubeconfigPath: settings["providers.kubesecret.kubeconfig"]?.value ??
      snapshotter?.["remote.auth.kubeconfig_path"]?.value,
    nodeName: settings["providers.kubesecret.node_name"]?.value,
  });
}

/**
 * With `enable_backend_source` and its system API, the snapshotter keeps credentials out of the
 * configuration files and serves them over the API. The agent then leaves the files unchanged.
 */
function normalizeDelivery(
  { settings, snapshotter }: ConfigInput,
  findings: Findings,
) {
  const source = snapshotter?.["experimental.enable_backend_source"];
  const secretFree = source?.value === true && snapshotter?.["system.enable"]?.value === true;
  const configFiles = settings["delivery.config_files"];
  if (secretFree && configFiles?.value === "always") {
    const problem = "writes credentials into files that the snapshotter keeps free of secrets " +
      `(enable_backend_source in ${source.origin.file})`;
    warn(findings, configFiles, problem, `use "never", or remove it`);
  }
  return {
    configFiles: configFiles?.value ?? (secretFree ? "never" : defaultOf("delivery.config_files")),
    allowedHosts: settings["delivery.allowed_hosts"]?.value ?? [],
    unapprovedHostPolicy: valueOr(settings, "delivery.unapproved_hosts"),
    verify: valueOr(settings, "delivery.verify"),
  };
}

function serverAddress(settings: Settings, findings: Findings): ListenAddress | undefined {
  const setting = settings["server.address"];
  const address = setting?.value ?? defaultOf("server.address");
  if (address === "off") return undefined;
  if (setting !== undefined && !isLoopback(address.hostname)) {
    const problem = `other machines may reach ${address.hostname}, and the status page shows ` +
      "images and daemons";
    const remedy = "listen on 127.0.0.1, and use server.metrics_address for scrapers and probes";
    warn(findings, setting, problem, remedy);
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
    const problem = `port ${port} is already used by server.address`;
    problems.push({ ...setting.origin, problem, remedy: "use another port" });
  }
  return setting.value;
}

function isLoopback(hostname: string): boolean {
  return hostname === "localhost" || /^127(\.\d{1,3}){3}$/.test(hostname) ||
    URL.parse(`http://[${hostname}]/`)?.hostname === "[::1]";
}

function normalizeApi(settings: Settings, findings: Findings) {
  const socket = valueOr(settings, "api.socket");
  const group = settings["api.group"];
  if (group !== undefined && socket === "off") {
    const problem = "no effect, because the local API is disabled";
    warn(findings, group, problem, "remove it, or set api.socket");
  }
  return defined({ socket: socket === "off" ? undefined : socket, group: group?.value });
}
