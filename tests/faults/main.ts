/**
 * `deno task test:faults`: injects every fault of the campaign into a simulated node, in seeded random
 * order, and prints the results.
 *
 * --seed N      seed of the order (default: random; printed first)
 * --faults A,B  only faults whose names contain one of these words
 * --rounds N    how often to inject each fault (default 1)
 * --shard I/N   only every Nth fault, from the Ith on: shards run in parallel
 */
import { parseArgs } from "node:util";
import { type Row, runCampaign, seeded, shuffled } from "./campaign.ts";
import { FAULTS } from "./faults.ts";

function print(text: string): void {
  Deno.stdout.writeSync(new TextEncoder().encode(`${text}\n`));
}

const { values } = parseArgs({
  options: {
    seed: { type: "string", default: String(Math.floor(Math.random() * 1e6)) },
    faults: { type: "string", default: "" },
    rounds: { type: "string", default: "1" },
    shard: { type: "string", default: "1/1" },
  },
});
const seed = Number(values.seed);
const words = values.faults.split(",").filter((word) => word !== "");
const chosen = FAULTS.filter(({ name }) =>
  words.length === 0 || words.some((word) => name.includes(word))
);
const [shard = NaN, shards = NaN] = values.shard.split("/").map(Number);
const isValid = Number.isInteger(seed) && Number(values.rounds) >= 1 && 1 <= shard &&
  shard <= shards;
if (!isValid || chosen.length === 0) {
  print("test:faults: no fault matches, or --seed, --rounds or --shard is not valid");
  Deno.exit(2);
}
const random = seeded(seed);
const faults = Array.from({ length: Number(values.rounds) }, () => shuffled(chosen, random)).flat()
  .filter((_, i) => i % shards === shard - 1);
print(`seed ${seed}, ${faults.length} faults`);

function printRow({ name, result, recoveredMs, readsFailed, breaches }: Row): void {
  const recovered = recoveredMs === undefined
    ? ""
    : `recovered after ${(recoveredMs / 1_000).toFixed(1)} s`;
  const reads = readsFailed === 0 ? "" : `${readsFailed} reads failed`;
  print([result.padEnd(8), name.padEnd(60), recovered.padEnd(22), reads].join(" ").trimEnd());
  for (const breach of breaches) print(`         ${breach}`);
}

const rows = await runCampaign(faults, printRow, { random });
const count = (result: Row["result"]) => rows.filter((row) => row.result === result).length;
const state = count("failed") === 0 ? "ok" : "FAILED";
const ignored = count("ignored") === 0 ? "" : ` | ${count("ignored")} ignored`;
print(`${state} | ${count("passed")} passed | ${count("failed")} failed${ignored}`);
Deno.exit(count("failed") === 0 ? 0 : 1);
