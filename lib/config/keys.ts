import { type ConfigKey, key } from "./key.ts";
import { PROVIDER_KEYS } from "./provider_keys.ts";

/** The snapshotter's drivers. */
export const FS_DRIVERS = ["fusedev", "fscache", "blockdev", "nodev", "proxy"] as const;
/** The snapshotter's daemon modes; `multiple` is the older name of `dedicated`. */
export const DAEMON_MODES = ["multiple", "dedicated", "shared", "none"] as const;

const WEEK_MS = 168 * 3_600_000;
const HOUR_MS = 3_600_000;

const SNAPSHOTTER_KEYS = [
  key("version", { kind: "integer", min: 1, max: 1 }, {
    default: 1,
    description: "Version of the file format.",
  }),
  key("snapshotter.config", { kind: "path", off: true }, {
    default: "/etc/nydus/config.toml",
    defaultNote: "if it exists",
    flag: "snapshotterConfig",
    description: "The snapshotter's configuration file, whose settings are used as defaults. " +
      `"off" ignores it.`,
  }),
  key("snapshotter.root", { kind: "path" }, {
    defaultNote: "the snapshotter's `root`",
    example: "/var/lib/containerd/io.containerd.snapshotter.v1.nydus",
    flag: "root",
    field: "node.root",
    description:
      "The snapshotter's root folder, with the sockets and configuration files of the daemons.",
  }),
  key("snapshotter.system_address", { kind: "path", off: true }, {
    defaultNote: "the snapshotter's `[system] address`",
    example: "/run/containerd-nydus/system.sock",
    flag: "systemAddress",
    field: "node.systemSocket",
    description:
      `Socket of the snapshotter's system API. With "off", daemons are discovered only ` +
      "in the root folder.",
  }),
  key("snapshotter.fs_driver", { kind: "choice", choices: FS_DRIVERS }, {
    defaultNote: "the snapshotter's `[daemon] fs_driver`",
    example: "fusedev",
    flag: "fsDriver",
    field: "node.fsDriver",
    description: "Driver of the daemons, which determines the format of their configuration files.",
  }),
  key("snapshotter.daemon_mode", { kind: "choice", choices: DAEMON_MODES }, {
    defaultNote: "the snapshotter's `daemon_mode`",
    example: "dedicated",
    flag: "daemonMode",
    field: "node.daemonMode",
    description:
      `One daemon per RAFS instance ("dedicated", formerly "multiple"), or one for all ` +
      `("shared").`,
  }),
] as const;

const RENEWAL_KEYS = [
  key("renewal.check_interval", { kind: "duration", minMs: 100, maxMs: HOUR_MS }, {
    default: "1m",
    flag: "checkInterval",
    field: "renewal.checkIntervalMs",
    description: "Interval between two reconciles of the credentials in the daemons. Changes of " +
      "files and sockets trigger an earlier one.",
  }),
  key("renewal.lead_time", { kind: "duration", minMs: 100, maxMs: WEEK_MS, auto: true }, {
    default: "auto",
    flag: "leadTime",
    field: "renewal.leadTimeMs",
    description:
      `Time before expiry at which a credential is renewed. "auto" is a third of its lifetime.`,
  }),
  key("renewal.refresh_interval", { kind: "duration", minMs: 100, maxMs: WEEK_MS }, {
    default: "4m",
    flag: "refreshInterval",
    field: "renewal.refreshIntervalMs",
    description: "Interval between two executions of a plugin or credential helper whose " +
      "credential has no known lifetime.",
  }),
  key("renewal.credential_renewal_interval", {
    kind: "duration",
    minMs: 100,
    maxMs: WEEK_MS,
    zero: true,
  }, {
    defaultNote: "not set",
    example: "10m",
    flag: "credentialRenewalInterval",
    field: "renewal.enabled",
    description:
      `The snapshotter's setting. "0s" disables renewal and delivery. Another value is ` +
      "the default of `lead_time`, `refresh_interval` and, up to 1m, `check_interval`.",
  }),
] as const;

