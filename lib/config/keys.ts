import { parse } from "valibot";
import {
  ADDRESS,
  ANY_DURATION,
  BOOLEAN,
  choice,
  DAEMON_ID,
  duration,
  GROUP,
  HOST_PATTERNS,
  integer,
  KUBE_NAME,
  PATH,
  PATH_OR_OFF,
  type RawValue,
  REFERENCE,
  type ValueType,
} from "./value_type.ts";

/** What a key has beside its path, its type and its description. */
interface KeyDetails {
  /** As in TOML; undefined if it depends on something else, described in `defaultNote`. */
  readonly default?: RawValue;
  readonly defaultNote?: string;
  /** The key of the snapshotter's configuration file that sets it, unless it is set explicitly. */
  readonly snapshotter?: string;
  /** A valid value, for messages and the sample; by default the default. */
  readonly example?: RawValue;
  /** Command-line option in camel case, if there is one. */
  readonly flag?: string;
}

/** A key of the configuration file, as used by validation, reference and completions. */
export interface ConfigKey<Path extends string = string, Value = unknown> extends KeyDetails {
  /** Key path; `daemons[].ref` is the `ref` of a `[[daemons]]` entry. */
  readonly path: Path;
  readonly type: ValueType<Value>;
  readonly description: string;
  readonly example: RawValue;
  /** Environment variable; undefined for a key that only a file can set. */
  readonly env: string | undefined;
}

/** Prefix of the agent's environment variables. */
export const ENVIRONMENT_PREFIX = "NYDUS_AUTH_AGENT_";

/** Returns the variable of a key: `renewal.check_interval` is `…_RENEWAL_CHECK_INTERVAL`. */
function environmentName(path: string): string {
  return `${ENVIRONMENT_PREFIX}${path.replaceAll(".", "_").toUpperCase()}`;
}

/** Environment variable with the path of the configuration file, like the flag `--config`. */
export const CONFIG_ENVIRONMENT_NAME = environmentName("config");

/** Returns the option of a flag: `checkInterval` is `--check-interval`. */
export function flagName(flag: string): string {
  return `--${flag.replaceAll(/[A-Z]/g, (letter) => `-${letter.toLowerCase()}`)}`;
}

/** Returns a value in TOML notation. */
export function tomlLiteral(value: RawValue): string {
  if (typeof value === "object") return `[${value.map(tomlLiteral).join(", ")}]`;
  return typeof value === "string" ? JSON.stringify(value) : String(value);
}

function key<const Path extends string, Value, const Details extends KeyDetails>(
  path: Path,
  type: ValueType<Value>,
  description: string,
  details: Details,
): ConfigKey<Path, Value> & Details {
  const onlyInFile = path === "version" || path.includes("[]");
  const env = onlyInFile ? undefined : environmentName(path);
  const example = details.example ?? details.default ?? "";
  return { path, type, description, ...details, example, env };
}

