// deno-lint-ignore-file no-console -- prints progress and results
/**
 * `deno task test:repeat [N] [--load]`: runs the test task N times (20 by default) and reports each
 * failure. `--load` keeps every core busy. Failed runs are not retried and do not stop the
 * script; exits with 1 when a run failed.
 *
 * @module
 */
import { parseArgs } from "node:util";
import { summaryOf } from "./ci/summary.ts";

const { values, positionals } = parseArgs({
  options: { load: { type: "boolean", default: false } },
  allowPositionals: true,
});
const runs = Number(positionals[0] ?? 20);
if (!Number.isInteger(runs) || runs < 1) {
  console.error("test:repeat: the number of runs must be a positive integer");
  Deno.exit(2);
}

const load = values.load
  ? Array.from(
    { length: navigator.hardwareConcurrency },
    () => new Deno.Command(Deno.execPath(), { args: ["eval", "for (;;);"], stdin: "null" }).spawn(),
  )
  : [];
let failedRuns = 0;
try {
  for (let run = 1; run <= runs; run++) {
    const startedMs = performance.now();
    const { code, stdout, stderr } = await new Deno.Command(Deno.execPath(), {
      args: ["task", "--quiet", "test"],
      env: { NO_COLOR: "1" },
      stdin: "null",
    }).output();
    const output = new TextDecoder().decode(stdout) + new TextDecoder().decode(stderr);
    const seconds = Math.round((performance.now() - startedMs) / 1_000);
    const { passed, failed, ignored } = summaryOf(output) ?? { passed: 0, failed: 0, ignored: 0 };
    console.log(
      `run ${run} of ${runs}: exit code ${code}, ${passed} passed, ${failed} failed, ` +
        `${ignored} ignored, ${seconds} s`,
    );
    if (code === 0) continue;
    failedRuns++;
    const failures = output.indexOf(" ERRORS ");
    console.log(failures < 0 ? output.slice(-4_000) : output.slice(failures));
  }
} finally {
  for (const child of load) child.kill("SIGKILL");
}
console.log(`${runs - failedRuns} of ${runs} runs passed`);
Deno.exit(failedRuns === 0 ? 0 : 1);
