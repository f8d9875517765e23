// deno-lint-ignore-file no-console -- prints progress and results
/**
 * Runs every CI check in parallel lanes, and prints a table of times and a last line
 * "N passed, N failed, N skipped". `--nightly` runs the long checks. `--only WORD` runs the checks
 * whose names contain the word.
 *
 * @module
 */
import { fileURLToPath } from "node:url";
import { parseArgs } from "node:util";
import { CHECKS, NIGHTLY } from "./ci/checks.ts";
import { environment, type Result, runChecks, timesTable } from "./ci/runner.ts";

const { values } = parseArgs({
  options: { nightly: { type: "boolean", default: false }, only: { type: "string" } },
});
const { only } = values;
const all = values.nightly ? NIGHTLY : CHECKS;
const checks = only === undefined
  ? all
  : all.filter(({ name }) => name.includes(only)).map(({ after: _, afterEnd: __, ...rest }) =>
    rest
  );
if (checks.length === 0) {
  console.error(`ci: no check name contains "${only}"`);
  Deno.exit(2);
}

function report({ name, state, seconds, reason, output, ...counts }: Result): void {
  const { passed, failed, ignored } = counts;
  const detail = reason ?? `${passed} passed, ${failed} failed, ${ignored} skipped`;
  console.log(`== ${name}: ${state} after ${seconds} s (${detail})`);
  if (state !== "failed") return;
  // Print the failed tests and their errors first, because a CI log may be truncated.
  const failures = output.lastIndexOf(" FAILURES ");
  const errors = output.lastIndexOf(" ERRORS ", failures);
  if (failures >= 0) console.log(clipped(output.slice(failures), 40));
  if (errors >= 0) console.log(clipped(output.slice(errors, failures), 120));
  console.log(clipped(output, -40));
}

function clipped(text: string, lines: number): string {
  const all = text.trimEnd().split("\n");
  return (lines < 0 ? all.slice(lines) : all.slice(0, lines)).map((line) => line.slice(0, 300))
    .join("\n");
}

const root = fileURLToPath(new URL("..", import.meta.url));
Deno.chdir(root);
const work = await Deno.makeTempDir({ prefix: "nydus-ci-" });
const startedMs = performance.now();
let results: readonly Result[] = [];
try {
  const env = environment(root, work);
  results = await runChecks(checks, { strict: Deno.env.get("CI") === "true", env, report });
} finally {
  await Deno.remove(work, { recursive: true });
}
const total = (count: (result: Result) => number) =>
  results.reduce((sum, result) => sum + count(result), 0);
console.log(`\n${timesTable(results)}`);
console.log(`total: ${((performance.now() - startedMs) / 60_000).toFixed(1)} minutes\n`);
const failed = total((result) => result.failed);
const passed = total((result) => result.passed);
console.log(`${passed} passed, ${failed} failed, ${total((result) => result.ignored)} skipped`);
Deno.exit(failed === 0 ? 0 : 1);