const PROVIDER_LIMIT = duration("100ms", "10m");
/** Every key with a single value: all except those of `[[daemons]]`. */
export const SINGLE_CONFIG_KEYS = [
  key("version", integer(1, 1), "Version of the file format.", { default: 1 }),
  key(
    "snapshotter.config",
    PATH_OR_OFF,
    "The snapshotter's configuration file, whose settings are used as defaults. " +
      `"off" ignores it.`,
    { default: "/etc/nydus/config.toml", defaultNote: "if it exists", flag: "snapshotterConfig" },
  ),
  key(
    "snapshotter.root",
    PATH,
    "The snapshotter's root folder, with the sockets and configuration files of the daemons.",
    {
      snapshotter: "root",
      default: "/var/lib/containerd/io.containerd.snapshotter.v1.nydus",
      flag: "snapshotterRoot",
    },
  ),
  key(
    "snapshotter.system_address",
    PATH_OR_OFF,
    `Socket of the snapshotter's system API. With "off", daemons are discovered only ` +
      "in the root folder.",
    {
      defaultNote: "the snapshotter's `[system] address`",
      example: "/run/containerd-nydus/system.sock",
      flag: "systemAddress",
    },
  ),
  key(
    "snapshotter.fs_driver",
    choice("fusedev", "fscache", "blockdev", "nodev", "proxy"),
    "Driver of the daemons, which determines the format of their configuration files.",
    { snapshotter: "daemon.fs_driver", default: "fusedev", flag: "fsDriver" },
  ),
  key(
    "snapshotter.daemon_mode",
    choice("multiple", "dedicated", "shared", "none"),
    `One daemon per RAFS instance ("dedicated", formerly "multiple"), or one for all ` +
      `("shared").`,
    { snapshotter: "daemon_mode", default: "dedicated", flag: "daemonMode" },
  ),
  key(
    "renewal.check_interval",
    duration("100ms", "1h"),
    "Interval between two reconciles of the credentials in the daemons. Changes of " +
      "files and sockets trigger an earlier one.",
    { default: "1m", flag: "checkInterval" },
  ),
  key(
    "renewal.lead_time",
    duration("100ms", "168h", "auto"),
    `Time before expiry at which a credential is renewed. "auto" is a third of its lifetime.`,
    { default: "auto", flag: "leadTime" },
  ),
  key(
    "renewal.refresh_interval",
    duration("100ms", "168h"),
    "Interval between two executions of a plugin or credential helper whose " +
      "credential has no known lifetime.",
    { default: "4m", flag: "refreshInterval" },
  ),
  key(
    "renewal.credential_renewal_interval",
    duration("100ms", "168h", "0s"),
    `The snapshotter's setting. "0s" disables renewal and delivery. Another value is ` +
      "the default of `lead_time`, `refresh_interval` and, up to 1m, `check_interval`.",
    { defaultNote: "not set", example: "10m", flag: "credentialRenewalInterval" },
  ),
  key(
    "providers.timeout",
    PROVIDER_LIMIT,
    "How long a running agent waits for a provider, plugin or credential helper " +
      "before it queries the next one. A late answer is still used.",
    { default: "5s" },
  ),
  key("providers.labels.enabled", BOOLEAN, "Use the credentials in the pull labels of a request.", {
    default: true,
  }),
  key(
    "providers.cri.enabled",
    BOOLEAN,
    "Use the credentials of CRI pulls, observed by the CRI proxy.",
    { snapshotter: "remote.auth.enable_cri_keychain", default: false },
  ),
  key("providers.cri.socket", PATH, "Socket on which the CRI proxy listens.", {
    default: "/run/nydus-auth-agent/cri.sock",
  }),
  key(
    "providers.cri.link",
    PATH_OR_OFF,
    "Image service endpoint for the kubelet: a symbolic link to the CRI proxy, or to " +
      `the image service while the agent is stopped. "off" creates none.`,
    { default: "/run/nydus-auth-agent-cri/image.sock" },
  ),
  key(
    "providers.cri.image_service",
    PATH,
    "Socket of the image service that the CRI proxy forwards requests to.",
    {
      snapshotter: "remote.auth.image_service_address",
      default: "/run/containerd/containerd.sock",
    },
  ),
  key(
    "providers.cri.fallback_delay",
    duration("1s", "1m", "0s"),
    "How long `providers.cri.link` points to the CRI proxy after the agent has " +
      "stopped; the service unit then switches it. With 0s the agent does (docs/cri-proxy.md).",
    { default: "0s" },
  ),
  key(
    "providers.cri.persist",
    BOOLEAN,
    "Keep observed credentials across restarts, in a file (mode 0600) next to " +
      "`providers.cri.socket`; only on tmpfs, never on a disk.",
    { default: true },
  ),
  key(
    "providers.docker.enabled",
    BOOLEAN,
    "Use docker's configuration file and its credential helpers.",
    { default: true },
  ),
  key("providers.docker.config", PATH, "Path of docker's configuration file.", {
    defaultNote: "`$DOCKER_CONFIG/config.json`, else `~/.docker/config.json`",
    example: "/var/lib/kubelet/config.json",
    flag: "dockerConfig",
  }),
  key(
    "providers.docker.helper_timeout",
    PROVIDER_LIMIT,
    "Time after which a credential helper is killed.",
    { default: "30s" },
  ),
  key("providers.kubelet.enabled", BOOLEAN, "Execute the kubelet's credential provider plugins.", {
    snapshotter: "remote.auth.enable_kubelet_credential_providers",
    defaultNote: "true if both paths are set here",
    example: false,
  }),
  key(
    "providers.kubelet.config",
    PATH,
    "The `CredentialProviderConfig` in YAML or JSON: a file or a folder of files.",
    {
      snapshotter: "remote.auth.credential_provider_config",
      example: "/etc/nydus/credential-provider-config.yaml",
      flag: "credentialProviderConfig",
    },
  ),
  key("providers.kubelet.bin_dir", PATH, "Folder of the plugins.", {
    snapshotter: "remote.auth.credential_provider_bin_dir",
    example: "/usr/local/bin/credential-providers",
    flag: "credentialProviderBinDir",
  }),
  key(
    "providers.kubelet.timeout",
    PROVIDER_LIMIT,
    "Time after which a plugin and its child processes are killed.",
    { default: "1m" },
  ),
  key(
    "providers.kubelet.max_parallel",
    integer(1, 64),
    "Maximum number of plugins that run in parallel.",
    { default: 4 },
  ),
  key("providers.kubesecret.enabled", BOOLEAN, "Use the pull secrets in the Kubernetes API.", {
    snapshotter: "remote.auth.enable_kubeconfig_keychain",
    default: false,
  }),
  key("providers.kubesecret.kubeconfig", PATH, "Kubeconfig file for the Kubernetes API.", {
    snapshotter: "remote.auth.kubeconfig_path",
    defaultNote: "`$KUBECONFIG`, `~/.kube/config`, or the pod's service account",
    example: "/etc/kubernetes/kubelet.conf",
    flag: "kubeconfig",
  }),
  key("providers.kubesecret.node_name", KUBE_NAME, "Name of this node in Kubernetes.", {
    defaultNote: "`$NODE_NAME`, else the host name",
    example: "node-1",
  }),
  key(
    "delivery.config_files",
    choice("auto", "always", "never"),
    "Whether to update the daemons' configuration files, so that a restarted nydusd " +
      `has the current credential. "auto": files that contain one.`,
    {
      default: "auto",
      defaultNote: `"never" if the snapshotter's \`enable_backend_source\` is set`,
      flag: "configFiles",
    },
  ),
  key(
    "delivery.allowed_hosts",
    HOST_PATTERNS,
    "Hosts, with their ports, that may receive the credential of any image: mirrors, " +
      "caches and proxies, in addition to the snapshotter's mirrors and proxy.",
    { defaultNote: "none", example: ["mirror.example.com", "*.cache.example.com:5000"] },
  ),
  key(
    "delivery.unapproved_hosts",
    choice("warn", "refuse"),
    "Policy for a host that is neither the image's registry nor approved: " +
      `"warn" delivers the credential and logs a warning once; "refuse" withholds it.`,
    { default: "warn" },
  ),
  key(
    "delivery.verify",
    choice("never", "as-needed", "on-change"),
    `When to probe the registry with a credential. "as-needed": if several match, if ` +
      `a user changed one, or if reads fail. "on-change": every new credential.`,
    { default: "as-needed", flag: "verify" },
  ),
  key(
    "server.address",
    ADDRESS,
    "Address of the status page, JSON, metrics and health probes; use loopback. " +
      `"off" disables it; port 0 selects a free port.`,
    { default: "127.0.0.1:9111", flag: "address" },
  ),
  key(
    "server.metrics_address",
    ADDRESS,
    "Additional address with only metrics and health probes, for other machines. " +
      "Metrics contain image names.",
    { default: "off", example: "0.0.0.0:9112" },
  ),
  key(
    "api.socket",
    PATH_OR_OFF,
    "Unix socket (mode 0600) of the local API, with which programs on this node get " +
      `and store credentials. "off" disables it.`,
    { default: "/run/nydus-auth-agent/api.sock", flag: "apiSocket" },
  ),
  key(
    "api.group",
    GROUP,
    "Group whose members may use the socket (mode 0660), and so read every " +
      "credential. Requires a systemd drop-in (docs/api.md).",
    { defaultNote: "only the agent's user", example: "nydus-auth" },
  ),
  key("log.level", choice("debug", "info", "warning", "error"), "Lowest severity that is logged.", {
    default: "info",
    flag: "logLevel",
  }),
  key("log.format", choice("text", "json"), "Format of log lines.", {
    default: "text",
    flag: "logFormat",
  }),
] as const;

