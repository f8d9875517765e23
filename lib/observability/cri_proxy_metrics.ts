import { Counter, Gauge, type Registry } from "prom-client";
import type { CriProxyStatus } from "../model/mod.ts";
import { LABEL_VALUES } from "./label_values.ts";
import { type MetricDefinition, METRICS } from "./metric_names.ts";

/** The series of the CRI proxy; all of them 0 while it is not enabled. */
export class CriProxyMetrics {
  readonly #registry: Registry;
  readonly #inPath: Gauge;
  readonly #open: Gauge;
  readonly #bytes: Counter;
  readonly #totals: readonly (readonly [Counter, (criProxy: CriProxyStatus) => number])[];

  constructor(registry: Registry) {
    this.#registry = registry;
    this.#inPath = this.#gauge(METRICS.tapInPath);
    this.#open = this.#gauge(METRICS.criProxyOpenConnections);
    this.#bytes = this.#counter(METRICS.criProxyBytes);
    this.#totals = [
      [this.#counter(METRICS.criProxyConnections), (criProxy) => criProxy.connections],
      [
        this.#counter(METRICS.criProxyConnectionFailures),
        (criProxy) => criProxy.refusedConnections,
      ],
      [this.#counter(METRICS.criProxyPulls), (criProxy) => criProxy.pulls],
      [this.#counter(METRICS.criProxyLostReadings), (criProxy) => criProxy.lostReadings],
      [this.#counter(METRICS.criProxySkippedMessages), (criProxy) => criProxy.skippedMessages],
    ];
    for (const to of LABEL_VALUES.criProxyDirections) this.#bytes.inc({ to }, 0);
  }

  /** Sets everything to how it stands; a CRI proxy that is switched off keeps its totals. */
  look(criProxy: CriProxyStatus | undefined): void {
    this.#inPath.set(criProxy?.state === "in-path" ? 1 : 0);
    this.#open.set(criProxy?.openConnections ?? 0);
    if (criProxy === undefined) return;
    for (const [counter, of] of this.#totals) {
      counter.reset();
      counter.inc(of(criProxy));
    }
    this.#bytes.reset();
    this.#bytes.inc({ to: "runtime" }, criProxy.bytesToRuntime);
    this.#bytes.inc({ to: "clients" }, criProxy.bytesToClients);
  }

  #counter({ name, help, labels }: MetricDefinition): Counter {
    return new Counter({ name, help, labelNames: labels, registers: [this.#registry] });
  }

  #gauge({ name, help, labels }: MetricDefinition): Gauge {
    return new Gauge({ name, help, labelNames: labels, registers: [this.#registry] });
  }
}
