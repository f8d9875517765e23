// deno-lint-ignore-file no-console -- a check talks to a person
/**
 * `deno task supply-chain`: every locked package with its licence, and whether the lock is frozen,
 * each package is pinned, told in the README with its licence, and runs nothing at its install.
 *
 * --audit   looks the packages up in the registry's list of known vulnerabilities instead, with
 *           `npm audit`; exits with 77 when the list cannot be had
 *
 * @module
 */
import { fileURLToPath } from "node:url";
import { join } from "@std/path";
import { npmAudit } from "./lib/npm_audit.ts";
import { packageFacts } from "./lib/packages.ts";
import { breachesOf, dependenciesOf, type Dependency, isFrozen } from "./lib/supply_chain.ts";
import { BuildError, complaint, runTool } from "./lib/toolchain.ts";

const SKIPPED = 77;

async function main(args: readonly string[]): Promise<number> {
  const root = fileURLToPath(new URL("..", import.meta.url));
  const deno = Deno.execPath();
  const read = async (name: string) => await Deno.readTextFile(join(root, name));
  // Downloads what the lock names and nothing else; a lock that does not fit is an error.
  const cached = await runTool(deno, ["install", "--quiet", "--frozen"], { cwd: root });
  if (!cached.success) throw new BuildError(`cache the packages: ${complaint(cached.stderr)}`);
  const { shipped, manifestOf } = await packageFacts({ root, deno }, "main.ts");
  const dependencies = dependenciesOf(JSON.parse(await read("deno.lock")), shipped, manifestOf);
  if (args.includes("--audit")) return await audit(dependencies);
  for (const { name, version, licence, isShipped } of dependencies) {
    const where = isShipped ? "in the binary" : "tests and tools";
    console.log(`${`${name}@${version}`.padEnd(40)} ${String(licence).padEnd(14)} ${where}`);
  }
  const breaches = breachesOf(dependencies, await read("README.md"));
  if (!isFrozen(JSON.parse(await read("deno.json")))) {
    breaches.push("deno.json does not freeze deno.lock");
  }
  for (const breach of breaches) console.error(`error: ${breach}`);
  return breaches.length === 0 ? 0 : 1;
}

async function audit(dependencies: readonly Dependency[]): Promise<number> {
  const result = await npmAudit(dependencies);
  switch (result.kind) {
    case "clean":
      console.log(`no known vulnerability in ${result.packages} packages`);
      return 0;
    case "vulnerable":
      for (const finding of result.findings) console.error(`error: ${finding}`);
      return 1;
    case "unavailable":
      console.error(`the list of vulnerabilities cannot be had: ${result.reason}`);
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
