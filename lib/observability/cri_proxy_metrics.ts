import { Counter, Gauge, type Registry } from "prom-client";
import type { TapStatus } from "../model/mod.ts";
import { LABEL_VALUES } from "./label_values.ts";
import { type MetricDefinition, METRICS } from "./metric_names.ts";

/** The series of the CRI tap; all of them 0 while it is not enabled. */
export class TapMetrics {
  readonly #registry: Registry;
  readonly #inPath: Gauge;
  readonly #open: Gauge;
  readonly #bytes: Counter;
  readonly #totals: readonly (readonly [Counter, (tap: TapStatus) => number])[];

  constructor(registry: Registry) {
    this.#registry = registry;
    this.#inPath = this.#gauge(METRICS.tapInPath);
    this.#open = this.#gauge(METRICS.tapOpenConnections);
    this.#bytes = this.#counter(METRICS.tapBytes);
    this.#totals = [
      [this.#counter(METRICS.tapConnections), (tap) => tap.connections],
      [this.#counter(METRICS.tapConnectionFailures), (tap) => tap.refusedConnections],
      [this.#counter(METRICS.tapPulls), (tap) => tap.pulls],
      [this.#counter(METRICS.tapLostReadings), (tap) => tap.lostReadings],
      [this.#counter(METRICS.tapSkippedMessages), (tap) => tap.skippedMessages],
    ];
    for (const to of LABEL_VALUES.tapDirections) this.#bytes.inc({ to }, 0);
  }

  /** Sets everything to how it stands; a tap that is switched off keeps its totals. */
  look(tap: TapStatus | undefined): void {
    this.#inPath.set(tap?.state === "in-path" ? 1 : 0);
    this.#open.set(tap?.openConnections ?? 0);
    if (tap === undefined) return;
    for (const [counter, of] of this.#totals) {
      counter.reset();
      counter.inc(of(tap));
    }
    this.#bytes.reset();
    this.#bytes.inc({ to: "runtime" }, tap.bytesToRuntime);
    this.#bytes.inc({ to: "clients" }, tap.bytesToClients);
  }

  #counter({ name, help, labels }: MetricDefinition): Counter {
    return new Counter({ name, help, labelNames: labels, registers: [this.#registry] });
  }

  #gauge({ name, help, labels }: MetricDefinition): Gauge {
    return new Gauge({ name, help, labelNames: labels, registers: [this.#registry] });
  }
}
