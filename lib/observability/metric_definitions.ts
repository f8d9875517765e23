import {
  type DaemonState,
  type DeliveryOutcome,
  type DeliveryState,
  type DiscoverySource,
  PROVIDER_NAMES,
  VERDICT_KINDS,
} from "../model/mod.ts";

/** A metric. Its name, type and labels are a contract with dashboards and alerts. */
export interface MetricDefinition {
  readonly name: string;
  readonly type: "counter" | "gauge" | "histogram";
  readonly help: string;
  readonly labels: readonly string[];
}

const OWN = "nydus_auth_agent_";

/** Every metric that the agent exports. A test compares this table with `docs/metrics.md`. */
export const METRICS = {
  // Names of nydus-snapshotter (pkg/metrics/data/auth.go), so that its dashboards work.
  renewals: {
    name: "snapshotter_credential_renewals_total",
    type: "counter",
    help: "Total number of renewals of the credential of an image, by result.",
    labels: ["image_ref", "result"],
  },
  storeEntries: {
    name: "snapshotter_credential_store_entries",
    type: "gauge",
    help: "Whether the credential store has a credential for the image (1); absent if not.",
    labels: ["image_ref"],
  },
  expiry: {
    name: `${OWN}credential_expiry_timestamp_seconds`,
    type: "gauge",
    help: "Unix time at which the credential expires; absent if unknown.",
    labels: ["image_ref"],
  },
  refresh: {
    name: `${OWN}credential_refresh_timestamp_seconds`,
    type: "gauge",
    help: "Unix time after which the provider requests a refresh; absent if unspecified.",
    labels: ["image_ref"],
  },
  renewalDue: {
    name: `${OWN}credential_renewal_due_timestamp_seconds`,
    type: "gauge",
    help: "Unix time of the next scheduled renewal of the credential.",
    labels: ["image_ref"],
  },
  lastSuccess: {
    name: `${OWN}credential_last_success_timestamp_seconds`,
    type: "gauge",
    help: "Unix time of the last successful renewal of the credential.",
    labels: ["image_ref"],
  },
  outageTolerance: {
    name: `${OWN}outage_tolerance_seconds`,
    type: "gauge",
    help: "Time until the first mount's reads fail if no source is available from now on.",
    labels: [],
  },
  providerRequests: {
    name: `${OWN}provider_requests_total`,
    type: "counter",
    help: "Total number of credential requests per provider.",
    labels: ["provider"],
  },
  providerFailures: {
    name: `${OWN}provider_failures_total`,
    type: "counter",
    help: "Total number of failed credential requests; no credential is not a failure.",
    labels: ["provider", "reason"],
  },
  providerDuration: {
    name: `${OWN}provider_request_duration_seconds`,
    type: "histogram",
    help: "Duration of credential requests per provider; 0 if the result was available.",
    labels: ["provider"],
  },
  pluginExecutions: {
    name: `${OWN}plugin_executions_total`,
    type: "counter",
    help: "Total number of executions of a plugin or credential helper.",
    labels: ["plugin"],
  },
  pluginFailures: {
    name: `${OWN}plugin_execution_failures_total`,
    type: "counter",
    help: "Total number of executions that failed or timed out.",
    labels: ["plugin"],
  },
  pluginDuration: {
    name: `${OWN}plugin_execution_duration_seconds`,
    type: "histogram",
    help: "Duration of executions of a plugin or credential helper.",
    labels: ["plugin"],
  },
  probes: {
    name: `${OWN}registry_probes_total`,
    type: "counter",
    help: "Total number of verifications of a credential against a registry.",
    labels: ["verdict"],
  },
  deliveries: {
    name: `${OWN}deliveries_total`,
    type: "counter",
    help: "Total number of attempts to deliver a credential to a mount.",
    labels: ["result"],
  },
  deliveryFailures: {
    name: `${OWN}delivery_failures_total`,
    type: "counter",
    help: "Total number of failed deliveries to a mount or its configuration file.",
    labels: [],
  },
  unapprovedHosts: {
    name: `${OWN}unapproved_hosts_total`,
    type: "counter",
    help: "Total number of mounts that send their credential to an unapproved host.",
    labels: ["action"],
  },
  instances: {
    name: `${OWN}instances`,
    type: "gauge",
    help: "Number of RAFS instances (mounts) on this node, by delivery state.",
    labels: ["state"],
  },
  instancesBehind: {
    name: `${OWN}instances_behind`,
    type: "gauge",
    help: "Number of mounts with an outdated credential until their nydusd restarts.",
    labels: [],
  },
  daemons: {
    name: `${OWN}daemons`,
    type: "gauge",
    help: "Number of nydusd daemons on this node, by state.",
    labels: ["state"],
  },
  reconciles: {
    name: `${OWN}reconciles_total`,
    type: "counter",
    help: "Total number of completed reconciles.",
    labels: [],
  },
  reconcileDuration: {
    name: `${OWN}reconcile_duration_seconds`,
    type: "histogram",
    help: "Duration of reconciles.",
    labels: [],
  },
  reconcileLast: {
    name: `${OWN}reconcile_last_timestamp_seconds`,
    type: "gauge",
    help: "Unix time at which the last reconcile completed; absent before the first.",
    labels: [],
  },
  checkInterval: {
    name: `${OWN}check_interval_seconds`,
    type: "gauge",
    help: "Interval between reconciles, as configured.",
    labels: [],
  },
  staleWatches: {
    name: `${OWN}stale_watches`,
    type: "gauge",
    help: "Number of interrupted Kubernetes watches, which use the last known state.",
    labels: [],
  },
  discoveryProblems: {
    name: `${OWN}discovery_problems_total`,
    type: "counter",
    help: "Total number of failures while discovering daemons.",
    labels: ["source"],
  },
  buildInfo: {
    name: `${OWN}build_info`,
    type: "gauge",
    help: "Version information in labels; always 1.",
    labels: ["version", "commit", "deno"],
  },
  configInfo: {
    name: `${OWN}config_info`,
    type: "gauge",
    help: "Hash of the configuration in effect, as a label; always 1.",
    labels: ["hash"],
  },
  configLastReload: {
    name: `${OWN}config_last_reload_timestamp_seconds`,
    type: "gauge",
    help: "Unix time at which the configuration in effect was loaded.",
    labels: [],
  },
  configReloadFailures: {
    name: `${OWN}config_reload_failures_total`,
    type: "counter",
    help: "Total number of configuration reloads that failed.",
    labels: [],
  },
  criProxyInPath: {
    name: `${OWN}cri_proxy_in_path`,
    type: "gauge",
    help: "Whether the CRI socket symlink points to the proxy (1) or elsewhere (0).",
    labels: [],
  },
  criProxyOpenConnections: {
    name: `${OWN}cri_proxy_open_connections`,
    type: "gauge",
    help: "Number of open client connections of the CRI proxy.",
    labels: [],
  },
  criProxyConnections: {
    name: `${OWN}cri_proxy_connections_total`,
    type: "counter",
    help: "Total number of connections accepted by the CRI proxy.",
    labels: [],
  },
  criProxyConnectionFailures: {
    name: `${OWN}cri_proxy_connection_failures_total`,
    type: "counter",
    help: "Total number of connections closed by the limit or an unavailable runtime.",
    labels: [],
  },
  criProxyBytes: {
    name: `${OWN}cri_proxy_bytes_total`,
    type: "counter",
    help: "Total number of bytes forwarded by the CRI proxy.",
    labels: ["to"],
  },
  criProxyPulls: {
    name: `${OWN}cri_proxy_pulls_total`,
    type: "counter",
    help: "Total number of PullImage requests observed by the CRI proxy.",
    labels: [],
  },
  criProxyParseFailures: {
    name: `${OWN}cri_proxy_parse_failures_total`,
    type: "counter",
    help: "Total number of streams that are forwarded without being parsed any more.",
    labels: [],
  },
  criProxySkippedMessages: {
    name: `${OWN}cri_proxy_skipped_messages_total`,
    type: "counter",
    help: "Total number of messages or credentials skipped by the CRI proxy.",
    labels: [],
  },
  residentMemory: {
    name: "process_resident_memory_bytes",
    type: "gauge",
    help: "Resident memory size in bytes.",
    labels: [],
  },
  processStart: {
    name: "process_start_time_seconds",
    type: "gauge",
    help: "Unix time at which the process started.",
    labels: [],
  },
} as const satisfies Readonly<Record<string, MetricDefinition>>;

