// deno-lint-ignore-file no-console -- a simulation prints its results
/**
 * `deno task fleet`: simulates the agent's own store, schedule, retries and backoff on 10,000
 * nodes over a day of virtual time, against a rate-limited token service. Prints the claims about the
 * renewal policy, and exits with 1 when a claim does not hold.
 *
 * @module
 */
import { parseArgs } from "node:util";
import { type Claim, dayClaims, outageClaims } from "./fleet/claims.ts";
import { type FleetRun, runFleet } from "./fleet/fleet.ts";
import { SOURCES, type SourceShape } from "./fleet/shapes.ts";

const HOUR_MS = 3_600_000;
const DAY_MS = 24 * HOUR_MS;
/** The limits of ECR: 20 calls per second, bursts of 200. */
const LIMITS = { callsPerSecond: 20, burst: 200 } as const;
const RETRY_AFTER_MS = 5_000;
const OUTAGE = { fromMs: 13 * HOUR_MS, untilMs: 14 * HOUR_MS } as const;

async function main(args: readonly string[]): Promise<number> {
  const { values } = parseArgs({
    args: [...args],
    options: {
      nodes: { type: "string", default: "10000" },
      shape: { type: "string" },
    },
  });
  const nodes = Number(values.nodes);
  const scale = nodes / 10_000;
  const sources = SOURCES.filter(({ name }) => values.shape === undefined || name === values.shape);
  let broken = 0;
  for (const source of sources) {
    console.log(`\n${source.name}: ${source.description}`);
    for await (const { run, description, claims } of scenarios(source, nodes, scale)) {
      const calls = run.executions.reduce((sum, count) => sum + count, 0);
      console.log(`  ${description} (${calls} executions)`);
      for (const claim of claims) console.log(`    ${lineOf(claim)}`);
      broken += claims.filter(({ holds }) => !holds).length;
    }
  }
  console.log(`\n${broken === 0 ? "all claims hold" : `${broken} claims do not hold`}`);
  return broken === 0 ? 0 : 1;
}

interface Scenario {
  readonly run: FleetRun;
  readonly description: string;
  readonly claims: readonly Claim[];
}

async function* scenarios(
  source: SourceShape,
  fleet: number,
  scale: number,
): AsyncGenerator<Scenario> {
  // Metadata servers are independent of each other, so a tenth of the nodes is representative.
  const nodes = source.place === "local" ? Math.ceil(fleet / 10) : fleet;
  const limits = {
    callsPerSecond: LIMITS.callsPerSecond * scale,
    burst: LIMITS.burst * scale,
  };
  const base = { source, nodes, spanMs: DAY_MS };
  const day = await runFleet({ ...base, limits });
  yield {
    run: day,
    description: "a day after a simultaneous boot, 429 without Retry-After",
    claims: dayClaims(day),
  };
  if (source.place === "shared") {
    const withHeader = { ...limits, retryAfterMs: RETRY_AFTER_MS };
    const run = await runFleet({ ...base, limits: withHeader });
    const description = `the same, 429 with Retry-After: ${RETRY_AFTER_MS / 1_000}`;
    yield { run, description, claims: dayClaims(run) };
  }
  const out = await runFleet({ ...base, limits, outage: OUTAGE });
  yield {
    run: out,
    description: "the same, with an outage of one hour",
    claims: outageClaims(out),
  };
}

function lineOf({ what, figure, holds }: Claim): string {
  return `${holds ? "ok    " : "FAILED"}  ${what}: ${figure}`;
}

if (import.meta.main) Deno.exitCode = await main(Deno.args);
