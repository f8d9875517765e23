import { join } from "@std/path";
import type { BuildTools } from "./compile.ts";
import type { PackageFacts } from "./sbom.ts";
import type { Manifest } from "./supply_chain.ts";
import { BuildError, errorOutput, runTool } from "./toolchain.ts";

/** Package facts and the manifests of cached packages. */
export interface CachedPackages extends PackageFacts {
  manifestOf(name: string, version: string): Manifest | undefined;
}

/** Returns the packages that the program imports, and the licences in the cached manifests. */
export async function packageFacts(tools: BuildTools, entry: string): Promise<CachedPackages> {
  const { success, stdout, stderr } = await runTool(tools.deno, ["info", "--json", entry], {
    cwd: tools.root,
  });
  if (!success) {
    throw new BuildError(`failed to read the modules of ${entry}: ${errorOutput(stderr)}`);
  }
  const shipped = reachedPackages(JSON.parse(stdout));
  const caches = await cacheFolders(tools);
  const manifestOf = (name: string, version: string) => manifest(caches, name, version);
  const licenceOf = (name: string, version: string) => {
    const licence = manifestOf(name, version)?.license;
    return typeof licence === "string" ? licence : undefined;
  };
  return { shipped, licenceOf, manifestOf };
}

/** The module graph in the output of `deno info --json`. */
export interface ModuleGraph {
  readonly modules?: readonly { readonly npmPackage?: string }[];
  /** All locked packages, including those that no module imports. */
  readonly npmPackages?: Readonly<Record<string, GraphPackage>>;
}

interface GraphPackage {
  readonly name: string;
  readonly version: string;
  readonly dependencies?: readonly string[];
}

/** Returns the packages (`name@version`) that modules import, and their dependencies. */
export function reachedPackages(
  { modules = [], npmPackages = {} }: ModuleGraph,
): ReadonlySet<string> {
  const reached = new Set<string>();
  const open = modules.map(({ npmPackage }) => npmPackage).filter((key) => key !== undefined);
  const seen = new Set(open);
  for (let key = open.pop(); key !== undefined; key = open.pop()) {
    const known = npmPackages[key];
    if (known === undefined) {
      throw new BuildError(`failed to read the modules: unknown package ${key}`);
    }
    reached.add(`${known.name}@${known.version}`);
    const more = (known.dependencies ?? []).filter((dependency) => !seen.has(dependency));
    for (const dependency of more) seen.add(dependency);
    open.push(...more);
  }
  return reached;
}

// The cache has one folder per registry.
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

function manifest(
  caches: readonly string[],
  name: string,
  version: string,
): Manifest | undefined {
  for (const cache of caches) {
    const folder = join(cache, name, version);
    try {
      const read = JSON.parse(Deno.readTextFileSync(join(folder, "package.json")));
      return { ...read, hasNativeBuild: exists(join(folder, "binding.gyp")) };
    } catch {
      continue;
    }
  }
  return undefined;
}

function exists(path: string): boolean {
  try {
    Deno.lstatSync(path);
    return true;
  } catch {
    return false;
  }
}
