import type * as prometheus from "prom-client";
// The main module of prom-client also loads a push gateway, cluster support and default metrics,
// and with them half of the Node library.
import Counter from "prom-client/lib/counter.js";
import Gauge from "prom-client/lib/gauge.js";
import Histogram from "prom-client/lib/histogram.js";
import Registry from "prom-client/lib/registry.js";
import {
  type AgentEvent,
  type AgentStatus,
  type CriProxyStatus,
  DAEMON_STATES,
  DELIVERY_RESULTS,
  DELIVERY_STATES,
  type DeliveryOutcome,
  DISCOVERY_SOURCES,
  type Observer,
  PROVIDER_NAMES,
  type ProviderName,
  REASON_CODES,
  type ReasonCode,
  reasonOutcome,
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

/** Returns a tag of texts that define a metric: the name, the labels in braces, and the help. */
function define<Type extends MetricDefinition["type"]>(type: Type, prefix = OWN) {
  return ([text = ""]: TemplateStringsArray): MetricDefinition<Type> => {
    const [, name = "", labels = "", help = ""] = /^(\w+)(\S*)\s+(.*)$/.exec(text) ?? [];
    return { name: prefix + name, type, help, labels: labels.match(/\w+/g) ?? [] };
  };
}

const counter = define("counter");
const gauge = define("gauge");
const histogram = define("histogram");
/** Metrics whose names are those of other programs. */
const shared = { counter: define("counter", ""), gauge: define("gauge", "") };

/** Every metric that the agent exports. A test compares this table with `docs/metrics.md`. */
export const METRICS = {
  // Names of nydus-snapshotter (pkg/metrics/data/auth.go), so that its dashboards work.
  renewals: shared.counter`snapshotter_credential_renewals_total{image_ref,result}
    Total number of renewals of the credential of an image, by result.`,
  storeEntries: shared.gauge`snapshotter_credential_store_entries{image_ref}
    Whether the credential store has a credential for the image (1); absent if not.`,
  expiry: gauge`credential_expiry_timestamp_seconds{image_ref}
    Unix time at which the credential expires; absent if unknown.`,
  refresh: gauge`credential_refresh_timestamp_seconds{image_ref}
    Unix time after which the provider requests a refresh; absent if unspecified.`,
  renewalDue: gauge`credential_renewal_due_timestamp_seconds{image_ref}
    Unix time of the next scheduled renewal of the credential.`,
  lastSuccess: gauge`credential_last_success_timestamp_seconds{image_ref}
    Unix time of the last successful renewal of the credential.`,
  outageTolerance: gauge`outage_tolerance_seconds
    Time until the first mount's reads fail if no source is available from now on.`,
  providerRequests: counter`provider_requests_total{provider}
    Total number of credential requests per provider.`,
  providerFailures: counter`provider_failures_total{provider,reason}
    Total number of failed credential requests; no credential is not a failure.`,
  providerDuration: histogram`provider_request_duration_seconds{provider}
    Duration of credential requests per provider; 0 if the result was available.`,
  pluginExecutions: counter`plugin_executions_total{plugin}
    Total number of executions of a plugin or credential helper.`,
  pluginFailures: counter`plugin_execution_failures_total{plugin}
    Total number of executions that failed or timed out.`,
  pluginDuration: histogram`plugin_execution_duration_seconds{plugin}
    Duration of executions of a plugin or credential helper.`,
  probes: counter`registry_probes_total{verdict}
    Total number of verifications of a credential against a registry.`,
  deliveries: counter`deliveries_total{result}
    Total number of attempts to deliver a credential to a mount.`,
  deliveryFailures: counter`delivery_failures_total
    Total number of failed deliveries to a mount or its configuration file.`,
  unapprovedHosts: counter`unapproved_hosts_total{action}
    Total number of mounts configured to send credentials to an unapproved host.`,
  instances: gauge`instances{state}
    Number of RAFS instances (mounts) on this node, by delivery state.`,
  instancesBehind: gauge`instances_behind
    Number of mounts with an outdated credential until their nydusd restarts.`,
  daemons: gauge`daemons{state}
    Number of nydusd daemons on this node, by state.`,
  reconciles: counter`reconciles_total
    Total number of completed reconciles.`,
  reconcileDuration: histogram`reconcile_duration_seconds
    Duration of reconciles.`,
  reconcileLast: gauge`reconcile_last_timestamp_seconds
    Unix time at which the last reconcile completed; absent before the first.`,
  checkInterval: gauge`check_interval_seconds
    Interval between reconciles, as configured.`,
  staleWatches: gauge`stale_watches
    Number of interrupted Kubernetes watches, which use the last known state.`,
  discoveryProblems: counter`discovery_problems_total{source}
    Total number of failures while discovering daemons.`,
  buildInfo: gauge`build_info{version,commit,deno}
    Version information in labels; always 1.`,
  configInfo: gauge`config_info{hash}
    Hash of the configuration in effect, as a label; always 1.`,
  configLastReload: gauge`config_last_reload_timestamp_seconds
    Unix time at which the configuration in effect was loaded.`,
  configReloadFailures: counter`config_reload_failures_total
    Total number of configuration reloads that failed.`,
  criProxyInPath: gauge`cri_proxy_in_path
    Whether the CRI socket symlink points to the proxy (1) or elsewhere (0).`,
  criProxyOpenConnections: gauge`cri_proxy_open_connections
    Number of open client connections of the CRI proxy.`,
  criProxyConnections: counter`cri_proxy_connections_total
    Total number of connections accepted by the CRI proxy.`,
  criProxyConnectionFailures: counter`cri_proxy_connection_failures_total
    Total number of connections closed by the limit or an unavailable runtime.`,
  criProxyBytes: counter`cri_proxy_bytes_total{to}
    Total number of bytes forwarded by the CRI proxy.`,
  criProxyPulls: counter`cri_proxy_pulls_total
    Total number of PullImage requests observed by the CRI proxy.`,
  criProxyParseFailures: counter`cri_proxy_parse_failures_total
    Total number of streams that are forwarded without being parsed any more.`,
  criProxySkippedMessages: counter`cri_proxy_skipped_messages_total
    Total number of messages or credentials skipped by the CRI proxy.`,
  eventLoopDelay: histogram`event_loop_delay_seconds
    Delay of a timer every few seconds: how long the event loop was blocked.`,
  cpuTime: shared.counter`process_cpu_seconds_total
    Total user and system CPU time spent in seconds.`,
  openDescriptors: shared.gauge`process_open_fds
    Number of open file descriptors; absent without /bin/sh.`,
  maxDescriptors: shared.gauge`process_max_fds
    Maximum number of open file descriptors.`,
  residentMemory: shared.gauge`process_resident_memory_bytes
    Resident memory size in bytes.`,
  processStart: shared.gauge`process_start_time_seconds
    Unix time at which the process started.`,
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

/** Options of {@linkcode AgentMetrics}. */
export interface AgentMetricsOptions {
  /** Called at every scrape. */
  readonly status: () => AgentStatus;
  readonly build: { readonly version: string; readonly commit: string; readonly deno: string };
  /** Returns the wall time in ms. */
  readonly now: () => number;
  readonly process: {
    residentBytes(): number;
    cpuSeconds(): number;
    openDescriptors(): Promise<number | undefined>;
    descriptorLimit(): Promise<number>;
  };
}

/** The response to a scrape. */
export interface MetricsPage {
  readonly contentType: string;
  readonly body: string;
}

/** Counts events, and exports the counters and the current status as Prometheus metrics. */
export class AgentMetrics implements Observer {
  readonly #registry: prometheus.Registry = new Registry();
  readonly #options: AgentMetricsOptions;
  /** Images with series of renewals. */
  readonly #images = new Set<string>();
  readonly #metrics = createMetrics(this.#registry);

  constructor(options: AgentMetricsOptions) {
    this.#options = options;
    const { version, commit, deno } = options.build;
    this.#metrics.buildInfo.set({ version, commit, deno }, 1);
    for (const provider of LABEL_VALUES.providers) {
      this.#metrics.providerRequests.inc({ provider }, 0);
      this.#metrics.providerDuration.zero({ provider });
      for (const reason of failureReasons(provider)) {
        this.#metrics.providerFailures.inc({ provider, reason }, 0);
      }
    }
    const { probes, deliveries, unapprovedHosts, discoveryProblems, criProxyBytes } = this.#metrics;
    for (const verdict of LABEL_VALUES.verdicts) probes.inc({ verdict }, 0);
    for (const result of LABEL_VALUES.deliveryResults) deliveries.inc({ result }, 0);
    for (const action of LABEL_VALUES.unapprovedHostActions) unapprovedHosts.inc({ action }, 0);
    for (const source of LABEL_VALUES.discoverySources) discoveryProblems.inc({ source }, 0);
    for (const to of LABEL_VALUES.criProxyDirections) criProxyBytes.inc({ to }, 0);
    // Absent until there is one: 0 would be a time in 1970.
    this.#metrics.configLastReload.remove();
  }

  notify(event: AgentEvent): void {
    switch (event.kind) {
      case "provider-queried": {
        const { provider, outcome, reason, durationMs } = event;
        this.#metrics.providerRequests.inc({ provider });
        this.#metrics.providerDuration.observe({ provider }, durationMs / 1000);
        if (outcome === "failed") this.#metrics.providerFailures.inc({ provider, reason });
        break;
      }
      case "plugin-executed": {
        const { plugin, result, durationMs } = event;
        const failed = result === "failure" || result === "timeout";
        this.#metrics.pluginExecutions.inc({ plugin });
        this.#metrics.pluginFailures.inc({ plugin }, failed ? 1 : 0);
        this.#metrics.pluginDuration.observe({ plugin }, durationMs / 1000);
        break;
      }
      case "credential-renewed":
        this.#addImage(event.image);
        this.#metrics.renewals.inc({ image_ref: event.image, result: "success" });
        break;
      case "renewal-failed":
        this.#addImage(event.image);
        this.#metrics.renewals.inc({ image_ref: event.image, result: "failure" });
        break;
      case "registry-probed":
        this.#metrics.probes.inc({ verdict: event.verdict });
        break;
      case "credential-evicted": {
        // The image may still be read from another endpoint.
        const isMounted = this.#options.status().images.some(({ image }) => image === event.image);
        if (!isMounted) this.#removeImage(event.image);
        break;
      }
      case "unapproved-host":
        this.#metrics.unapprovedHosts.inc({ action: event.action });
        break;
      case "delivery-attempted":
        this.#metrics.deliveries.inc({ result: event.outcome.kind });
        if (isFailedDelivery(event.outcome)) this.#metrics.deliveryFailures.inc();
        break;
      case "discovery-problem": {
        const isKnown = DISCOVERY_SOURCES.some((source) => source === event.source);
        this.#metrics.discoveryProblems.inc({ source: isKnown ? event.source : "other" });
        break;
      }
      case "reconcile-finished":
        this.#metrics.reconciles.inc();
        this.#metrics.reconcileDuration.observe(event.durationMs / 1000);
        break;
      case "config-loaded":
        this.#metrics.configInfo.reset();
        this.#metrics.configInfo.set({ hash: event.hash }, 1);
        this.#metrics.configLastReload.set(this.#options.now() / 1000);
        break;
      case "config-refused":
        this.#metrics.configReloadFailures.inc();
        break;
      default: // part of the status, or only logged
    }
  }

  /** Returns the metrics. */
  async page(): Promise<MetricsPage> {
    this.#updateFromStatus(this.#options.status());
    await this.#updateProcess();
    return { contentType: this.#registry.contentType, body: await this.#registry.metrics() };
  }

  /** Records how late a timer was. */
  observeEventLoopDelay(ms: number): void {
    this.#metrics.eventLoopDelay.observe(ms / 1000);
  }

  #addImage(image: string): void {
    if (this.#images.has(image)) return;
    this.#images.add(image);
    for (const result of LABEL_VALUES.renewalResults) {
      this.#metrics.renewals.inc({ image_ref: image, result }, 0);
    }
  }

  #removeImage(image: string): void {
    this.#images.delete(image);
    for (const result of LABEL_VALUES.renewalResults) {
      this.#metrics.renewals.remove({ image_ref: image, result });
    }
  }

  #updateFromStatus(status: AgentStatus): void {
    this.#metrics.processStart.set(status.startedAtMs / 1000);
    this.#metrics.staleWatches.set(status.staleWatches?.length ?? 0);
    setSeconds(this.#metrics.checkInterval, status.checkIntervalMs);
    setSeconds(this.#metrics.reconcileLast, status.lastReconcileAtMs);
    this.#updateDaemons(status);
    this.#updateImages(status);
    this.#updateCriProxy(status.criProxy);
  }

  async #updateProcess(): Promise<void> {
    const { process } = this.#options;
    const { residentMemory, cpuTime, openDescriptors, maxDescriptors } = this.#metrics;
    residentMemory.set(process.residentBytes());
    cpuTime.reset();
    cpuTime.inc(process.cpuSeconds());
    maxDescriptors.set(await process.descriptorLimit());
    const open = await process.openDescriptors();
    if (open === undefined) openDescriptors.remove();
    else openDescriptors.set(open);
  }

  #updateDaemons({ daemons, nowMs }: AgentStatus): void {
    for (const state of LABEL_VALUES.deliveryStates) this.#metrics.instances.set({ state }, 0);
    for (const state of LABEL_VALUES.daemonStates) this.#metrics.daemons.set({ state }, 0);
    let behind = 0;
    let firstFailureMs = Infinity;
    for (const daemon of daemons) {
      this.#metrics.daemons.inc({ state: daemon.state });
      for (const { delivery, behindSinceMs, readsFailAtMs = Infinity } of daemon.instances) {
        this.#metrics.instances.inc({ state: delivery });
        if (behindSinceMs !== undefined) behind++;
        firstFailureMs = Math.min(firstFailureMs, readsFailAtMs);
      }
    }
    this.#metrics.instancesBehind.set(behind);
    const toleranceMs = Math.max(0, firstFailureMs - nowMs);
    setSeconds(this.#metrics.outageTolerance, toleranceMs === Infinity ? undefined : toleranceMs);
  }

  /** Sets the series of the current images. One read from several endpoints has the worst values. */
  #updateImages({ images }: AgentStatus): void {
    const byImage = Map.groupBy(images, ({ image }) => image);
    for (const image of this.#images) if (!byImage.has(image)) this.#removeImage(image);
    const { storeEntries, expiry, refresh, renewalDue, lastSuccess } = this.#metrics;
    for (const gauge of [storeEntries, expiry, refresh, renewalDue, lastSuccess]) gauge.reset();
    for (const [image_ref, endpoints] of byImage) {
      this.#addImage(image_ref);
      const stored = endpoints.filter(({ provider }) =>
        provider !== undefined && provider !== "adopted"
      );
      if (stored.length > 0) storeEntries.set({ image_ref }, 1);
      setEarliest(lastSuccess, image_ref, stored.map(({ renewedAtMs }) => renewedAtMs));
      setEarliest(expiry, image_ref, endpoints.map(({ expiresAtMs }) => expiresAtMs));
      setEarliest(refresh, image_ref, endpoints.map(({ refreshAtMs }) => refreshAtMs));
      setEarliest(renewalDue, image_ref, endpoints.map(({ nextAttemptAtMs }) => nextAttemptAtMs));
    }
  }

  /** Keeps the totals of a proxy that was disabled. */
  #updateCriProxy(criProxy: CriProxyStatus | undefined): void {
    this.#metrics.criProxyInPath.set(criProxy?.state === "in-path" ? 1 : 0);
    this.#metrics.criProxyOpenConnections.set(criProxy?.openConnections ?? 0);
    if (criProxy === undefined) return;
    for (const [name, key] of CRI_PROXY_TOTALS) {
      this.#metrics[name].reset();
      this.#metrics[name].inc(criProxy[key]);
    }
    this.#metrics.criProxyBytes.reset();
    this.#metrics.criProxyBytes.inc({ to: "runtime" }, criProxy.bytesToRuntime);
    this.#metrics.criProxyBytes.inc({ to: "clients" }, criProxy.bytesToClients);
  }
}

const CRI_PROXY_TOTALS = [
  ["criProxyConnections", "connections"],
  ["criProxyConnectionFailures", "refusedConnections"],
  ["criProxyPulls", "pulls"],
  ["criProxyParseFailures", "lostReadings"],
  ["criProxySkippedMessages", "skippedMessages"],
] as const;

const CLASSES: {
  readonly counter: typeof prometheus.Counter;
  readonly gauge: typeof prometheus.Gauge;
  readonly histogram: typeof prometheus.Histogram;
} = { counter: Counter, gauge: Gauge, histogram: Histogram };
type Metrics = {
  readonly [Name in keyof typeof METRICS]: InstanceType<
    (typeof CLASSES)[(typeof METRICS)[Name]["type"]]
  >;
};

/** Creates and registers every metric. */
function createMetrics(registry: prometheus.Registry): Metrics {
  const entries = Object.entries(METRICS).map(([key, { name, type, help, labels }]) => {
    const options = { name, help, labelNames: labels, registers: [registry] };
    return [key, new CLASSES[type]({ ...options, buckets: DURATION_BUCKETS })];
  });
  return Object.fromEntries(entries) as Metrics;
}

/** Returns the reasons for which a provider can fail, so that there are no impossible series. */
function failureReasons(provider: ProviderName): readonly ReasonCode[] {
  const usesKubernetes = provider === "kubesecret" || provider === "kubelet";
  return (Object.keys(REASON_CODES) as ReasonCode[]).filter((reason) =>
    reasonOutcome(reason) === "failed" && reason !== "registry-refused" && // returned by no provider
    (!reason.startsWith("plugin-") || provider === "kubelet") &&
    (!reason.startsWith("helper-") || provider === "docker") &&
    (usesKubernetes || !KUBERNETES_REASONS.includes(reason))
  );
}

const KUBERNETES_REASONS: readonly ReasonCode[] = [
  "source-refused",
  "forbidden-by-rbac",
  "token-unavailable",
];

function isFailedDelivery({ kind, file }: DeliveryOutcome): boolean {
  return kind === "rejected" || kind === "unreachable" || kind === "unsupported" ||
    file.kind === "failed";
}

/** Sets a gauge without labels, which is absent while the time is not known. */
function setSeconds(gauge: prometheus.Gauge, ms: number | undefined): void {
  if (ms === undefined) gauge.remove();
  else gauge.set(ms / 1000);
}

function setEarliest(
  gauge: prometheus.Gauge,
  image_ref: string,
  times: (number | undefined)[],
): void {
  const earliestMs = Math.min(...times.map((ms) => ms ?? Infinity));
  if (earliestMs !== Infinity) gauge.set({ image_ref }, earliestMs / 1000);
}
