/** A time series, and how much it may grow. */
export interface Series {
  readonly name: string;
  readonly unit: string;
  readonly values: readonly number[];
  /** Upper limit of the last quarter's median: the first quarter's times `times`, plus `plus`. */
  readonly growth: { readonly times: number; readonly plus: number };
}

/** Whether a series is flat, with a summary for the output. */
export interface Flatness {
  readonly isFlat: boolean;
  readonly summary: string;
}

/** Compares the median of the last quarter with the median of the first. */
export function flatnessOf({ name, unit, values, growth }: Series): Flatness {
  const quarter = Math.max(1, Math.floor(values.length / 4));
  const first = middle(values.slice(0, quarter));
  const last = middle(values.slice(-quarter));
  const limit = first * growth.times + growth.plus;
  const isFlat = last <= limit;
  const figures = [first, last, limit].map((value) => value.toFixed(1));
  const summary =
    `${isFlat ? "flat" : "GROWS"}  ${name}: ${figures[0]} ${unit} in the first quarter,` +
    ` ${figures[1]} in the last (at most ${figures[2]})`;
  return { isFlat, summary };
}

function middle(values: readonly number[]): number {
  const sorted = [...values].sort((a, b) => a - b);
  return sorted[Math.floor(sorted.length / 2)] ?? NaN;
}
