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
    help: "Renewals of an image's credential, by result.",
    labels: ["image_ref", "result"],
  },
  storeEntries: {
    name: "snapshotter_credential_store_entries",
    type: "gauge",
    help: "1 for each image whose credential is in the store.",
    labels: ["image_ref"],
  },
  expiry: {
    name: `${OWN}credential_expiry_timestamp_seconds`,
    type: "gauge",
    help:
      "When the credential ends: hard = the token is dead, soft = the source wants to be asked.",
    labels: ["image_ref", "clock"],
  },
  renewalDue: {
    name: `${OWN}credential_renewal_due_timestamp_seconds`,
    type: "gauge",
    help: "When the source of the credential is asked next.",
    labels: ["image_ref"],
  },
  lastSuccess: {
    name: `${OWN}credential_last_success_timestamp_seconds`,
    type: "gauge",
    help: "When the credential was last renewed with success.",
    labels: ["image_ref"],
  },
  outageTolerance: {
    name: `${OWN}outage_tolerance_seconds`,
    type: "gauge",
    help: "How long every source may stay silent before the first mount's reads would fail.",
    labels: [],
  },
  providerRequests: {
    name: `${OWN}provider_requests_total`,
    type: "counter",
    help: "Questions to a provider of the chain.",
    labels: ["provider"],
  },
  providerFailures: {
    name: `${OWN}provider_failures_total`,
    type: "counter",
    help: "Questions that a provider could not answer; having no credential is an answer.",
    labels: ["provider", "reason"],
  },
  providerDuration: {
    name: `${OWN}provider_request_duration_seconds`,
    type: "histogram",
    help: "How long a provider was waited for; 0 for an answer at hand.",
    labels: ["provider"],
  },
  pluginExecutions: {
    name: `${OWN}plugin_executions_total`,
    type: "counter",
    help: "Executions of a credential plugin or helper.",
    labels: ["plugin"],
  },
  pluginFailures: {
    name: `${OWN}plugin_execution_failures_total`,
    type: "counter",
    help: "Executions that failed or did not end in time.",
    labels: ["plugin"],
  },
  pluginDuration: {
    name: `${OWN}plugin_execution_duration_seconds`,
    type: "histogram",
    help: "How long a credential plugin or helper ran.",
    labels: ["plugin"],
  },
  probes: {
    name: `${OWN}registry_probes_total`,
    type: "counter",
    help: "Times that a registry was asked what it thinks of a credential, by its verdict.",
    labels: ["verdict"],
  },
  deliveries: {
    name: `${OWN}deliveries_total`,
    type: "counter",
    help: "Attempts to deliver a credential to one mount, by result.",
    labels: ["result"],
  },
  deliveryFailures: {
    name: `${OWN}delivery_failures_total`,
    type: "counter",
    help: "Attempts after which the mount or its configuration file lacks the credential.",
    labels: [],
  },
  unapprovedHosts: {
    name: `${OWN}unnamed_hosts_total`,
    type: "counter",
    help: "Mounts whose nydusd shows its credential to a host that nobody named, by what was done.",
    labels: ["action"],
  },
  instances: {
    name: `${OWN}instances`,
    type: "gauge",
    help: "RAFS instances (mounts) on this node, by state of delivery.",
    labels: ["state"],
  },
  instancesBehind: {
    name: `${OWN}instances_behind`,
    type: "gauge",
    help: "Mounts that go on with an older credential than there is: their nydusd cannot be told.",
    labels: [],
  },
  daemons: {
    name: `${OWN}daemons`,
    type: "gauge",
    help: "nydusd daemons on this node, by state.",
    labels: ["state"],
  },
  reconciles: {
    name: `${OWN}reconciles_total`,
    type: "counter",
    help: "Rounds in which the node was looked at and compared.",
    labels: [],
  },
  reconcileDuration: {
    name: `${OWN}reconcile_duration_seconds`,
    type: "histogram",
    help: "How long a round took.",
    labels: [],
  },
  reconcileLast: {
    name: `${OWN}reconcile_last_timestamp_seconds`,
    type: "gauge",
    help: "When the last round ended; absent before the first.",
    labels: [],
  },
  checkInterval: {
    name: `${OWN}check_interval_seconds`,
    type: "gauge",
    help: "How often the node is looked at and compared, as configured.",
    labels: [],
  },
  staleWatches: {
    name: `${OWN}stale_watches`,
    type: "gauge",
    help: "Parts of the Kubernetes API that are not followed now: what was read last is used.",
    labels: [],
  },
  discoveryProblems: {
    name: `${OWN}discovery_problems_total`,
    type: "counter",
    help: "Problems that arose while looking for daemons, by source of discovery.",
    labels: ["source"],
  },
  buildInfo: {
    name: `${OWN}build_info`,
    type: "gauge",
    help: "1; the labels tell the build.",
    labels: ["version", "commit", "deno"],
  },
  configInfo: {
    name: `${OWN}config_info`,
    type: "gauge",
    help: "1; the label tells the configuration in force.",
    labels: ["hash"],
  },
  configLastReload: {
    name: `${OWN}config_last_reload_timestamp_seconds`,
    type: "gauge",
    help: "When the configuration in force was loaded.",
    labels: [],
  },
  configReloadFailures: {
    name: `${OWN}config_reload_failures_total`,
    type: "counter",
    help: "New configurations that were refused; the old one stayed in force.",
    labels: [],
  },
  tapInPath: {
    name: `${OWN}cri_proxy_in_path`,
    type: "gauge",
    help: "1 while what CRI clients are given leads to the CRI proxy.",
    labels: [],
  },
  criProxyOpenConnections: {
    name: `${OWN}cri_proxy_open_connections`,
    type: "gauge",
    help: "Connections that pass the CRI proxy now.",
    labels: [],
  },
  criProxyConnections: {
    name: `${OWN}cri_proxy_connections_total`,
    type: "counter",
    help: "Connections that the CRI proxy has taken.",
    labels: [],
  },
  criProxyConnectionFailures: {
    name: `${OWN}cri_proxy_connection_failures_total`,
    type: "counter",
    help: "Connections closed at once: too many, or the runtime was not there.",
    labels: [],
  },
  criProxyBytes: {
    name: `${OWN}cri_proxy_bytes_total`,
    type: "counter",
    help: "Bytes that the CRI proxy has passed on.",
    labels: ["to"],
  },
  criProxyPulls: {
    name: `${OWN}cri_proxy_pulls_total`,
    type: "counter",
    help: "PullImage requests that the CRI proxy has read.",
    labels: [],
  },
  criProxyLostReadings: {
    name: `${OWN}cri_proxy_lost_readings_total`,
    type: "counter",
    help: "Directions of connections that the CRI proxy could not read any further.",
    labels: [],
  },
  criProxySkippedMessages: {
    name: `${OWN}cri_proxy_skipped_messages_total`,
    type: "counter",
    help: "Messages, or credentials in them, that the CRI proxy left out.",
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
    help: "When this process started.",
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
