import type * as prometheus from "prom-client";
import counter from "prom-client/lib/counter.js";
import gauge from "prom-client/lib/gauge.js";
import histogram from "prom-client/lib/histogram.js";
import registry from "prom-client/lib/registry.js";

/*
 * The four parts of prom-client that the agent uses. Its main module also brings a push gateway, a
 * cluster's metrics and the runtime's own, and with them half of Node's library into memory.
 */
export const Counter: typeof prometheus.Counter = counter;
export const Gauge: typeof prometheus.Gauge = gauge;
export const Histogram: typeof prometheus.Histogram = histogram;
export const Registry: typeof prometheus.Registry = registry;
export type Counter = prometheus.Counter;
export type Gauge = prometheus.Gauge;
export type Histogram = prometheus.Histogram;

/** Numbers that are counted elsewhere, and read when a page is made. */
export interface OwnMetric {
  readonly name: string;
  get(): Promise<{
    readonly name: string;
    readonly help: string;
    readonly type: "counter" | "gauge" | "histogram";
    readonly values: readonly {
      readonly metricName?: string;
      readonly labels: Readonly<Record<string, string | number>>;
      readonly value: number;
    }[];
  }>;
}

/** A registry asks no more of a metric than its name and what `get` gives. */
export function registerOwn(registry: prometheus.Registry, metric: OwnMetric): void {
  registry.registerMetric(metric as unknown as prometheus.Counter);
}
