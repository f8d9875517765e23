import { join } from "@std/path";
import type { FileSystem } from "../model/mod.ts";

const MAGIC = /[*?[\]{}]/;
/** Sockets of one pattern; beyond it an operator has made a mistake. */
const MAX_MATCHES = 1_000;

/**
 * The paths that a glob stands for, sorted. A path without wildcards stands for itself, also while
 * there is nothing at it; a glob names only what there is.
 */
export async function expandSocket(pattern: string, files: FileSystem): Promise<readonly string[]> {
  if (!MAGIC.test(pattern)) return [pattern];
  // Globs are rare, and their reader is large.
  const { minimatch } = await import("minimatch");
  let found = ["/"];
  for (const segment of pattern.split("/").filter((part) => part !== "")) {
    const next: string[] = [];
    for (const folder of found) {
      if (!MAGIC.test(segment)) next.push(join(folder, segment));
      else {
        const names = await files.list(folder).catch(() => []);
        next.push(...names.filter((name) => minimatch(name, segment)).map((n) => join(folder, n)));
      }
    }
    found = next.slice(0, MAX_MATCHES);
  }
  const there: string[] = [];
  for (const path of found) {
    // What cannot be looked at is somebody's socket all the same: the probe says what is wrong.
    const stat = await files.stat(path).catch((error: unknown) => error);
    if (stat !== undefined) there.push(path);
  }
  return there.sort();
}

/**
 * The folder to watch for a glob's sockets, or the path itself where it has no wildcards. Undefined
 * where all folders below one as busy as `/run` would have to be: time alone tells of those.
 */
export function watchedPath(pattern: string): string | undefined {
  const segments = pattern.split("/").filter((part) => part !== "");
  const magic = segments.findIndex((segment) => MAGIC.test(segment));
  if (magic < 0) return pattern;
  if (magic < 2 && magic < segments.length - 1) return undefined;
  return `/${segments.slice(0, magic).join("/")}`;
}
