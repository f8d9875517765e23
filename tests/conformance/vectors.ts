import { fail, ok } from "node:assert/strict";

/** The vectors of one file: answers that the reference implementations gave. */
export function readVectors<T>(name: string): readonly T[] {
  const text = Deno.readTextFileSync(new URL(`./vectors/${name}.json`, import.meta.url));
  const vectors = JSON.parse(text) as T[];
  ok(vectors.length > 0, `${name}.json holds vectors`);
  return vectors;
}

/** Runs every vector and fails with all the failures, not the first alone. */
export function runVectors<T>(name: string, check: (vector: T) => void): void {
  const failures: string[] = [];
  for (const vector of readVectors<T>(name)) {
    try {
      check(vector);
    } catch (error) {
      const why = error instanceof Error ? error.message.split("\n").join(" ") : String(error);
      failures.push(`${JSON.stringify(vector)}: ${why}`);
    }
  }
  if (failures.length > 0) fail(`${failures.length} of ${name}.json:\n${failures.join("\n")}`);
}
