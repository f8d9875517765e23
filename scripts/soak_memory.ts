// deno-lint-ignore-file no-console -- a soak test prints its results
/**
 * `deno task soak:memory [-- --hours 24 --minutes 10]`: checks that memory, handles and child
 * processes stay flat, over simulated hours in one process and over real minutes with the simulated
 * node. Exits with 1 when a series grows.
 *
 * @module
 */
import { parseArgs } from "node:util";
import { flatnessOf, type Series } from "./soak/flatness.ts";
import { realMinutes } from "./soak/real_minutes.ts";
import { simulatedHours } from "./soak/simulated_day.ts";

async function main(args: readonly string[]): Promise<number> {
  const { values } = parseArgs({
    args: args.filter((arg) => arg !== "--"),
    options: {
      hours: { type: "string", default: "24" },
      minutes: { type: "string", default: "10" },
    },
  });
  const parts: [string, number, (amount: number) => Promise<readonly Series[]>][] = [
    ["simulated hours", Number(values.hours), simulatedHours],
    ["real minutes", Number(values.minutes), realMinutes],
  ];
  let growing = 0;
  for (const [name, amount, run] of parts) {
    if (!(amount > 0)) continue;
    console.log(`${amount} ${name}`);
    for (const series of await run(amount)) {
      const { isFlat, summary } = flatnessOf(series);
      console.log(`  ${summary}`);
      if (!isFlat) growing++;
    }
  }
  return growing === 0 ? 0 : 1;
}

if (import.meta.main) Deno.exit(await main(Deno.args));
