import { join } from "@std/path";

/** Test files by the lines that they execute (`file:line`). */
export type LineCoverage = ReadonlyMap<string, readonly string[]>;

/** Returns the covered lines (`file:line`) of an LCOV report. */
export function coveredLines(lcov: string, root: string): readonly string[] {
  const lines: string[] = [];
  let file = "";
  for (const line of lcov.split("\n")) {
    if (line.startsWith("SF:")) file = line.slice(3).replace(`${root}/`, "");
    const count = /^DA:(\d+),(\d+)/.exec(line);
    if (count !== null && count[2] !== "0") lines.push(`${file}:${count[1]}`);
  }
  return lines;
}

/** Runs a test file with coverage; returns undefined when the test fails. */
export async function coverageOf(
  root: string,
  test: string,
): Promise<readonly string[] | undefined> {
  const dir = await Deno.makeTempDir({ prefix: "nydus-coverage-" });
  try {
    const run = async (args: readonly string[]) =>
      await new Deno.Command(Deno.execPath(), {
        args: [...args],
        cwd: root,
        env: { DENO_NO_UPDATE_CHECK: "1", NO_COLOR: "1" },
        stdin: "null",
        stderr: "null",
      }).output();
    const coverage = [`--coverage=${join(dir, "raw")}`, "--coverage-raw-data-only"];
    const { code } = await run(["test", "-A", "--quiet", "--no-check", ...coverage, test]);
    if (code !== 0) return undefined;
    const { stdout } = await run(["coverage", "--quiet", "--lcov", join(dir, "raw")]);
    return coveredLines(new TextDecoder().decode(stdout), root);
  } finally {
    await Deno.remove(dir, { recursive: true });
  }
}