const OUTPUT_KEYS = [
  key("delivery.config_files", { kind: "choice", choices: ["auto", "always", "never"] }, {
    default: "auto",
    defaultNote: `"never" if the snapshotter's \`enable_backend_source\` is set`,
    flag: "configFiles",
    field: "delivery.configFiles",
    description: "Whether to update the daemons' configuration files, so that a restarted nydusd " +
      `has the current credential. "auto": files that contain one.`,
  }),
  key("delivery.allowed_hosts", { kind: "host-patterns", max: 256 }, {
    defaultNote: "none",
    example: ["mirror.example.com", "*.cache.example.com:5000"],
    field: "delivery.allowedHosts",
    description:
      "Hosts, with their ports, that may receive the credential of any image: mirrors, " +
      "caches and proxies, in addition to the snapshotter's mirrors and proxy.",
  }),
  key("delivery.unapproved_hosts", { kind: "choice", choices: ["warn", "refuse"] }, {
    default: "warn",
    field: "delivery.unapprovedHostPolicy",
    description: "Policy for a host that is neither the image's registry nor approved: " +
      `"warn" delivers the credential and logs a warning once; "refuse" withholds it.`,
  }),
  key("delivery.verify", { kind: "choice", choices: ["never", "as-needed", "on-change"] }, {
    default: "as-needed",
    flag: "verify",
    field: "delivery.verify",
    description:
      `When to probe the registry with a credential. "as-needed": if several match, if ` +
      `a user changed one, or if reads fail. "on-change": every new credential.`,
  }),
  key("server.address", { kind: "address" }, {
    default: "127.0.0.1:9111",
    flag: "address",
    field: "server",
    description: "Address of the status page, JSON, metrics and health probes; use loopback. " +
      `"off" disables it; port 0 selects a free port.`,
  }),
  key("server.metrics_address", { kind: "address" }, {
    default: "off",
    example: "0.0.0.0:9112",
    field: "metricsServer",
    description: "Additional address with only metrics and health probes, for other machines. " +
      "Metrics contain image names.",
  }),
  key("api.socket", { kind: "path", off: true }, {
    default: "/run/nydus-auth-agent/api.sock",
    flag: "apiSocket",
    field: "api.socket",
    description: "Unix socket (mode 0600) of the local API, with which programs on this node get " +
      `and store credentials. "off" disables it.`,
  }),
  key("api.group", { kind: "group" }, {
    defaultNote: "only the agent's user",
    example: "nydus-auth",
    field: "api.group",
    description: "Group whose members may use the socket (mode 0660), and so read every " +
      "credential. Requires a systemd drop-in (docs/api.md).",
  }),
  key("log.level", { kind: "choice", choices: ["debug", "info", "warning", "error"] }, {
    default: "info",
    flag: "logLevel",
    field: "log.level",
    description: "Lowest severity that is logged.",
  }),
  key("log.format", { kind: "choice", choices: ["text", "json"] }, {
    default: "text",
    flag: "logFormat",
    field: "log.format",
    description: "Format of log lines.",
  }),
] as const;

/** The keys of a `[[daemons]]` entry. */
export const DAEMON_KEYS = [
  key("daemons[].socket", { kind: "path" }, {
    defaultNote: "required",
    example: "/run/nydusd/api.sock",
    field: "node.daemons[].socket",
    description: "API socket of a nydusd without a snapshotter.",
  }),
  key("daemons[].ref", { kind: "reference" }, {
    defaultNote: "required",
    example: "registry.example.com/app/web:v1",
    field: "node.daemons[].ref",
    description: "Reference of the image that its mount serves.",
  }),
  key("daemons[].id", { kind: "daemon-id" }, {
    defaultNote: "derived from the socket path",
    example: "web",
    field: "node.daemons[].id",
    description: "Name in logs, metrics and status.",
  }),
] as const;

const SINGLE_KEYS = [
  ...SNAPSHOTTER_KEYS,
  ...RENEWAL_KEYS,
  ...PROVIDER_KEYS,
  ...OUTPUT_KEYS,
] as const;

/** Type of any entry of {@linkcode SINGLE_CONFIG_KEYS}. */
export type SingleKey = (typeof SINGLE_KEYS)[number];

/** Every key with a single value: all except those of `[[daemons]]`. */
export const SINGLE_CONFIG_KEYS: readonly SingleKey[] = SINGLE_KEYS;

/** Every key of the configuration file, in the order of the reference. */
export const CONFIG_KEYS: readonly ConfigKey[] = [...SINGLE_KEYS, ...DAEMON_KEYS];
