/** A JSON object of unknown fields. */
export type Fields = Readonly<Record<string, unknown>>;

/** An object that is neither null nor a list. */
export function isFields(value: unknown): value is Fields {
  return typeof value === "object" && value !== null && !Array.isArray(value);
}

/** Letter case as Go's `encoding/json` ignores it: the long s is an s, the Kelvin sign a k. */
function folded(name: string): string {
  return name.replaceAll("\u017f", "s").toLowerCase();
}

/**
 * A field as Go's `encoding/json` finds it: any letter case, the last of several. Null is what Go
 * takes as not given.
 */
export function goField(fields: Fields, name: string): unknown {
  const wanted = folded(name);
  let value: unknown;
  for (const [key, each] of Object.entries(fields)) {
    if (folded(key) === wanted) value = each;
  }
  return value ?? undefined;
}

/** The fields that are none of these, in any letter case. */
export function unknownFields(fields: Fields, names: readonly string[]): readonly string[] {
  const known = new Set(names.map(folded));
  return Object.keys(fields).filter((key) => !known.has(folded(key)));
}

/**
 * The first JSON value of a text, as Go's `json.Decoder` reads it: what follows is not looked at.
 * Undefined for a blank text.
 *
 * @throws {SyntaxError} Whose message may quote the text: never pass it on.
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

/** Where the brackets that open a text are closed again; undefined when they are not. */
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
