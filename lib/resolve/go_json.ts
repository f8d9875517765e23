/** A JSON object of unknown fields. */
export type Fields = Readonly<Record<string, unknown>>;

/** An object that is neither null nor a list. */
export function isFields(value: unknown): value is Fields {
  return typeof value === "object" && value !== null && !Array.isArray(value);
}

/**
 * A field as Go's `encoding/json` finds it: any letter case, the last of several. Null is what Go
 * takes as not given.
 */
export function goField(fields: Fields, name: string): unknown {
  const wanted = name.toLowerCase();
  let value: unknown;
  for (const [key, each] of Object.entries(fields)) {
    if (key.toLowerCase() === wanted) value = each;
  }
  return value ?? undefined;
}

/** The fields that are none of these, in any letter case. */
export function unknownFields(fields: Fields, names: readonly string[]): readonly string[] {
  const known = new Set(names.map((name) => name.toLowerCase()));
  return Object.keys(fields).filter((key) => !known.has(key.toLowerCase()));
}