/** The keys of a `[[daemons]]` entry. */
const DAEMON_KEYS = [
  key(
    "daemons[].socket",
    PATH,
    "API socket of a nydusd without a snapshotter, or a glob of sockets.",
    { defaultNote: "required", example: "/run/nydusd/api.sock" },
  ),
  key("daemons[].ref", REFERENCE, "Reference of the image that its mount serves.", {
    defaultNote: "required",
    example: "registry.example.com/app/web:v1",
  }),
  key("daemons[].id", DAEMON_ID, "Name in logs, metrics and status.", {
    defaultNote: "derived from the socket path",
    example: "web",
  }),
] as const;

/** Every key of the configuration file, in the order of the reference. */
export const CONFIG_KEYS: readonly ConfigKey[] = [...SINGLE_CONFIG_KEYS, ...DAEMON_KEYS];

/**
 * Settings that are read from the snapshotter's file only. Names, defaults and meanings are those of
 * https://github.com/containerd/nydus-snapshotter/blob/a7a1f071/config/config.go
 */
export const SNAPSHOTTER_KEYS = [
  snapshotterKey("daemon.nydusd_config", PATH),
  snapshotterKey("system.enable", BOOLEAN),
  snapshotterKey("system.address", PATH),
  snapshotterKey("remote.convert_vpc_registry", BOOLEAN),
  snapshotterKey("remote.auth.credential_renewal_interval", ANY_DURATION),
  snapshotterKey("remote.mirrors_config.dir", PATH),
  snapshotterKey("experimental.enable_backend_source", BOOLEAN),
] as const;

function snapshotterKey<const Path extends string, Value>(path: Path, type: ValueType<Value>) {
  return { path, snapshotter: path, type };
}

type SingleKey = (typeof SINGLE_CONFIG_KEYS)[number] | (typeof SNAPSHOTTER_KEYS)[number];

/** Path of a key with a single value, of the agent or of the snapshotter. */
export type KeyPath = SingleKey["path"];
/** Path of a key with a default. */
export type DefaultedPath = Extract<SingleKey, { readonly default: RawValue }>["path"];
/** Type of a key's parsed value. */
export type KeyValue<Path extends KeyPath> = Extract<SingleKey, { path: Path }> extends
  { readonly type: ValueType<infer Value> } ? Value : never;

/** The defaults of keys, parsed. */
export const DEFAULTS = Object.fromEntries(
  SINGLE_CONFIG_KEYS.flatMap(({ path, type, default: value }: ConfigKey) =>
    value === undefined ? [] : [[path, parse(type.schema, value)]]
  ),
) as { readonly [Path in DefaultedPath]: KeyValue<Path> };
