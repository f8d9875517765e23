/** A JSON object with unknown fields. */
export type Fields = Readonly<Record<string, unknown>>;

/** Returns whether a value is an object, but neither null nor a list. */
export function isFields(value: unknown): value is Fields {
  return typeof value === "object" && value !== null && !Array.isArray(value);
}

/** Parses a JSON object. Returns undefined for any other text. */
export function parseFields(text: string): Fields | undefined {
  try {
    const value: unknown = JSON.parse(text);
    return isFields(value) ? value : undefined;
  } catch {
    return undefined;
  }
}

/** Folds letter case like Go's `encoding/json`: a long s becomes s, the Kelvin sign k. */
function folded(name: string): string {
  return name.replaceAll("\u017f", "s").toLowerCase();
}

/**
 * Returns a field like Go's `encoding/json`: in any letter case, the last one of duplicates. Null
 * counts as missing.
 */
export function goField(fields: Fields, name: string): unknown {
  const wanted = folded(name);
  let value: unknown;
  for (const [key, each] of Object.entries(fields)) {
    if (folded(key) === wanted) value = each;
  }
  return value ?? undefined;
}

/** Returns the fields other than `names`, compared in any letter case. */
export function unknownFields(fields: Fields, names: readonly string[]): readonly string[] {
  const known = new Set(names.map(folded));
  return Object.keys(fields).filter((key) => !known.has(folded(key)));
}

/**
 * Parses the first JSON value of a text like Go's `json.Decoder`, which ignores the rest. Returns
 * undefined for a blank text.
 *
 * @throws {SyntaxError} Its message may quote the text and must not be logged.
 */
export function firstJsonValue(text: string): unknown {
  const json = text.trim();
  if (json === "") return undefined;
  try {
    return JSON.parse(json);
  } catch (error) {
    const end = endOfFirstValue(json);
    if (end === undefined) throw error;
    return JSON.parse(json.slice(0, end));
  }
}

/** Returns the end of the object or list that a text starts with; undefined if it is not closed. */
function endOfFirstValue(json: string): number | undefined {
  if (!/^[{[]/.test(json)) return undefined;
  let depth = 0;
  let inText = false;
  for (const { 0: token, index } of json.matchAll(/\\.|["{}[\]]/gs)) {
    if (token === '"') inText = !inText;
    if (inText || token.startsWith("\\")) continue;
    if (token === "{" || token === "[") depth++;
    if (token === "}" || token === "]") depth--;
    if (depth === 0) return index + 1;
  }
  return undefined;
}
