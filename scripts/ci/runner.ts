import { join } from "@std/path";
import type { Check } from "./checks.ts";
import { summaryOf, type TestSummary } from "./summary.ts";

const SKIPPED = 77;
const TIMED_OUT = 124;

/** Result of a check. */
export interface Result extends TestSummary {
  readonly name: string;
  readonly state: "passed" | "failed" | "skipped";
  readonly seconds: number;
  /** Why it failed or was skipped. */
  readonly reason?: string;
  readonly output: string;
}

/** Options of {@linkcode runChecks}. */
export interface RunOptions {
  /** Whether a required check that is skipped fails. */
  readonly strict: boolean;
  /** Additional environment variables of every check. */
  readonly env: Readonly<Record<string, string>>;
  /** Called when a check has finished. */
  readonly report: (result: Result) => void;
}

/** Runs the checks of each lane in order, and all lanes in parallel. */
export async function runChecks(
  checks: readonly Check[],
  options: RunOptions,
): Promise<readonly Result[]> {
  const results = new Map(checks.map(({ name }) => [name, Promise.withResolvers<Result>()]));
  const resultOf = (name: string) => {
    const result = results.get(name)?.promise;
    if (result === undefined) throw new Error(`unknown check "${name}"`);
    return result;
  };
  const lanes = Map.groupBy(checks, ({ lane }) => lane);
  await Promise.all([...lanes.values()].map(async (lane) => {
    for (const check of lane) {
      await Promise.all((check.afterEnd ?? []).map(resultOf));
      const before = await Promise.all((check.after ?? []).map(resultOf));
      const missing = before.find(({ state }) => state !== "passed");
      const result = applyStrict(
        check,
        missing === undefined
          ? await runCheck(check, options.env)
          : skippedFor(check, `"${missing.name}" has not passed`),
        options.strict,
      );
      options.report(result);
      results.get(check.name)?.resolve(result);
    }
  }));
  return await Promise.all(checks.map(({ name }) => resultOf(name)));
}

/** In strict mode, turns a skipped required check into a failed one. */
function applyStrict({ required }: Check, result: Result, strict: boolean): Result {
  if (!strict || !required || result.state !== "skipped") return result;
  const reason = `required check was skipped: ${result.reason ?? "no reason given"}`;
  return { ...result, state: "failed", failed: 1, ignored: 0, reason };
}

function skippedFor({ name }: Check, reason: string): Result {
  return {
    name,
    state: "skipped",
    seconds: 0,
    reason,
    passed: 0,
    failed: 0,
    ignored: 1,
    output: "",
  };
}

async function runCheck(
  check: Check,
  env: Readonly<Record<string, string>>,
): Promise<Result> {
  const startedMs = performance.now();
  // `timeout` terminates the whole process group.
  const { code, stdout } = await new Deno.Command("timeout", {
    args: [
      "--kill-after=10",
      String(check.timeoutMinutes * 60),
      "bash",
      "-c",
      `exec 2>&1\n${check.run}`,
    ],
    env,
    stdin: "null",
    stderr: "null",
  }).output();
  const output = new TextDecoder().decode(stdout);
  const seconds = Math.round((performance.now() - startedMs) / 1_000);
  return { ...resultOf(check, code, output), seconds };
}

function resultOf(check: Check, code: number, output: string): Result {
  const { name } = check;
  const summary = summaryOf(output);
  const lastLine = output.trimEnd().split("\n").at(-1) ?? "";
  if (code === SKIPPED) return skippedFor(check, lastLine);
  const base = { name, seconds: 0, output };
  if (code === 0) {
    // A run in which every test is ignored counts as skipped.
    if (summary !== undefined && summary.passed === 0) {
      return { ...skippedFor(check, "every test was ignored"), output };
    }
    return { ...base, state: "passed", ...summary ?? { passed: 1, failed: 0, ignored: 0 } };
  }
  const { passed = 0, failed = 0, ignored = 0 } = summary ?? {};
  const isTimeout = code === TIMED_OUT || code === 128 + 9;
  const reason = isTimeout
    ? `timed out after ${check.timeoutMinutes} minutes`
    : `exit code ${code}`;
  return { ...base, state: "failed", reason, passed, failed: Math.max(1, failed), ignored };
}

/** Formats the table of times, longest first. */
export function timesTable(results: readonly Result[]): string {
  const width = Math.max(...results.map(({ name }) => name.length));
  return results.toSorted((a, b) => b.seconds - a.seconds).map(({ name, state, seconds, reason }) =>
    `${name.padEnd(width)}  ${`${seconds} s`.padStart(7)}  ${state}` +
    (reason === undefined ? "" : `: ${reason}`)
  ).join("\n");
}

/** Returns the environment variables that all checks share. */
export function environment(root: string, work: string): Readonly<Record<string, string>> {
  return {
    NO_COLOR: "1",
    DENO_NO_UPDATE_CHECK: "1",
    // Not DENO, which selects the compiler.
    DENO_BIN: Deno.execPath(),
    WORK: work,
    BINARY: join(root, "dist", `nydus-auth-agent-${Deno.build.target}`),
  };
}
