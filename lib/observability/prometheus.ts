import type * as prometheus from "prom-client";
import counter from "prom-client/lib/counter.js";
import gauge from "prom-client/lib/gauge.js";
import histogram from "prom-client/lib/histogram.js";
import registry from "prom-client/lib/registry.js";

// The main module of prom-client also loads a push gateway, cluster support and default metrics,
// and with them half of the Node library.
export const Counter: typeof prometheus.Counter = counter;
export const Gauge: typeof prometheus.Gauge = gauge;
export const Histogram: typeof prometheus.Histogram = histogram;
export const Registry: typeof prometheus.Registry = registry;
export type Counter = prometheus.Counter;
export type Gauge = prometheus.Gauge;
export type Histogram = prometheus.Histogram;

/** The supported exposition formats, the default first, with their versions. */
const FORMATS = {
  "text/plain": ["0.0.4"],
  "application/openmetrics-text": ["1.0.0", "0.0.1"],
} as const;
/** A media type of {@linkcode FORMATS}. */
export type ExpositionFormat = keyof typeof FORMATS;

/**
 * Returns the format that an `Accept` header (RFC 9110, 12.5.1) prefers. The default is the text
 * format, also if the header excludes both: a scraper should get something.
 */
export function preferredFormat(accept: string): ExpositionFormat {
  const ranges = accept.split(",").map(parseMediaRange);
  const plain = weightOf("text/plain", ranges);
  const open = weightOf("application/openmetrics-text", ranges);
  return open > plain ? "application/openmetrics-text" : "text/plain";
}

interface MediaRange {
  readonly type: string;
  readonly version: string | undefined;
  readonly weight: number;
}

function parseMediaRange(text: string): MediaRange {
  const [type = "", ...parameters] = text.split(";").map((part) => part.trim().toLowerCase());
  const value = (name: string) =>
    parameters.find((parameter) => parameter.startsWith(`${name}=`))?.slice(name.length + 1)
      .replaceAll('"', "");
  const weight = Number(value("q") ?? "1");
  const isWeight = weight >= 0 && weight <= 1;
  return { type, version: value("version"), weight: isWeight ? weight : 0 };
}

/** Returns the weight of the most specific range that matches. A range may have no version. */
function weightOf(format: ExpositionFormat, ranges: readonly MediaRange[]): number {
  const [family = ""] = format.split("/");
  const versions: readonly string[] = FORMATS[format];
  for (const pattern of [format, `${family}/*`, "*/*"]) {
    const matching = ranges.filter(({ type, version }) =>
      type === pattern && (version === undefined || versions.includes(version))
    );
    if (matching.length > 0) return Math.max(...matching.map(({ weight }) => weight));
  }
  return 0;
}

/**
 * Converts the text format to OpenMetrics 1.0, which names the family of a counter without `_total`
 * and ends with `# EOF`. The conversion of prom-client renames the counters permanently.
 */
export function toOpenMetrics(text: string): string {
  const lines = text.split("\n").filter((line) => line !== "");
  const renamed = lines.map((line) => line.replace(/^(# (?:HELP|TYPE) \S+?)_total /, "$1 "));
  return `${renamed.join("\n")}\n# EOF\n`;
}
