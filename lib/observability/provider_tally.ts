import type { AgentEvent, ProviderName } from "../model/mod.ts";
import { DURATION_BUCKETS, type MetricDefinition, METRICS } from "./metric_names.ts";
import type { OwnMetric } from "./prometheus.ts";

interface Count {
  requests: number;
  seconds: number;
  /** By the first bound that is not exceeded; the last is beyond all of them. */
  readonly within: number[];
}

/**
 * How often each provider was asked, and how long it took. A look-up asks every one of them, so
 * that this is counted in plain numbers and put into words when somebody asks.
 */
export class ProviderTally {
  readonly #counts = new Map<ProviderName, Count>();

  /** @param providers Told from the start, as zeros. */
  constructor(providers: readonly ProviderName[]) {
    for (const provider of providers) {
      const within = Array.from({ length: DURATION_BUCKETS.length + 1 }, () => 0);
      this.#counts.set(provider, { requests: 0, seconds: 0, within });
    }
  }

  /** Counts one question. */
  count({ provider, durationMs }: Extract<AgentEvent, { kind: "provider-queried" }>): void {
    const count = this.#counts.get(provider);
    if (count === undefined) return;
    const seconds = durationMs / 1000;
    count.requests++;
    count.seconds += seconds;
    let i = 0;
    while (i < DURATION_BUCKETS.length && seconds > (DURATION_BUCKETS[i] ?? 0)) i++;
    count.within[i] = (count.within[i] ?? 0) + 1;
  }

  /** For a registry. */
  metrics(): readonly OwnMetric[] {
    return [
      metric(
        METRICS.providerRequests,
        "counter",
        () =>
          [...this.#counts].map(([provider, { requests }]) => ({
            labels: { provider },
            value: requests,
          })),
      ),
      metric(
        METRICS.providerDuration,
        "histogram",
        () =>
          [...this.#counts].flatMap(([provider, count]) =>
            histogram(METRICS.providerDuration.name, { provider }, count)
          ),
      ),
    ];
  }
}

function metric(
  { name, help }: MetricDefinition,
  type: "counter" | "histogram",
  values: () => Awaited<ReturnType<OwnMetric["get"]>>["values"],
): OwnMetric {
  return { name, get: () => Promise.resolve({ name, help, type, values: values() }) };
}

function histogram(
  name: string,
  labels: { readonly provider: ProviderName },
  { requests, seconds, within }: Count,
) {
  let sum = 0;
  const buckets = within.map((count, i) => {
    sum += count;
    const le = DURATION_BUCKETS[i] ?? "+Inf";
    return { metricName: `${name}_bucket`, labels: { le, ...labels }, value: sum };
  });
  return [
    ...buckets,
    { metricName: `${name}_sum`, labels, value: seconds },
    { metricName: `${name}_count`, labels, value: requests },
  ];
}
