/** A figure of the agent and of a compiled hello-world, with a limit for their ratio. */
export interface Ratio {
  readonly name: string;
  readonly agent: number;
  readonly hello: number;
  readonly unit: "ms" | "MiB";
  readonly limit: number;
}

/** Returns the median. @throws {RangeError} when there are no values. */
export function median(values: readonly number[]): number {
  const sorted = [...values].sort((a, b) => a - b);
  const middle = sorted[Math.floor(sorted.length / 2)];
  if (middle === undefined) throw new RangeError("failed to compute the median: no values");
  return middle;
}

/** Whether the ratio is within the limit. */
export function isWithin({ agent, hello, limit }: Ratio): boolean {
  return agent / hello <= limit;
}

/** Formats the figures as aligned lines. */
export function formatRatios(ratios: readonly Ratio[]): string {
  return ratios.map((ratio) => {
    const times = (ratio.agent / ratio.hello).toFixed(2);
    const figures = `${ratio.agent.toFixed(1)} to ${ratio.hello.toFixed(1)} ${ratio.unit}`;
    const verdict = isWithin(ratio) ? "ok" : "TOO MUCH";
    return `${ratio.name.padEnd(28)} ${times.padStart(5)} times` +
      ` (at most ${ratio.limit.toFixed(2)})  ${verdict.padEnd(8)}  ${figures}`;
  }).join("\n");
}
