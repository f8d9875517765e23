/** One figure of the agent beside that of a compiled hello-world, and how much more it may be. */
export interface Ratio {
  readonly name: string;
  readonly agent: number;
  readonly hello: number;
  readonly unit: "ms" | "MiB";
  readonly limit: number;
}

/** The middle of some figures. @throws {RangeError} when there are none. */
export function median(values: readonly number[]): number {
  const sorted = [...values].sort((a, b) => a - b);
  const middle = sorted[Math.floor(sorted.length / 2)];
  if (middle === undefined) throw new RangeError("take the median: no values");
  return middle;
}

/** Whether the agent stays within the limit. */
export function isWithin({ agent, hello, limit }: Ratio): boolean {
  return agent / hello <= limit;
}

/** The figures as aligned lines. */
export function formatRatios(ratios: readonly Ratio[]): string {
  return ratios.map((ratio) => {
    const times = (ratio.agent / ratio.hello).toFixed(2);
    const figures = `${ratio.agent.toFixed(1)} to ${ratio.hello.toFixed(1)} ${ratio.unit}`;
    const verdict = isWithin(ratio) ? "ok" : "TOO MUCH";
    return `${ratio.name.padEnd(28)} ${times.padStart(5)} times` +
      ` (at most ${ratio.limit.toFixed(2)})  ${verdict.padEnd(8)}  ${figures}`;
  }).join("\n");
}
