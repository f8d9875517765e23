// deno-lint-ignore-file no-console -- a benchmark prints its results
/**
 * `deno task bench [SECTION ...]`: prints the cost of renewals, reconciles and rotations as one table. Ratios and counts are checked against limits. Absolute times depend on the machine and
 * are only printed.
 *
 * @module
 */
import { parseArgs } from "node:util";
import { benchExecutions } from "./bench/executions.ts";
import { benchPropagation } from "./bench/propagation.ts";
import { benchReconcile } from "./bench/reconcile.ts";
import { formatRows, type Row } from "./bench/rows.ts";

type Section = () => Promise<readonly Row[]>;

const SECTIONS: Readonly<Record<string, Section>> = {
  executions: benchExecutions,
  reconcile: benchReconcile,
  propagation: benchPropagation,
};

async function main(args: readonly string[]): Promise<number> {
  const { positionals: names } = parseArgs({ args: [...args], allowPositionals: true });
  const unknown = names.filter((name) => !(name in SECTIONS));
  if (unknown.length > 0) {
    console.error(`bench: no section ${unknown.join(", ")}; ${Object.keys(SECTIONS).join(", ")}`);
    return 2;
  }
  const rows: Row[] = [];
  for (const [name, section] of Object.entries(SECTIONS)) {
    if (names.length === 0 || names.includes(name)) rows.push(...await section());
  }
  console.log(formatRows(rows));
  return rows.some(({ isWithin }) => isWithin === false) ? 1 : 0;
}

if (import.meta.main) Deno.exitCode = await main(Deno.args);
