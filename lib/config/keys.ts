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
    description: "The snapshotter's own configuration file; its settings become our defaults. " +
      `"off" reads none.`,
  }),
  key("snapshotter.root", { kind: "path" }, {
    defaultNote: "the snapshotter's `root`",
    example: "/var/lib/containerd/io.containerd.snapshotter.v1.nydus",
    flag: "root",
    field: "node.root",
    description: "The snapshotter's root folder, with the daemons' sockets and configurations.",
  }),
  key("snapshotter.system_address", { kind: "path", off: true }, {
    defaultNote: "the snapshotter's `[system] address`",
    example: "/run/containerd-nydus/system.sock",
    flag: "systemAddress",
    field: "node.systemSocket",
    description: `Socket of the snapshotter's system API. "off" never asks it; the root folder ` +
      "is looked at all the same.",
  }),
  key("snapshotter.fs_driver", { kind: "choice", choices: FS_DRIVERS }, {
    defaultNote: "the snapshotter's `[daemon] fs_driver`",
    example: "fusedev",
    flag: "fsDriver",
    field: "node.fsDriver",
    description: "Driver of the daemons; it decides the shape of their configuration files.",
  }),
  key("snapshotter.daemon_mode", { kind: "choice", choices: DAEMON_MODES }, {
    defaultNote: "the snapshotter's `daemon_mode`",
    example: "dedicated",
    flag: "daemonMode",
    field: "node.daemonMode",
    description:
      "Whether each RAFS instance has a daemon of its own. `multiple` means `dedicated`.",
  }),
] as const;

const RENEWAL_KEYS = [
  key("renewal.check_interval", { kind: "duration", minMs: 100, maxMs: HOUR_MS }, {
    default: "1m",
    flag: "checkInterval",
    field: "renewal.checkIntervalMs",
    description: "How often what the daemons hold is compared with what they should hold. " +
      "Changes of files and sockets are noticed at once, whatever this says.",
  }),
  key("renewal.lead_time", { kind: "duration", minMs: 100, maxMs: WEEK_MS, auto: true }, {
    default: "auto",
    flag: "leadTime",
    field: "renewal.leadTimeMs",
    description: `How long before its end a credential is renewed. "auto" is a third of its life.`,
  }),
  key("renewal.refresh_interval", { kind: "duration", minMs: 100, maxMs: WEEK_MS }, {
    default: "4m",
    flag: "refreshInterval",
    field: "renewal.refreshIntervalMs",
    description: "How often a plugin or credential helper is asked again when nothing tells how " +
      "long its credential lives.",
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
    description: `The snapshotter's one knob. "0s" switches renewal and delivery off. A positive ` +
      "T is T for `lead_time` and `refresh_interval`, and the smaller of T and 1m for " +
      "`check_interval`, each where it is not set by itself.",
  }),
] as const;

const OUTPUT_KEYS = [
  key("delivery.config_files", { kind: "choice", choices: ["auto", "always", "never"] }, {
    default: "auto",
    defaultNote: `"never" when the snapshotter's \`enable_backend_source\` keeps its files ` +
      "free of secrets",
    flag: "configFiles",
    field: "delivery.configFiles",
    description: "Whether the daemons' configuration files are rewritten, so that a restarted " +
      `nydusd starts with the newest credential. "auto": where they already hold one.`,
  }),
  key("delivery.allowed_hosts", { kind: "host-patterns", max: 256 }, {
    defaultNote: "the snapshotter's mirrors, and the mirrors and proxy of its `nydusd_config`",
    example: ["mirror.example.com", "*.cache.example.com:5000"],
    field: "delivery.allowedHosts",
    description: "Further hosts, each with its port, that may be shown an image's credential: " +
      "mirrors, caches and proxies that daemons read through.",
  }),
  key("delivery.unapproved_hosts", { kind: "choice", choices: ["warn", "refuse"] }, {
    default: "warn",
    field: "delivery.unapprovedHostPolicy",
    description: "Where a daemon reads from a host that is neither its image's registry nor " +
      `named by anybody: "warn" delivers the credential, once with a warning; "refuse" ` +
      "withholds it.",
  }),
  key("delivery.verify", { kind: "choice", choices: ["never", "as-needed", "on-change"] }, {
    default: "as-needed",
    flag: "verify",
    field: "delivery.verify",
    description: "When the registry itself is asked whether it accepts a credential. " +
      `"as-needed": where several would fit, where one that people set was changed, and where ` +
      `reads are refused. "on-change": about every new one.`,
  }),
  key("server.address", { kind: "address" }, {
    default: "127.0.0.1:9111",
    flag: "address",
    field: "server",
    description: "Where the status page, JSON, metrics and health are served; keep it on " +
      `loopback. "off" serves nothing; port 0 is any free port.`,
  }),
  key("server.metrics_address", { kind: "address" }, {
    default: "off",
    example: "0.0.0.0:9112",
    field: "metricsServer",
    description: "A second address, for metrics and health probes alone, that other machines may " +
      "reach. Metrics name images.",
  }),
  key("api.socket", { kind: "path", off: true }, {
    default: "/run/nydus-auth-agent/api.sock",
    flag: "apiSocket",
    field: "api.socket",
    description:
      "Unix socket of the local API, through which other programs of this node get and " +
      `put credentials; mode 0600. "off" serves none.`,
  }),
  key("api.group", { kind: "group" }, {
    defaultNote: "nobody but the agent's own user",
    example: "nydus-auth",
    field: "api.group",
    description: "A group whose members may use that socket too, and so have every credential; " +
      "its mode is 0660 then. The systemd unit needs a drop-in for it (docs/api.md).",
  }),
  key("log.level", { kind: "choice", choices: ["debug", "info", "warning", "error"] }, {
    default: "info",
    flag: "logLevel",
    field: "log.level",
    description: "The least severe lines that are written.",
  }),
  key("log.format", { kind: "choice", choices: ["text", "json"] }, {
    default: "text",
    flag: "logFormat",
    field: "log.format",
    description: "How a line is written.",
  }),
] as const;

/** The keys of one of the `[[daemons]]`. */
export const DAEMON_KEYS = [
  key("daemons[].socket", { kind: "path" }, {
    defaultNote: "required",
    example: "/run/nydusd/api.sock",
    field: "node.daemons[].socket",
    description: "API socket of a nydusd that no snapshotter lists, or a glob of sockets.",
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
