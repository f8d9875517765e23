import { BuildError } from "./toolchain.ts";

/**
 * Returns the paths in the output of `ldd`: libraries and the loader. The vDSO has no path and is
 * omitted.
 *
 * @throws {BuildError} when a library is missing.
 */
export function linkedLibraries(ldd: string): string[] {
  const paths: string[] = [];
  for (const line of ldd.split("\n")) {
    if (line.includes("not found")) {
      throw new BuildError(`failed to find a library: ${line.trim()}`);
    }
    const path = /(?:=>\s+|^\s*)(\/\S+)\s+\(0x/.exec(line)?.[1];
    if (path !== undefined) paths.push(path);
  }
  return [...new Set(paths)].sort();
}
