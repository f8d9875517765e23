/** One line of the table that a benchmark prints. */
export interface Row {
  readonly what: string;
  readonly figure: string;
  /** What the figure is held against, in words; absent where it only informs. */
  readonly limit?: string;
  readonly isWithin?: boolean;
}

/** A figure that is only told: absolute times say as much of the machine as of the program. */
export function told(what: string, figure: string): Row {
  return { what, figure };
}

/** A ratio or a count that must not be above a limit. */
export function atMost(what: string, value: number, limit: number, words = ""): Row {
  const figure = Number.isInteger(value) ? String(value) : value.toFixed(2);
  const isWithin = value <= limit;
  return {
    what,
    figure: words === "" ? figure : `${figure} (${words})`,
    limit: `<= ${limit}`,
    isWithin,
  };
}

/** The rows as a table for the eye. */
export function formatRows(rows: readonly Row[]): string {
  const cells = rows.map(({ what, figure, limit = "", isWithin }) => {
    const verdict = isWithin === undefined ? "" : isWithin ? "ok" : "TOO MUCH";
    return [what, figure, limit, verdict];
  });
  const widths = [0, 1, 2, 3].map((i) => Math.max(...cells.map((row) => row[i]?.length ?? 0)));
  return cells.map((row) => row.map((cell, i) => cell.padEnd(widths[i] ?? 0)).join("  ").trimEnd())
    .join("\n");
}

/** The value below which the share `p` of some figures lies (nearest rank); NaN of none. */
export function percentile(values: readonly number[], p: number): number {
  const sorted = [...values].sort((a, b) => a - b);
  return sorted[Math.max(0, Math.ceil(p * sorted.length) - 1)] ?? NaN;
}

/** Microseconds or milliseconds, as fits. */
export function duration(ms: number): string {
  if (ms < 0.001) return `${(ms * 1e6).toFixed(0)} ns`;
  if (ms < 1) return `${(ms * 1e3).toFixed(1)} µs`;
  return ms < 1_000 ? `${ms.toFixed(1)} ms` : `${(ms / 1_000).toFixed(2)} s`;
}
