// deno-lint-ignore-file no-console -- a simulation talks to a person
/**
 * `deno task fleet`: the agent's own store, schedule, retries and backoff on 10,000 nodes, in
 * virtual time over a day, against a token service with a bucket. Prints what the policy promises
 * and how it kept it, and exits with 1 when a promise was broken.
 *
 * @module
 */
import { parseArgs } from "node:util";
import { type Claim, dayClaims, outageClaims } from "./fleet/claims.ts";
import { type FleetRun, runFleet } from "./fleet/fleet.ts";
import { SOURCES, type SourceShape } from "./fleet/shapes.ts";

const HOUR_MS = 3_600_000;
const DAY_MS = 24 * HOUR_MS;
/** ECR's: 20 calls a second, bursts of 200. */
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
    console.log(`\n${source.name}: ${source.words}`);
    for await (const { run, words, claims } of scenarios(source, nodes, scale)) {
      const calls = run.asked.reduce((sum, count) => sum + count, 0);
      console.log(`  ${words} (${calls} executions)`);
      for (const claim of claims) console.log(`    ${lineOf(claim)}`);
      broken += claims.filter(({ isKept }) => !isKept).length;
    }
  }
  console.log(`\n${broken === 0 ? "every promise was kept" : `${broken} promises were broken`}`);
  return broken === 0 ? 0 : 1;
}

interface Scenario {
  readonly run: FleetRun;
  readonly words: string;
  readonly claims: readonly Claim[];
}

async function* scenarios(
  source: SourceShape,
  fleet: number,
  scale: number,
): AsyncGenerator<Scenario> {
  // Sources on the nodes do not meet: some nodes tell what all would.
  const nodes = source.place === "local" ? Math.ceil(fleet / 10) : fleet;
  const limits = {
    callsPerSecond: LIMITS.callsPerSecond * scale,
    burst: LIMITS.burst * scale,
  };
  const base = { source, nodes, spanMs: DAY_MS };
  const day = await runFleet({ ...base, limits });
  yield { run: day, words: "a day from a common boot on, 429 alone", claims: dayClaims(day) };
  if (source.place === "shared") {
    const told = { ...limits, retryAfterMs: RETRY_AFTER_MS };
    const run = await runFleet({ ...base, limits: told });
    const words = `the same, 429 with Retry-After: ${RETRY_AFTER_MS / 1_000}`;
    yield { run, words, claims: dayClaims(run) };
  }
  const out = await runFleet({ ...base, limits, outage: OUTAGE });
  yield { run: out, words: "the same with an outage of an hour", claims: outageClaims(out) };
}

function lineOf({ what, figure, isKept }: Claim): string {
  return `${isKept ? "kept  " : "BROKEN"}  ${what}: ${figure}`;
}

if (import.meta.main) Deno.exitCode = await main(Deno.args);
