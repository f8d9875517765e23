import type {
  AgentEvent,
  AgentStatus,
  CriProxyStatus,
  DeliveryOutcome,
  Observer,
} from "../model/mod.ts";
import {
  DURATION_BUCKETS,
  LABEL_VALUES,
  type MetricDefinition,
  METRICS,
} from "./metric_definitions.ts";
import {
  Counter,
  type ExpositionFormat,
  Gauge,
  Histogram,
  Registry,
  toOpenMetrics,
} from "./prometheus.ts";
import { failureReasons } from "./reasons.ts";

/** Options of {@linkcode AgentMetrics}. */
export interface AgentMetricsOptions {
  /** Called at every scrape. */
  readonly status: () => AgentStatus;
  readonly build: { readonly version: string; readonly commit: string; readonly deno: string };
  /** Returns the wall time in ms. */
  readonly now: () => number;
  readonly process: {
    readonly residentMemoryBytes: () => number;
    readonly startedAtMs: number;
  };
}

/** The response to a scrape. */
export interface MetricsPage {
  readonly contentType: string;
  readonly body: string;
}

/** Counts events, and exports the counters and the current status as Prometheus metrics. */
export class AgentMetrics implements Observer {
  readonly #registry = new Registry();
  readonly #options: AgentMetricsOptions;
  /** Images with series of renewals. */
  readonly #images = new Set<string>();
  readonly #renewals = this.#counter(METRICS.renewals);
  readonly #storeEntries = this.#gauge(METRICS.storeEntries);
  readonly #expiry = this.#gauge(METRICS.expiry);
  readonly #refresh = this.#gauge(METRICS.refresh);
  readonly #renewalDue = this.#gauge(METRICS.renewalDue);
  readonly #lastSuccess = this.#gauge(METRICS.lastSuccess);
  readonly #outageTolerance = this.#gauge(METRICS.outageTolerance);
  readonly #providerRequests = this.#counter(METRICS.providerRequests);
  readonly #providerFailures = this.#counter(METRICS.providerFailures);
  readonly #providerDuration = this.#histogram(METRICS.providerDuration);
  readonly #pluginExecutions = this.#counter(METRICS.pluginExecutions);
  readonly #pluginFailures = this.#counter(METRICS.pluginFailures);
  readonly #pluginDuration = this.#histogram(METRICS.pluginDuration);
  readonly #probes = this.#counter(METRICS.probes);
  readonly #deliveries = this.#counter(METRICS.deliveries);
  readonly #deliveryFailures = this.#counter(METRICS.deliveryFailures);
  readonly #unapprovedHosts = this.#counter(METRICS.unapprovedHosts);
  readonly #instances = this.#gauge(METRICS.instances);
  readonly #instancesBehind = this.#gauge(METRICS.instancesBehind);
  readonly #daemons = this.#gauge(METRICS.daemons);
  readonly #reconciles = this.#counter(METRICS.reconciles);
  readonly #reconcileDuration = this.#histogram(METRICS.reconcileDuration);
  readonly #reconcileLast = this.#gauge(METRICS.reconcileLast);
  readonly #checkInterval = this.#gauge(METRICS.checkInterval);
  readonly #staleWatches = this.#gauge(METRICS.staleWatches);
  readonly #discoveryProblems = this.#counter(METRICS.discoveryProblems);
  readonly #configInfo = this.#gauge(METRICS.configInfo);
  readonly #configLastReload = this.#gauge(METRICS.configLastReload);
  readonly #configReloadFailures = this.#counter(METRICS.configReloadFailures);
  readonly #residentMemory = this.#gauge(METRICS.residentMemory);
  readonly #criProxyInPath = this.#gauge(METRICS.criProxyInPath);
  readonly #criProxyOpenConnections = this.#gauge(METRICS.criProxyOpenConnections);
  readonly #criProxyBytes = this.#counter(METRICS.criProxyBytes);
  readonly #criProxyTotals = [
    [this.#counter(METRICS.criProxyConnections), "connections"],
    [this.#counter(METRICS.criProxyConnectionFailures), "refusedConnections"],
    [this.#counter(METRICS.criProxyPulls), "pulls"],
    [this.#counter(METRICS.criProxyParseFailures), "lostReadings"],
    [this.#counter(METRICS.criProxySkippedMessages), "skippedMessages"],
  ] as const;

  constructor(options: AgentMetricsOptions) {
    this.#options = options;
    const { version, commit, deno } = options.build;
    this.#gauge(METRICS.buildInfo).set({ version, commit, deno }, 1);
    this.#gauge(METRICS.processStart).set(options.process.startedAtMs / 1000);
    for (const provider of LABEL_VALUES.providers) {
      this.#providerRequests.inc({ provider }, 0);
      this.#providerDuration.zero({ provider });
      for (const reason of failureReasons(provider)) {
        this.#providerFailures.inc({ provider, reason }, 0);
      }
    }
    for (const verdict of LABEL_VALUES.verdicts) this.#probes.inc({ verdict }, 0);
    for (const result of LABEL_VALUES.deliveryResults) this.#deliveries.inc({ result }, 0);
    for (const action of LABEL_VALUES.unapprovedHostActions) {
      this.#unapprovedHosts.inc({ action }, 0);
    }
    for (const source of LABEL_VALUES.discoverySources) this.#discoveryProblems.inc({ source }, 0);
    for (const to of LABEL_VALUES.criProxyDirections) this.#criProxyBytes.inc({ to }, 0);
    // Absent until there is one: 0 would be a time in 1970.
    this.#configLastReload.remove();
  }

  notify(event: AgentEvent): void {
    switch (event.kind) {
      case "provider-queried": {
        const { provider, outcome, reason, durationMs } = event;
        this.#providerRequests.inc({ provider });
        this.#providerDuration.observe({ provider }, durationMs / 1000);
        if (outcome === "failed") this.#providerFailures.inc({ provider, reason });
        break;
      }
      case "plugin-executed": {
        const { plugin, result, durationMs } = event;
        const failed = result === "failure" || result === "timeout";
        this.#pluginExecutions.inc({ plugin });
        this.#pluginFailures.inc({ plugin }, failed ? 1 : 0);
        this.#pluginDuration.observe({ plugin }, durationMs / 1000);
        break;
      }
      case "credential-renewed":
        this.#addImage(event.image);
        this.#renewals.inc({ image_ref: event.image, result: "success" });
        break;
      case "renewal-failed":
        this.#addImage(event.image);
        this.#renewals.inc({ image_ref: event.image, result: "failure" });
        break;
      case "registry-probed":
        this.#probes.inc({ verdict: event.verdict });
        break;
      case "credential-evicted": {
        // The image may still be read from another endpoint.
        const isMounted = this.#options.status().images.some(({ image }) => image === event.image);
        if (!isMounted) this.#removeImage(event.image);
        break;
      }
      case "unapproved-host":
        this.#unapprovedHosts.inc({ action: event.action });
        break;
      case "delivery-attempted":
        this.#deliveries.inc({ result: event.outcome.kind });
        if (isFailedDelivery(event.outcome)) this.#deliveryFailures.inc();
        break;
      case "discovery-problem": {
        const isKnown = LABEL_VALUES.discoverySources.includes(event.source);
        this.#discoveryProblems.inc({ source: isKnown ? event.source : "other" });
        break;
      }
      case "reconcile-finished":
        this.#reconciles.inc();
        this.#reconcileDuration.observe(event.durationMs / 1000);
        break;
      case "config-loaded":
        this.#configInfo.reset();
        this.#configInfo.set({ hash: event.hash }, 1);
        this.#configLastReload.set(this.#options.now() / 1000);
        break;
      case "config-refused":
        this.#configReloadFailures.inc();
        break;
      case "credential-adopted":
      case "candidate-selected":
      case "delivery-state-changed":
      case "daemon-state-changed":
      case "discovery-recovered":
      case "source-changed":
      case "health-changed":
      case "warning":
        break; // part of the status, or only logged
      default:
        event satisfies never;
    }
  }

  /** Returns the metrics. */
  async page(format: ExpositionFormat = "text/plain"): Promise<MetricsPage> {
    this.#updateFromStatus(this.#options.status());
    const text = await this.#registry.metrics();
    return format === "application/openmetrics-text"
      ? { contentType: Registry.OPENMETRICS_CONTENT_TYPE, body: toOpenMetrics(text) }
      : { contentType: Registry.PROMETHEUS_CONTENT_TYPE, body: text };
  }

  #addImage(image: string): void {
    if (this.#images.has(image)) return;
    this.#images.add(image);
    for (const result of LABEL_VALUES.renewalResults) {
      this.#renewals.inc({ image_ref: image, result }, 0);
    }
  }

  #removeImage(image: string): void {
    this.#images.delete(image);
    for (const result of LABEL_VALUES.renewalResults) {
      this.#renewals.remove({ image_ref: image, result });
    }
  }

  #updateFromStatus(status: AgentStatus): void {
    this.#residentMemory.set(this.#options.process.residentMemoryBytes());
    this.#staleWatches.set(status.staleWatches?.length ?? 0);
    setSeconds(this.#checkInterval, status.checkIntervalMs);
    setSeconds(this.#reconcileLast, status.lastReconcileAtMs);
    this.#updateDaemons(status);
    this.#updateImages(status);
    this.#updateCriProxy(status.criProxy);
  }

  #updateDaemons({ daemons, nowMs }: AgentStatus): void {
    for (const state of LABEL_VALUES.deliveryStates) this.#instances.set({ state }, 0);
    for (const state of LABEL_VALUES.daemonStates) this.#daemons.set({ state }, 0);
    let behind = 0;
    let firstFailureMs = Infinity;
    for (const daemon of daemons) {
      this.#daemons.inc({ state: daemon.state });
      for (const { delivery, behindSinceMs, readsFailAtMs = Infinity } of daemon.instances) {
        this.#instances.inc({ state: delivery });
        if (behindSinceMs !== undefined) behind++;
        firstFailureMs = Math.min(firstFailureMs, readsFailAtMs);
      }
    }
    this.#instancesBehind.set(behind);
    const toleranceMs = Math.max(0, firstFailureMs - nowMs);
    setSeconds(this.#outageTolerance, toleranceMs === Infinity ? undefined : toleranceMs);
  }

  /** Sets the series of the current images. One read from several endpoints has the worst values. */
  #updateImages({ images }: AgentStatus): void {
    const byImage = Map.groupBy(images, ({ image }) => image);
    for (const image of this.#images) if (!byImage.has(image)) this.#removeImage(image);
    this.#storeEntries.reset();
    for (const gauge of [this.#expiry, this.#refresh, this.#renewalDue, this.#lastSuccess]) {
      gauge.reset();
    }
    for (const [image_ref, endpoints] of byImage) {
      this.#addImage(image_ref);
      const stored = endpoints.filter(({ provider }) =>
        provider !== undefined && provider !== "adopted"
      );
      if (stored.length > 0) this.#storeEntries.set({ image_ref }, 1);
      setEarliest(this.#lastSuccess, image_ref, stored.map(({ renewedAtMs }) => renewedAtMs));
      setEarliest(this.#expiry, image_ref, endpoints.map(({ expiresAtMs }) => expiresAtMs));
      setEarliest(this.#refresh, image_ref, endpoints.map(({ refreshAtMs }) => refreshAtMs));
      const dueTimes = endpoints.map(({ nextAttemptAtMs }) => nextAttemptAtMs);
      setEarliest(this.#renewalDue, image_ref, dueTimes);
    }
  }

  /** Keeps the totals of a proxy that was disabled. */
  #updateCriProxy(criProxy: CriProxyStatus | undefined): void {
    this.#criProxyInPath.set(criProxy?.state === "in-path" ? 1 : 0);
    this.#criProxyOpenConnections.set(criProxy?.openConnections ?? 0);
    if (criProxy === undefined) return;
    for (const [counter, key] of this.#criProxyTotals) {
      counter.reset();
      counter.inc(criProxy[key]);
    }
    this.#criProxyBytes.reset();
    this.#criProxyBytes.inc({ to: "runtime" }, criProxy.bytesToRuntime);
    this.#criProxyBytes.inc({ to: "clients" }, criProxy.bytesToClients);
  }

  #counter({ name, help, labels }: MetricDefinition): Counter {
    return new Counter({ name, help, labelNames: labels, registers: [this.#registry] });
  }

  #gauge({ name, help, labels }: MetricDefinition): Gauge {
    return new Gauge({ name, help, labelNames: labels, registers: [this.#registry] });
  }

  #histogram({ name, help, labels }: MetricDefinition): Histogram {
    const buckets = [...DURATION_BUCKETS];
    return new Histogram({ name, help, labelNames: labels, buckets, registers: [this.#registry] });
  }
}

function isFailedDelivery({ kind, file }: DeliveryOutcome): boolean {
  return kind === "rejected" || kind === "unreachable" || kind === "unsupported" ||
    file.kind === "failed";
}

/** Sets a gauge without labels, which is absent while the time is not known. */
function setSeconds(gauge: Gauge, ms: number | undefined): void {
  if (ms === undefined) gauge.remove();
  else gauge.set(ms / 1000);
}

function setEarliest(gauge: Gauge, image_ref: string, times: (number | undefined)[]): void {
  const earliestMs = Math.min(...times.map((ms) => ms ?? Infinity));
  if (earliestMs !== Infinity) gauge.set({ image_ref }, earliestMs / 1000);
}
