import { deepEqual, equal, match, ok } from "node:assert/strict";
import { type Check, CHECKS, NIGHTLY } from "../../../scripts/ci/checks.ts";
import { type Result, runChecks, timesTable } from "../../../scripts/ci/runner.ts";
import { summaryOf } from "../../../scripts/ci/summary.ts";

function check(name: string, run: string, more: Partial<Check> = {}): Check {
  return { name, lane: "cpu", timeoutMinutes: 1, required: true, run, ...more };
}

async function run(checks: readonly Check[], strict: boolean): Promise<readonly Result[]> {
  return await runChecks(checks, { strict, env: {}, report: () => {} });
}

Deno.test("runChecks: reports passed, failed and skipped checks, and counts the tests of deno test", async () => {
  const results = await run([
    check("good", "echo 'ok | 3 passed | 0 failed | 1 ignored (2s)'"),
    check("bad", "echo 'FAILED | 2 passed | 1 failed (2s)'; exit 1"),
    check("skipped", "echo 'no such tool'; exit 77"),
    check("ignored", "echo 'ok | 0 passed | 0 failed | 2 ignored (2s)'"),
    check("after bad", "true", { after: ["bad"] }),
    check("too long", "sleep 30", { timeoutMinutes: 0.02 }),
  ], false);
  deepEqual(results.map(({ state }) => state), [
    "passed",
    "failed",
    "skipped",
    "skipped",
    "skipped",
    "failed",
  ]);
  deepEqual(results.map(({ passed }) => passed), [3, 2, 0, 0, 0, 0]);
  equal(results[2]?.reason, "no such tool");
  match(results[5]?.reason ?? "", /timed out/);
  match(timesTable(results), /skipped +0 s {2}skipped: no such tool/);
});

Deno.test("runChecks: fails a skipped required check in strict mode", async () => {
  const skip = "echo 'no such tool'; exit 77";
  const results = await run(
    [check("required", skip), check("optional", skip, { required: false })],
    true,
  );
  deepEqual(results.map(({ state }) => state), ["failed", "skipped"]);
});

Deno.test("runChecks: runs lanes in parallel and waits for dependencies", async () => {
  const dir = await Deno.makeTempDir();
  const results = await run([
    check("first", `until [ -e ${dir}/a ]; do sleep 0.01; done`),
    check("second", `touch ${dir}/a`, { lane: "wait-1" }),
    check("third", `[ -e ${dir}/a ]`, { lane: "wait-2", afterEnd: ["first"] }),
  ], true);
  await Deno.remove(dir, { recursive: true });
  deepEqual(results.map(({ state }) => state), ["passed", "passed", "passed"]);
});

Deno.test("summaryOf: reads the last summary of deno test", () => {
  equal(summaryOf("nothing"), undefined);
  const text =
    "ok | 1 passed | 0 failed (1s)\nFAILED | 1317 passed (2 steps) | 2 failed | 4 ignored";
  deepEqual(summaryOf(text), { passed: 1317, failed: 2, ignored: 4 });
});

Deno.test("CI checks: every dependency of a check exists", () => {
  for (const checks of [CHECKS, NIGHTLY]) {
    const names = checks.map(({ name }) => name);
    equal(new Set(names).size, names.length);
    for (const { name, after = [], afterEnd = [] } of checks) {
      for (const other of [...after, ...afterEnd]) {
        ok(names.includes(other), `${name} waits for "${other}"`);
      }
    }
  }
});
