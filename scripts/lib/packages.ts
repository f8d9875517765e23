import { join } from "@std/path";
import type { BuildTools } from "./compile.ts";
import type { PackageFacts } from "./sbom.ts";
import { BuildError, complaint, runTool } from "./toolchain.ts";

/** Which packages the program's modules reach, and the licences that the cached packages name. */
export async function packageFacts(tools: BuildTools, entry: string): Promise<PackageFacts> {
  const { success, stdout, stderr } = await runTool(tools.deno, ["info", "--json", entry], {
    cwd: tools.root,
  });
  if (!success) throw new BuildError(`read the modules of ${entry}: ${complaint(stderr)}`);
  const graph = JSON.parse(stdout);
  const shipped = new Set<string>();
  for (const { name, version } of Object.values<PackageName>(graph.npmPackages ?? {})) {
    shipped.add(`${name}@${version}`);
  }
  const caches = await cacheFolders(tools);
  return { shipped, licenceOf: (name, version) => licence(caches, name, version) };
}

interface PackageName {
  readonly name: string;
  readonly version: string;
}

// The cache has one folder for each registry.
async function cacheFolders({ root, deno }: BuildTools): Promise<string[]> {
  const { stdout } = await runTool(deno, ["info", "--json"], { cwd: root });
  const cache = String(JSON.parse(stdout).npmCache);
  try {
    const entries = await Array.fromAsync(Deno.readDir(cache));
    return entries.filter((entry) => entry.isDirectory).map((entry) => join(cache, entry.name));
  } catch {
    return [];
  }
}

function licence(caches: readonly string[], name: string, version: string): string | undefined {
  for (const cache of caches) {
    try {
      const manifest = JSON.parse(
        Deno.readTextFileSync(join(cache, name, version, "package.json")),
      );
      return typeof manifest.license === "string" ? manifest.license : undefined;
    } catch {
      continue;
    }
  }
  return undefined;
}
