import { join } from "@std/path";
import { minimatch } from "minimatch";
import type { FileSystem } from "../model/mod.ts";

const MAGIC = /[*?[\]{}]/;
/** Sockets of one pattern; beyond it an operator has made a mistake. */
const MAX_MATCHES = 1_000;

/** The paths that a glob stands for, sorted; a path without wildcards stands for itself. */
export async function expandSocket(pattern: string, files: FileSystem): Promise<readonly string[]> {
  if (!MAGIC.test(pattern)) return [pattern];
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
  return found.sort();
}
