// deno-lint-ignore-file no-console -- a benchmark talks to a person
/**
 * `deno task bench`: what look-ups, ticks and renewals cost, as one table. Ratios and counts are
 * held against limits; absolute times are told, and vary with the machine.
 *
 * @module
 */
import { benchExecutions } from "./bench/executions.ts";
import { benchLookups } from "./bench/lookups.ts";
import { benchPropagation } from "./bench/propagation.ts";
import { benchReconcile } from "./bench/reconcile.ts";
import { formatRows, type Row } from "./bench/rows.ts";

const SECTIONS: Readonly<Record<string, () => Promise<readonly Row[]>>> = {
  lookups: benchLookups,
  executions: benchExecutions,
  reconcile: benchReconcile,
  propagation: benchPropagation,
};

async function main(names: readonly string[]): Promise<number> {
  const rows: Row[] = [];
  for (const [name, section] of Object.entries(SECTIONS)) {
    if (names.length === 0 || names.includes(name)) rows.push(...await section());
  }
  console.log(formatRows(rows));
  return rows.some(({ isWithin }) => isWithin === false) ? 1 : 0;
}

if (import.meta.main) Deno.exitCode = await main(Deno.args);
