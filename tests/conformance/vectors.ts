import { fail, ok } from "node:assert/strict";

/** Returns the vectors of a file: results of the reference implementations. */
export function readVectors<T>(name: string): readonly T[] {
  const text = Deno.readTextFileSync(new URL(`./vectors/${name}.json`, import.meta.url));
  const vectors = JSON.parse(text) as T[];
  ok(vectors.length > 0, `${name}.json contains vectors`);
  return vectors;
}

/** Checks every vector and reports all failures. */
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
