/**
 * `deno task test:faults`: breaks a node in every way that the campaign knows, in an order that a
 * seed decides, and prints what held.
 *
 * --seed N      the order (a random one when not given; the table says which)
 * --faults A,B  only those whose names contain one of these words
 * --rounds N    each so often (default 1)
 */
import { parseArgs } from "node:util";
import { type Row, runCampaign, seeded, shuffled } from "./campaign.ts";
import { FAULTS } from "./faults.ts";

function say(text: string): void {
  Deno.stdout.writeSync(new TextEncoder().encode(`${text}\n`));
}

const { values } = parseArgs({
  options: {
    seed: { type: "string", default: String(Math.floor(Math.random() * 1e6)) },
    faults: { type: "string", default: "" },
    rounds: { type: "string", default: "1" },
  },
});
const seed = Number(values.seed);
const words = values.faults.split(",").filter((word) => word !== "");
const chosen = FAULTS.filter(({ name }) =>
  words.length === 0 || words.some((word) => name.includes(word))
);
if (!Number.isInteger(seed) || chosen.length === 0 || !(Number(values.rounds) >= 1)) {
  say("test:faults: no fault has such a name, or a number is none");
  Deno.exit(2);
}
const random = seeded(seed);
const faults = Array.from({ length: Number(values.rounds) }, () => shuffled(chosen, random)).flat();
say(`seed ${seed}, ${faults.length} faults`);

function tell({ name, result, mendedMs, readsFailed, breaches }: Row): void {
  const mended = mendedMs === undefined ? "" : `mended after ${(mendedMs / 1_000).toFixed(1)} s`;
  const reads = readsFailed === 0 ? "" : `${readsFailed} reads failed`;
  say([result.padEnd(8), name.padEnd(60), mended.padEnd(20), reads].join(" ").trimEnd());
  for (const breach of breaches) say(`         ${breach}`);
}

const rows = await runCampaign(faults, tell, { random });
const count = (result: Row["result"]) => rows.filter((row) => row.result === result).length;
const state = count("broken") === 0 ? "ok" : "FAILED";
const ignored = count("left out") === 0 ? "" : ` | ${count("left out")} ignored`;
say(`${state} | ${count("held")} passed | ${count("broken")} failed${ignored}`);
Deno.exit(count("broken") === 0 ? 0 : 1);
