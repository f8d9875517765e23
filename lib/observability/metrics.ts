import type { AgentEvent, AgentStatus, DeliveryOutcome, Observer } from "../model/mod.ts";
import { preferredForm } from "./accept.ts";
import { timesByImage } from "./image_times.ts";
import { LABEL_VALUES } from "./label_values.ts";
import { DURATION_BUCKETS, type MetricDefinition, METRICS } from "./metric_names.ts";
import { Counter, Gauge, Histogram, registerOwn, Registry } from "./prometheus.ts";
import { ProviderTally } from "./provider_tally.ts";
import { failureReasons } from "./reasons.ts";
import { CriProxyMetrics } from "./cri_proxy_metrics.ts";

/** What the build says of itself. */
export interface BuildLabels {
  readonly version: string;
  readonly commit: string;
  readonly deno: string;
}

/** What {@linkcode AgentMetrics} is given. */
export interface AgentMetricsOptions {
  /** Asked at every scrape. */
  readonly status: () => AgentStatus;
  readonly build: BuildLabels;
  /** Wall time in ms. */
  readonly now: () => number;
  readonly process: {
    readonly residentMemoryBytes: () => number;
    readonly startedAtMs: number;
  };
}

/** A page for a scraper. */
export interface MetricsPage {
  readonly contentType: string;
  readonly body: string;
}

/** Counts what happens, and tells how things stand when it is asked. */
export class AgentMetrics implements Observer {
  readonly #registry = new Registry();
  readonly #options: AgentMetricsOptions;
  /** Images that have series now. */
  readonly #images = new Set<string>();
  readonly #renewals = this.#counter(METRICS.renewals);
  readonly #storeEntries = this.#gauge(METRICS.storeEntries);
  readonly #expiry = this.#gauge(METRICS.expiry);
  readonly #renewalDue = this.#gauge(METRICS.renewalDue);
  readonly #lastSuccess = this.#gauge(METRICS.lastSuccess);
  readonly #outageTolerance = this.#gauge(METRICS.outageTolerance);
  readonly #providers = new ProviderTally(LABEL_VALUES.providers);
  readonly #providerFailures = this.#counter(METRICS.providerFailures);
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
  readonly #criProxy = new CriProxyMetrics(this.#registry);

  constructor(options: AgentMetricsOptions) {
    this.#options = options;
    const { version, commit, deno } = options.build;
    this.#gauge(METRICS.buildInfo).set({ version, commit, deno }, 1);
    this.#gauge(METRICS.processStart).set(options.process.startedAtMs / 1000);
    for (const metric of this.#providers.metrics()) registerOwn(this.#registry, metric);
    for (const provider of LABEL_VALUES.providers) {
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
    // A time stamp of 0 would be fifty years ago: absent until there is one.
    this.#configLastReload.remove();
  }

  notify(event: AgentEvent): void {
    switch (event.kind) {
      case "provider-queried": {
        const { provider, outcome, reason } = event;
        this.#providers.count(event);
        if (outcome === "failed") this.#providerFailures.inc({ provider, reason });
        break;
      }
      case "plugin-executed":
        this.#pluginExecuted(event);
        break;
      case "credential-renewed":
        this.#ensureImage(event.image);
        this.#renewals.inc({ image_ref: event.image, result: "success" });
        break;
      case "renewal-failed":
        this.#ensureImage(event.image);
        this.#renewals.inc({ image_ref: event.image, result: "failure" });
        break;
      case "registry-probed":
        this.#probes.inc({ verdict: event.verdict });
        break;
      case "credential-evicted":
        // It may still be read from elsewhere: each way has a credential of its own.
        if (!this.#isLive(event.image)) this.#forgetImage(event.image);
        break;
      case "unapproved-host":
        this.#unapprovedHosts.inc({ action: event.action });
        break;
      case "delivery-attempted":
        this.#deliveries.inc({ result: event.outcome.kind });
        if (isFailure(event.outcome)) this.#deliveryFailures.inc();
        break;
      case "discovery-problem": {
        const known = LABEL_VALUES.discoverySources.includes(event.source);
        this.#discoveryProblems.inc({ source: known ? event.source : "other" });
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
        break; // told by the gauges, or by the log alone
      default:
        event satisfies never;
    }
  }

  /** The page, in OpenMetrics where the scraper's `Accept` header likes that best. */
  async page(accept = ""): Promise<MetricsPage> {
    this.#updateFromStatus();
    const text = await this.#registry.metrics();
    return preferredForm(accept) === "application/openmetrics-text"
      ? { contentType: Registry.OPENMETRICS_CONTENT_TYPE, body: toOpenMetrics(text) }
      : { contentType: Registry.PROMETHEUS_CONTENT_TYPE, body: text };
  }

  #pluginExecuted(event: Extract<AgentEvent, { kind: "plugin-executed" }>): void {
    const { plugin, result, durationMs } = event;
    this.#pluginExecutions.inc({ plugin });
    this.#pluginFailures.inc({ plugin }, result === "failure" || result === "timeout" ? 1 : 0);
    this.#pluginDuration.observe({ plugin }, durationMs / 1000);
  }

  #isLive(name: string): boolean {
    return this.#options.status().images.some(({ image }) => image === name);
  }

  #ensureImage(image: string): void {
    if (this.#images.has(image)) return;
    this.#images.add(image);
    for (const result of LABEL_VALUES.renewalResults) {
      this.#renewals.inc({ image_ref: image, result }, 0);
    }
  }

  #forgetImage(image: string): void {
    this.#images.delete(image);
    for (const result of LABEL_VALUES.renewalResults) {
      this.#renewals.remove({ image_ref: image, result });
    }
  }

  #updateFromStatus(): void {
    const status = this.#options.status();
    this.#residentMemory.set(this.#options.process.residentMemoryBytes());
    this.#staleWatches.set(status.staleWatches?.length ?? 0);
    if (status.checkIntervalMs === undefined) this.#checkInterval.remove();
    else this.#checkInterval.set(status.checkIntervalMs / 1000);
    this.#criProxy.look(status.criProxy);
    this.#countStates(status);
    this.#updateImages(status);
    this.#updateTolerance(status);
    if (status.lastReconcileAtMs === undefined) this.#reconcileLast.remove();
    else this.#reconcileLast.set(status.lastReconcileAtMs / 1000);
  }

