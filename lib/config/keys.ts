import { type ConfigKey, key } from "./key.ts";
import { PROVIDER_KEYS } from "./provider_keys.ts";

/** What the snapshotter names its drivers. */
export const FS_DRIVERS = ["fusedev", "fscache", "blockdev", "nodev", "proxy"] as const;
/** What the snapshotter names its daemon modes; `multiple` is the older word for `dedicated`. */
export const DAEMON_MODES = ["multiple", "dedicated", "shared", "none"] as const;

const WEEK_MS = 168 * 3_600_000;
const HOUR_MS = 3_600_000;

const SNAPSHOTTER_KEYS = [
  key("version", { kind: "integer", min: 1, max: 1 }, {
    default: 1,
    description: "Version of the format of this file.",
  }),
  key("snapshotter.config", { kind: "path", off: true }, {
    default: "/etc/nydus/config.toml",
    defaultNote: "if it is there",
    flag: "snapshotterConfig",
    description: "The snapshotter's own configuration file, whose settings become defaults. " +
      `"off" reads none.`,
  }),
  key("snapshotter.root", { kind: "path" }, {
    defaultNote: "the snapshotter's `root`",
    example: "/var/lib/containerd/io.containerd.snapshotter.v1.nydus",
    flag: "root",
    field: "node.root",
    description: "The snapshotter's root folder, with daemon sockets and configuration files.",
  }),
  key("snapshotter.system_address", { kind: "path", off: true }, {
    defaultNote: "the snapshotter's `[system] address`",
    example: "/run/containerd-nydus/system.sock",
    flag: "systemAddress",
    field: "node.systemSocket",
    description: `Socket of the snapshotter's system API. "off" does not use it; the root folder ` +
      "is scanned in any case.",
  }),
  key("snapshotter.fs_driver", { kind: "choice", choices: FS_DRIVERS }, {
    defaultNote: "the snapshotter's `[daemon] fs_driver`",
    example: "fusedev",
    flag: "fsDriver",
    field: "node.fsDriver",
    description: "Driver of the daemons, which determines the form of their configuration files.",
  }),
  key("snapshotter.daemon_mode", { kind: "choice", choices: DAEMON_MODES }, {
    defaultNote: "the snapshotter's `daemon_mode`",
    example: "dedicated",
    flag: "daemonMode",
    field: "node.daemonMode",
    description: "Whether each RAFS instance has its own daemon. `multiple` means `dedicated`.",
  }),
] as const;

const RENEWAL_KEYS = [
  key("renewal.check_interval", { kind: "duration", minMs: 100, maxMs: HOUR_MS }, {
    default: "1m",
    flag: "checkInterval",
    field: "renewal.checkIntervalMs",
    description: "Interval of reconciles. Changed files and sockets are noticed independently of " +
      "it.",
  }),
  key("renewal.lead_time", { kind: "duration", minMs: 100, maxMs: WEEK_MS, auto: true }, {
    default: "auto",
    flag: "leadTime",
    field: "renewal.leadTimeMs",
    description: `How long before its expiry a credential is renewed. "auto" is a third of its ` +
      "lifetime.",
  }),
  key("renewal.refresh_interval", { kind: "duration", minMs: 100, maxMs: WEEK_MS }, {
    default: "4m",
    flag: "refreshInterval",
    field: "renewal.refreshIntervalMs",
    description: "How often a plugin or credential helper is executed when the expiry of its " +
      "credential is unknown.",
  }),
  key("renewal.credential_renewal_interval", {
    kind: "duration",
    minMs: 100,
    maxMs: WEEK_MS,
    zero: true,
  }, {
    defaultNote: "not set: renewal is on",
    example: "10m",
    flag: "credentialRenewalInterval",
    field: "renewal.enabled",
    description: `The snapshotter's single setting. "0s" disables renewal and delivery; a ` +
      "duration sets `lead_time` and `refresh_interval`, and limits `check_interval`.",
  }),
] as const;

