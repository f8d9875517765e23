/** Number of passed, failed and ignored tests of a `deno test` run. */
export interface TestSummary {
  readonly passed: number;
  readonly failed: number;
  readonly ignored: number;
}

/** Reads the last summary line of `deno test`; undefined when the output has none. */
export function summaryOf(output: string): TestSummary | undefined {
  const line = output.split("\n").findLast((text) => /^(ok|FAILED) \| \d+ passed/.test(text));
  if (line === undefined) return undefined;
  const count = (what: string) => Number(new RegExp(`(\\d+) ${what}`).exec(line)?.[1] ?? 0);
  return { passed: count("passed"), failed: count("failed"), ignored: count("ignored") };
}
