/** One line of the table that a benchmark prints. */
export interface Row {
  readonly what: string;
  readonly figure: string;
  /** The limit as text; absent when the figure has none. */
  readonly limit?: string;
  readonly isWithin?: boolean;
}

/** Returns a row without a limit, for absolute times, which depend on the machine. */
export function measured(what: string, figure: string): Row {
  return { what, figure };
}

/** Returns a row for a ratio or a count with an upper limit. */
export function atMost(what: string, value: number, limit: number, note = ""): Row {
  const figure = Number.isInteger(value) ? String(value) : value.toFixed(2);
  const isWithin = value <= limit;
  return {
    what,
    figure: note === "" ? figure : `${figure} (${note})`,
    limit: `<= ${limit}`,
    isWithin,
  };
}

/** Formats the rows as an aligned table. */
export function formatRows(rows: readonly Row[]): string {
  const cells = rows.map(({ what, figure, limit = "", isWithin }) => {
    const verdict = isWithin === undefined ? "" : isWithin ? "ok" : "TOO MUCH";
    return [what, figure, limit, verdict];
  });
  const widths = [0, 1, 2, 3].map((i) => Math.max(...cells.map((row) => row[i]?.length ?? 0)));
  return cells.map((row) => row.map((cell, i) => cell.padEnd(widths[i] ?? 0)).join("  ").trimEnd())
    .join("\n");
}

/** Returns the percentile `p` (0 to 1, nearest rank); NaN without values. */
export function percentile(values: readonly number[], p: number): number {
  const sorted = [...values].sort((a, b) => a - b);
  return sorted[Math.max(0, Math.ceil(p * sorted.length) - 1)] ?? NaN;
}

/** Formats a duration with a suitable unit. */
export function duration(ms: number): string {
  if (ms < 0.001) return `${(ms * 1e6).toFixed(0)} ns`;
  if (ms < 1) return `${(ms * 1e3).toFixed(1)} µs`;
  return ms < 1_000 ? `${ms.toFixed(1)} ms` : `${(ms / 1_000).toFixed(2)} s`;
}