const OUTPUT_KEYS = [
  key("delivery.config_files", { kind: "choice", choices: ["auto", "always", "never"] }, {
    default: "auto",
    defaultNote: `"never" when the snapshotter's \`enable_backend_source\` keeps its files ` +
      "free of secrets",
    flag: "configFiles",
    field: "delivery.configFiles",
    description: "Whether daemon configuration files are rewritten, so that a restarted nydusd " +
      `starts with the newest credential. "auto": where they contain one.`,
  }),
  key("delivery.allowed_hosts", { kind: "host-patterns", max: 256 }, {
    defaultNote: "the snapshotter's mirrors, and the mirrors and proxy of its `nydusd_config`",
    example: ["mirror.example.com", "*.cache.example.com:5000"],
    field: "delivery.allowedHosts",
    description: "Further hosts, each with its port, that may receive an image's credential.",
  }),
  key("delivery.unapproved_hosts", { kind: "choice", choices: ["warn", "refuse"] }, {
    default: "warn",
    field: "delivery.unapprovedHostPolicy",
    description: `For unapproved hosts: "warn" delivers the credential with one warning; ` +
      `"refuse" withholds it.`,
  }),
  key("delivery.verify", { kind: "choice", choices: ["never", "as-needed", "on-change"] }, {
    default: "as-needed",
    flag: "verify",
    field: "delivery.verify",
    description: `When the registry is probed about a credential. "as-needed": several match, a ` +
      `configured one changed, or reads are refused. "on-change": also every new one.`,
  }),
  key("server.address", { kind: "address" }, {
    default: "127.0.0.1:9111",
    flag: "address",
    field: "server",
    description: "Address of the status page, JSON, metrics and health; keep it on loopback. " +
      `"off" serves nothing; port 0 is any free port.`,
  }),
  key("server.metrics_address", { kind: "address" }, {
    default: "off",
    example: "0.0.0.0:9112",
    field: "metricsServer",
    description: "A second address, for metrics and health only, that other machines may reach. " +
      "Metrics contain image names.",
  }),
  key("api.socket", { kind: "path", off: true }, {
    default: "/run/nydus-auth-agent/api.sock",
    flag: "apiSocket",
    field: "api.socket",
    description: `Unix socket of the local API, mode 0600. "off" disables it.`,
  }),
  key("api.group", { kind: "group" }, {
    defaultNote: "only the agent's user",
    example: "nydus-auth",
    field: "api.group",
    description: "A group whose members may use that socket, and so get every credential; the " +
      "mode is then 0660.",
  }),
  key("log.level", { kind: "choice", choices: ["debug", "info", "warning", "error"] }, {
    default: "info",
    flag: "logLevel",
    field: "log.level",
    description: "The lowest level that is logged.",
  }),
  key("log.format", { kind: "choice", choices: ["text", "json"] }, {
    default: "text",
    flag: "logFormat",
    field: "log.format",
    description: "Form of a log line.",
  }),
] as const;

/** The keys of one of the `[[daemons]]`. */
export const DAEMON_KEYS = [
  key("daemons[].socket", { kind: "path" }, {
    defaultNote: "required",
    example: "/run/nydusd/api.sock",
    field: "node.daemons[].socket",
    description: "API socket of a nydusd that the snapshotter does not list, or a glob of " +
      "sockets.",
  }),
  key("daemons[].ref", { kind: "reference" }, {
    defaultNote: "required",
    example: "registry.example.com/app/web:v1",
    field: "node.daemons[].ref",
    description: "The image that its mount serves.",
  }),
  key("daemons[].id", { kind: "daemon-id" }, {
    defaultNote: "derived from the socket's path",
    example: "web",
    field: "node.daemons[].id",
    description: "Its name in logs, metrics and the status.",
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

/** Every key that stands for one value: all but those of `[[daemons]]`. */
export const SINGLE_CONFIG_KEYS: readonly SingleKey[] = SINGLE_KEYS;

/** Every key that our configuration file may hold, in the order of the reference. */
export const CONFIG_KEYS: readonly ConfigKey[] = [...SINGLE_KEYS, ...DAEMON_KEYS];
