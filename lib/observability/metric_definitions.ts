import {
  DAEMON_STATES,
  DELIVERY_RESULTS,
  DELIVERY_STATES,
  DISCOVERY_SOURCES,
  PROVIDER_NAMES,
  VERDICT_KINDS,
} from "../model/mod.ts";

/** A metric. Its name, type and labels are a contract with dashboards and alerts. */
export interface MetricDefinition<Type = "counter" | "gauge" | "histogram"> {
  readonly name: string;
  readonly type: Type;
  readonly help: string;
  readonly labels: readonly string[];
}

const OWN = "nydus_auth_agent_";

function define<Type extends MetricDefinition["type"]>(type: Type) {
  return (name: string, help: string, labels: readonly string[] = []): MetricDefinition<Type> => {
    return { name, type, help, labels };
  };
}

const counter = define("counter");
const gauge = define("gauge");
const histogram = define("histogram");

/** Every metric that the agent exports. A test compares this table with `docs/metrics.md`. */
export const METRICS = {
  // Names of nydus-snapshotter (pkg/metrics/data/auth.go), so that its dashboards work.
  renewals: counter(
    "snapshotter_credential_renewals_total",
    "Total number of renewals of the credential of an image, by result.",
    ["image_ref", "result"],
  ),
  storeEntries: gauge(
    "snapshotter_credential_store_entries",
    "Whether the credential store has a credential for the image (1); absent if not.",
    ["image_ref"],
  ),
  expiry: gauge(
    `${OWN}credential_expiry_timestamp_seconds`,
    "Unix time at which the credential expires; absent if unknown.",
    ["image_ref"],
  ),
  refresh: gauge(
    `${OWN}credential_refresh_timestamp_seconds`,
    "Unix time after which the provider requests a refresh; absent if unspecified.",
    ["image_ref"],
  ),
  renewalDue: gauge(
    `${OWN}credential_renewal_due_timestamp_seconds`,
    "Unix time of the next scheduled renewal of the credential.",
    ["image_ref"],
  ),
  lastSuccess: gauge(
    `${OWN}credential_last_success_timestamp_seconds`,
    "Unix time of the last successful renewal of the credential.",
    ["image_ref"],
  ),
  outageTolerance: gauge(
    `${OWN}outage_tolerance_seconds`,
    "Time until the first mount's reads fail if no source is available from now on.",
  ),
  providerRequests: counter(
    `${OWN}provider_requests_total`,
    "Total number of credential requests per provider.",
    ["provider"],
  ),
  providerFailures: counter(
    `${OWN}provider_failures_total`,
    "Total number of failed credential requests; no credential is not a failure.",
    ["provider", "reason"],
  ),
  providerDuration: histogram(
    `${OWN}provider_request_duration_seconds`,
    "Duration of credential requests per provider; 0 if the result was available.",
    ["provider"],
  ),
  pluginExecutions: counter(
    `${OWN}plugin_executions_total`,
    "Total number of executions of a plugin or credential helper.",
    ["plugin"],
  ),
  pluginFailures: counter(
    `${OWN}plugin_execution_failures_total`,
    "Total number of executions that failed or timed out.",
    ["plugin"],
  ),
  pluginDuration: histogram(
    `${OWN}plugin_execution_duration_seconds`,
    "Duration of executions of a plugin or credential helper.",
    ["plugin"],
  ),
  probes: counter(
    `${OWN}registry_probes_total`,
    "Total number of verifications of a credential against a registry.",
    ["verdict"],
  ),
  deliveries: counter(
    `${OWN}deliveries_total`,
    "Total number of attempts to deliver a credential to a mount.",
    ["result"],
  ),
  deliveryFailures: counter(
    `${OWN}delivery_failures_total`,
    "Total number of failed deliveries to a mount or its configuration file.",
  ),
  unapprovedHosts: counter(
    `${OWN}unapproved_hosts_total`,
    "Total number of mounts configured to send credentials to an unapproved host.",
    ["action"],
  ),
  instances: gauge(
    `${OWN}instances`,
    "Number of RAFS instances (mounts) on this node, by delivery state.",
    ["state"],
  ),
  instancesBehind: gauge(
    `${OWN}instances_behind`,
    "Number of mounts with an outdated credential until their nydusd restarts.",
  ),
  daemons: gauge(
    `${OWN}daemons`,
    "Number of nydusd daemons on this node, by state.",
    ["state"],
  ),
  reconciles: counter(
    `${OWN}reconciles_total`,
    "Total number of completed reconciles.",
  ),
  reconcileDuration: histogram(
    `${OWN}reconcile_duration_seconds`,
    "Duration of reconciles.",
  ),
  reconcileLast: gauge(
    `${OWN}reconcile_last_timestamp_seconds`,
    "Unix time at which the last reconcile completed; absent before the first.",
  ),
  checkInterval: gauge(
    `${OWN}check_interval_seconds`,
    "Interval between reconciles, as configured.",
  ),
  staleWatches: gauge(
    `${OWN}stale_watches`,
    "Number of interrupted Kubernetes watches, which use the last known state.",
  ),
  discoveryProblems: counter(
    `${OWN}discovery_problems_total`,
    "Total number of failures while discovering daemons.",
    ["source"],
  ),
  buildInfo: gauge(
    `${OWN}build_info`,
    "Version information in labels; always 1.",
    ["version", "commit", "deno"],
  ),
  configInfo: gauge(
    `${OWN}config_info`,
    "Hash of the configuration in effect, as a label; always 1.",
    ["hash"],
  ),
  configLastReload: gauge(
    `${OWN}config_last_reload_timestamp_seconds`,
    "Unix time at which the configuration in effect was loaded.",
  ),
  configReloadFailures: counter(
    `${OWN}config_reload_failures_total`,
    "Total number of configuration reloads that failed.",
  ),
  criProxyInPath: gauge(
    `${OWN}cri_proxy_in_path`,
    "Whether the CRI socket symlink points to the proxy (1) or elsewhere (0).",
  ),
  criProxyOpenConnections: gauge(
    `${OWN}cri_proxy_open_connections`,
    "Number of open client connections of the CRI proxy.",
  ),
  criProxyConnections: counter(
    `${OWN}cri_proxy_connections_total`,
    "Total number of connections accepted by the CRI proxy.",
  ),
  criProxyConnectionFailures: counter(
    `${OWN}cri_proxy_connection_failures_total`,
    "Total number of connections closed by the limit or an unavailable runtime.",
  ),
  criProxyBytes: counter(
    `${OWN}cri_proxy_bytes_total`,
    "Total number of bytes forwarded by the CRI proxy.",
    ["to"],
  ),
  criProxyPulls: counter(
    `${OWN}cri_proxy_pulls_total`,
    "Total number of PullImage requests observed by the CRI proxy.",
  ),
  criProxyParseFailures: counter(
    `${OWN}cri_proxy_parse_failures_total`,
    "Total number of streams that are forwarded without being parsed any more.",
  ),
  criProxySkippedMessages: counter(
    `${OWN}cri_proxy_skipped_messages_total`,
    "Total number of messages or credentials skipped by the CRI proxy.",
  ),
  eventLoopDelay: histogram(
    `${OWN}event_loop_delay_seconds`,
    "Delay of a timer every few seconds: how long the event loop was blocked.",
  ),
  cpuTime: counter(
    "process_cpu_seconds_total",
    "Total user and system CPU time spent in seconds.",
  ),
  openDescriptors: gauge(
    "process_open_fds",
    "Number of open file descriptors; absent without /bin/sh.",
  ),
  maxDescriptors: gauge(
    "process_max_fds",
    "Maximum number of open file descriptors.",
  ),
  residentMemory: gauge(
    "process_resident_memory_bytes",
    "Resident memory size in bytes.",
  ),
  processStart: gauge(
    "process_start_time_seconds",
    "Unix time at which the process started.",
  ),
} as const satisfies Readonly<Record<string, MetricDefinition>>;

/** Upper bounds (seconds) of histograms, from a cached result to the time limit of a plugin. */
export const DURATION_BUCKETS = [0.001, 0.005, 0.025, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60];

/** The values of labels with a closed set of values, whose series exist from the start. */
export const LABEL_VALUES = {
  deliveryStates: DELIVERY_STATES,
  daemonStates: DAEMON_STATES,
  deliveryResults: DELIVERY_RESULTS,
  discoverySources: [...DISCOVERY_SOURCES, "other"],
  providers: PROVIDER_NAMES,
  verdicts: VERDICT_KINDS,
  renewalResults: ["success", "failure"],
  unapprovedHostActions: ["delivered", "withheld"],
  criProxyDirections: ["runtime", "clients"],
} as const;