/** Upper bounds (seconds) of histograms, from a cached result to the time limit of a plugin. */
export const DURATION_BUCKETS: readonly number[] = [
  0.001,
  0.005,
  0.025,
  0.1,
  0.25,
  0.5,
  1,
  2.5,
  5,
  10,
  30,
  60,
];

// Records instead of lists, so that a new value does not compile without an entry.
const DELIVERY_STATES: Readonly<Record<DeliveryState, true>> = {
  "pending": true,
  "stored": true,
  "in-use": true,
  "proven": true,
  "file-only": true,
  "adopted": true,
  "refused": true,
  "unreachable": true,
  "unsupported": true,
  "withheld": true,
  "none": true,
};
const DAEMON_STATES: Readonly<Record<DaemonState, true>> = {
  "running": true,
  "starting": true,
  "dying": true,
  "stopped": true,
  "unresponsive": true,
  "no-listener": true,
  "no-socket": true,
  "broken": true,
};
const DELIVERY_RESULTS: Readonly<Record<DeliveryOutcome["kind"], true>> = {
  "delivered": true,
  "unchanged": true,
  "file-only": true,
  "rejected": true,
  "unreachable": true,
  "unsupported": true,
};
const DISCOVERY_SOURCES: Readonly<Record<DiscoverySource | "other", true>> = {
  "system-api": true,
  "root": true,
  "configured": true,
  "other": true,
};

/** The values of labels with a closed set of values, whose series exist from the start. */
export const LABEL_VALUES = {
  deliveryStates: Object.keys(DELIVERY_STATES),
  daemonStates: Object.keys(DAEMON_STATES),
  deliveryResults: Object.keys(DELIVERY_RESULTS),
  discoverySources: Object.keys(DISCOVERY_SOURCES),
  providers: PROVIDER_NAMES,
  verdicts: VERDICT_KINDS,
  renewalResults: ["success", "failure"],
  unapprovedHostActions: ["delivered", "withheld"],
  criProxyDirections: ["runtime", "clients"],
} as const;