  #countStates({ daemons }: AgentStatus): void {
    for (const state of LABEL_VALUES.deliveryStates) this.#instances.set({ state }, 0);
    for (const state of LABEL_VALUES.daemonStates) this.#daemons.set({ state }, 0);
    let behind = 0;
    for (const daemon of daemons) {
      this.#daemons.inc({ state: daemon.state });
      for (const { delivery, behindSinceMs } of daemon.instances) {
        this.#instances.inc({ state: delivery });
        if (behindSinceMs !== undefined) behind++;
      }
    }
    this.#instancesBehind.set(behind);
  }

  /** Set anew from what lives, so no image keeps series of its own, and none has them twice. */
  #updateImages({ images }: AgentStatus): void {
    const live = new Set(images.map(({ image }) => image));
    for (const image of this.#images) if (!live.has(image)) this.#forgetImage(image);
    for (const gauge of [this.#storeEntries, this.#expiry, this.#renewalDue, this.#lastSuccess]) {
      gauge.reset();
    }
    for (const [image_ref, status] of timesByImage(images)) {
      const { expiresAtMs, refreshAtMs } = status;
      this.#ensureImage(image_ref);
      if (status.isStored) this.#storeEntries.set({ image_ref }, 1);
      setSeconds(this.#lastSuccess, { image_ref }, status.renewedAtMs);
      setSeconds(this.#expiry, { image_ref, clock: "hard" }, expiresAtMs);
      setSeconds(this.#expiry, { image_ref, clock: "soft" }, refreshAtMs);
      setSeconds(this.#renewalDue, { image_ref }, status.nextAttemptAtMs);
    }
  }

  #updateTolerance({ daemons, nowMs }: AgentStatus): void {
    let firstEndMs = Infinity;
    for (const { instances } of daemons) {
      for (const { readsFailAtMs = Infinity } of instances) {
        firstEndMs = Math.min(firstEndMs, readsFailAtMs);
      }
    }
    if (firstEndMs === Infinity) this.#outageTolerance.remove();
    else this.#outageTolerance.set(Math.max(0, firstEndMs - nowMs) / 1000);
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

/** Whether the mount, or its configuration file, still lacks the credential. */
function isFailure({ kind, file }: DeliveryOutcome): boolean {
  return kind === "rejected" || kind === "unreachable" || kind === "unsupported" ||
    file.kind === "failed";
}

function setSeconds(gauge: Gauge, labels: Record<string, string>, ms: number | undefined): void {
  if (ms !== undefined) gauge.set(labels, ms / 1000);
}

/**
 * OpenMetrics 1.0 names a counter's family without `_total` and ends with `# EOF`. prom-client's
 * own way to it renames the counters for good, so that a plain scrape afterwards lacks `_total`.
 */
function toOpenMetrics(text: string): string {
  const lines = text.split("\n").filter((line) => line !== "");
  const renamed = lines.map((line) => line.replace(/^(# (?:HELP|TYPE) \S+?)_total /, "$1 "));
  return `${renamed.join("\n")}\n# EOF\n`;
}
