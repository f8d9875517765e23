// deno-lint-ignore-file no-console -- prints results
/**
 * `deno task supply-chain`: lists every locked package with its licence, and checks that the lock is
 * frozen, and that each package is pinned, listed in the README with its licence, and has no install
 * script.
 *
 * --audit   checks the packages for known vulnerabilities with `npm audit` instead; exits with 77
 *           when the advisories are unavailable
 *
 * @module
 */
import { fileURLToPath } from "node:url";
import { join } from "@std/path";
import { npmAudit } from "./lib/npm_audit.ts";
import { packageFacts } from "./lib/packages.ts";
import { dependenciesOf, type Dependency, isFrozen, violationsOf } from "./lib/supply_chain.ts";
import { BuildError, errorOutput, runTool } from "./lib/toolchain.ts";

const SKIPPED = 77;

async function main(args: readonly string[]): Promise<number> {
  const root = fileURLToPath(new URL("..", import.meta.url));
  const deno = Deno.execPath();
  const read = async (name: string) => await Deno.readTextFile(join(root, name));
  // Downloads exactly the locked packages; fails when the lock is out of date.
  const cached = await runTool(deno, ["install", "--quiet", "--frozen"], { cwd: root });
  if (!cached.success) {
    throw new BuildError(`failed to cache the packages: ${errorOutput(cached.stderr)}`);
  }
  const { shipped, manifestOf } = await packageFacts({ root, deno }, "main.ts");
  const dependencies = dependenciesOf(JSON.parse(await read("deno.lock")), shipped, manifestOf);
  if (args.includes("--audit")) return await audit(dependencies);
  for (const { name, version, licence, isShipped } of dependencies) {
    const where = isShipped ? "in the binary" : "tests and tools";
    console.log(`${`${name}@${version}`.padEnd(40)} ${String(licence).padEnd(14)} ${where}`);
  }
  const violations = violationsOf(dependencies, await read("README.md"));
  if (!isFrozen(JSON.parse(await read("deno.json")))) {
    violations.push("deno.json does not freeze deno.lock");
  }
  for (const violation of violations) console.error(`error: ${violation}`);
  return violations.length === 0 ? 0 : 1;
}

async function audit(dependencies: readonly Dependency[]): Promise<number> {
  const result = await npmAudit(dependencies);
  switch (result.kind) {
    case "clean":
      console.log(`no known vulnerabilities in ${result.packages} packages`);
      return 0;
    case "vulnerable":
      for (const finding of result.findings) console.error(`error: ${finding}`);
      return 1;
    case "unavailable":
      console.error(`vulnerability advisories are unavailable: ${result.reason}`);
      return SKIPPED;
  }
}

if (import.meta.main) {
  try {
    Deno.exitCode = await main(Deno.args);
  } catch (error) {
    if (!(error instanceof BuildError)) throw error;
    console.error(`error: ${error.message}`);
    Deno.exitCode = 1;
  }
}
