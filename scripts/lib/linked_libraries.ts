import { BuildError } from "./toolchain.ts";

/**
 * The paths in what `ldd` prints: libraries that were found, and the loader. The kernel's own page
 * has no path and is left out.
 *
 * @throws {BuildError} when a library is missing.
 */
export function linkedLibraries(ldd: string): string[] {
  const paths: string[] = [];
  for (const line of ldd.split("\n")) {
    if (line.includes("not found")) throw new BuildError(`link: ${line.trim()}`);
    const path = /(?:=>\s+|^\s*)(\/\S+)\s+\(0x/.exec(line)?.[1];
    if (path !== undefined) paths.push(path);
  }
  return [...new Set(paths)].sort();
}
