/** One metric: its name is a contract with every dashboard that was ever built on it. */
export interface MetricDefinition {
  readonly name: string;
  readonly type: "counter" | "gauge" | "histogram";
  readonly help: string;
  readonly labels: readonly string[];
}

const OWN = "nydus_auth_agent_";

/** Every metric that the agent exports. `docs/metrics.md` is this table for people. */
export const METRICS = {
  // The names of nydus-snapshotter (pkg/metrics/data/auth.go): its dashboards go on to work.
  renewals: {
    name: "snapshotter_credential_renewals_total",
    type: "counter",
    help: "Total number of renewals of an image's credential, by result.",
    labels: ["image_ref", "result"],
  },
  storeEntries: {
    name: "snapshotter_credential_store_entries",
    type: "gauge",
    help: "Whether the image's credential is in the store (always 1).",
    labels: ["image_ref"],
  },
  expiry: {
    name: `${OWN}credential_expiry_timestamp_seconds`,
    type: "gauge",
    help: "Unix time at which the credential expires (hard) or may be refreshed (soft).",
    labels: ["image_ref", "clock"],
  },
  renewalDue: {
    name: `${OWN}credential_renewal_due_timestamp_seconds`,
    type: "gauge",
    help: "Unix time of the next renewal of the credential.",
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
    help: "Time that every provider may be unavailable before the first mount's reads " +
      "fail.",
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
    help: "Total number of failed credential requests; having no credential is no " +
      "failure.",
    labels: ["provider", "reason"],
  },
  providerDuration: {
    name: `${OWN}provider_request_duration_seconds`,
    type: "histogram",
    help: "Duration of credential requests; 0 for cached answers.",
    labels: ["provider"],
  },
  pluginExecutions: {
    name: `${OWN}plugin_executions_total`,
    type: "counter",
    help: "Total number of executions of a credential plugin or helper.",
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
    help: "Duration of executions of a credential plugin or helper.",
    labels: ["plugin"],
  },
  probes: {
    name: `${OWN}registry_probes_total`,
    type: "counter",
    help: "Total number of registry probes, by verdict.",
    labels: ["verdict"],
  },
  deliveries: {
    name: `${OWN}deliveries_total`,
    type: "counter",
    help: "Total number of deliveries to a mount, by result.",
    labels: ["result"],
  },
  deliveryFailures: {
    name: `${OWN}delivery_failures_total`,
    type: "counter",
    help: "Total number of deliveries that left the mount or its file without the " +
      "credential.",
    labels: [],
  },
  unapprovedHosts: {
    name: `${OWN}unapproved_hosts_total`,
    type: "counter",
    help: "Total number of mounts that read from an unapproved host, by action.",
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
    help: "Number of mounts with an older credential, whose nydusd cannot take a newer " +
      "one.",
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
    help: "Total number of reconciles.",
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
    help: "Unix time at which the last reconcile ended; absent before the first.",
    labels: [],
  },
  checkInterval: {
    name: `${OWN}check_interval_seconds`,
    type: "gauge",
    help: "Configured interval of reconciles.",
    labels: [],
  },
  staleWatches: {
    name: `${OWN}stale_watches`,
    type: "gauge",
    help: "Number of Kubernetes watches that are interrupted; the last data stays in use.",
    labels: [],
  },
  discoveryProblems: {
    name: `${OWN}discovery_problems_total`,
    type: "counter",
    help: "Total number of discovery problems, by source.",
    labels: ["source"],
  },
  buildInfo: {
    name: `${OWN}build_info`,
    type: "gauge",
    help: "Build information in the labels (always 1).",
    labels: ["version", "commit", "deno"],
  },
  configInfo: {
    name: `${OWN}config_info`,
    type: "gauge",
    help: "Hash of the current configuration in the label (always 1).",
    labels: ["hash"],
  },
  configLastReload: {
    name: `${OWN}config_last_reload_timestamp_seconds`,
    type: "gauge",
    help: "Unix time at which the current configuration was loaded.",
    labels: [],
  },
  configReloadFailures: {
    name: `${OWN}config_reload_failures_total`,
    type: "counter",
    help: "Total number of rejected configurations.",
    labels: [],
  },
  tapInPath: {
    name: `${OWN}cri_proxy_in_path`,
    type: "gauge",
    help: "Whether the CRI symlink points to the proxy (1) or to the container runtime " +
      "(0).",
    labels: [],
  },
  criProxyOpenConnections: {
    name: `${OWN}cri_proxy_open_connections`,
    type: "gauge",
    help: "Number of open connections of the CRI proxy.",
    labels: [],
  },
  criProxyConnections: {
    name: `${OWN}cri_proxy_connections_total`,
    type: "counter",
    help: "Total number of connections of the CRI proxy.",
    labels: [],
  },
  criProxyConnectionFailures: {
    name: `${OWN}cri_proxy_connection_failures_total`,
    type: "counter",
    help: "Total number of connections closed at once: too many, or no runtime.",
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
    help: "Total number of PullImage requests that the CRI proxy read.",
    labels: [],
  },
  criProxyLostReadings: {
    name: `${OWN}cri_proxy_lost_readings_total`,
    type: "counter",
    help: "Total number of directions of connections that became unreadable.",
    labels: [],
  },
  criProxySkippedMessages: {
    name: `${OWN}cri_proxy_skipped_messages_total`,
    type: "counter",
    help: "Total number of skipped messages, or credentials in them.",
    labels: [],
  },
  residentMemory: {
    name: "process_resident_memory_bytes",
    type: "gauge",
    help: "Resident memory of this process.",
    labels: [],
  },
  processStart: {
    name: "process_start_time_seconds",
    type: "gauge",
    help: "Unix time at which this process started.",
    labels: [],
  },
} as const satisfies Readonly<Record<string, MetricDefinition>>;

/** Upper bounds (seconds) of histograms: from a cached answer to a plugin's one-minute limit. */
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
