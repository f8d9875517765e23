/** The media types that a page of metrics can have, the one for those who do not care first. */
const OFFERED = ["text/plain", "application/openmetrics-text"] as const;
type Offered = (typeof OFFERED)[number];

/**
 * The form of metrics that an `Accept` header (RFC 9110, 12.5.1) likes best; the plain text format
 * where it likes both as much, is empty, or names neither: a scraper may fail on what it gets, and
 * must not fail on getting nothing.
 */
export function preferredForm(accept: string): Offered {
  const ranges = accept.split(",").map(readRange);
  let best: { readonly type: Offered; readonly weight: number } | undefined;
  for (const type of OFFERED) {
    const weight = weightOf(type, ranges);
    if (weight > 0 && weight > (best?.weight ?? 0)) best = { type, weight };
  }
  return best?.type ?? "text/plain";
}

interface Range {
  readonly type: string;
  readonly version: string | undefined;
  readonly weight: number;
}

function readRange(text: string): Range {
  const [type = "", ...parameters] = text.split(";").map((part) => part.trim().toLowerCase());
  const value = (name: string) =>
    parameters.find((parameter) => parameter.startsWith(`${name}=`))?.slice(name.length + 1)
      .replaceAll('"', "");
  const weight = Number(value("q") ?? "1");
  const isWeight = weight >= 0 && weight <= 1;
  return { type, version: value("version"), weight: isWeight ? weight : 0 };
}

/** The versions that we speak; a range without one takes any. */
const VERSIONS: Readonly<Record<Offered, readonly string[]>> = {
  "text/plain": ["0.0.4"],
  "application/openmetrics-text": ["1.0.0", "0.0.1"],
};

/** Of the ranges that fit, the most exact one counts, whatever its weight. */
function weightOf(type: Offered, ranges: readonly Range[]): number {
  const [family = ""] = type.split("/");
  for (const pattern of [type, `${family}/*`, "*/*"]) {
    const fitting = ranges.filter((range) =>
      range.type === pattern &&
      (range.version === undefined || VERSIONS[type].includes(range.version))
    );
    if (fitting.length > 0) return Math.max(...fitting.map(({ weight }) => weight));
  }
  return 0;
}
