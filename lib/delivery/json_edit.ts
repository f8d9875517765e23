/** The positions of the key and the value of a member. */
interface Member {
  readonly key: string;
  readonly keyStart: number;
  readonly valueStart: number;
  readonly valueEnd: number;
}

/** The positions of an object in a JSON text. */
interface ObjectSpan {
  readonly start: number;
  readonly end: number;
  readonly members: readonly Member[];
}

/**
 * Sets members of one object in a JSON text, or removes them if the value is undefined. Keeps every
 * other character: the digits of numbers, the order of members and white space.
 *
 * Returns undefined when the text is not JSON or has no object at `path`.
 */
export function editMembers(
  text: string,
  path: readonly string[],
  changes: Readonly<Record<string, string | undefined>>,
): string | undefined {
  let edited = text;
  for (const [key, value] of Object.entries(changes)) {
    const span = objectAt(edited, path);
    if (span === undefined) return undefined;
    edited = value === undefined
      ? removeMember(edited, span, key)
      : setMember(edited, span, key, JSON.stringify(value));
  }
  return edited;
}

/** Returns the value of a member, the last one of equal keys; undefined if there is none. */
export function memberAt(text: string, path: readonly string[], key: string): unknown {
  const member = objectAt(text, path)?.members.findLast((m) => m.key === key);
  return member && JSON.parse(text.slice(member.valueStart, member.valueEnd));
}

/** Whether `path` leads to an object. */
export function hasObject(text: string, path: readonly string[]): boolean {
  return objectAt(text, path) !== undefined;
}

function setMember(text: string, span: ObjectSpan, key: string, value: string): string {
  const member = span.members.findLast((m) => m.key === key);
  if (member !== undefined) {
    return text.slice(0, member.valueStart) + value + text.slice(member.valueEnd);
  }
  const comma = span.members.length === 0 ? "" : ",";
  const at = span.start + 1;
  return `${text.slice(0, at)}${JSON.stringify(key)}:${value}${comma}${text.slice(at)}`;
}

function removeMember(text: string, span: ObjectSpan, key: string): string {
  const i = span.members.findLastIndex((m) => m.key === key);
  const member = span.members[i];
  if (member === undefined) return text;
  const next = span.members[i + 1];
  const before = span.members[i - 1];
  const without = next !== undefined
    ? text.slice(0, member.keyStart) + text.slice(next.keyStart)
    : text.slice(0, before?.valueEnd ?? member.keyStart) + text.slice(member.valueEnd);
  const rest = { ...span, members: span.members.filter((m) => m !== member) };
  if (!rest.members.some((m) => m.key === key)) return without;
  const again = spanFrom(without, span.start);
  return again === undefined ? without : removeMember(without, again, key);
}

function objectAt(text: string, path: readonly string[]): ObjectSpan | undefined {
  try {
    JSON.parse(text);
  } catch {
    return undefined;
  }
  let span = spanFrom(text, skipSpace(text, 0));
  for (const name of path) {
    const member = span?.members.findLast((m) => m.key === name);
    span = member && spanFrom(text, member.valueStart);
  }
  return span;
}

/** Returns the object that starts at `start`. The text must be valid JSON. */
function spanFrom(text: string, start: number): ObjectSpan | undefined {
  if (text[start] !== "{") return undefined;
  const members: Member[] = [];
  let at = skipSpace(text, start + 1);
  while (at < text.length && text[at] !== "}") {
    const keyStart = at;
    const keyEnd = skipValue(text, at);
    const valueStart = skipSpace(text, skipSpace(text, keyEnd) + 1);
    const valueEnd = skipValue(text, valueStart);
    const key: string = JSON.parse(text.slice(keyStart, keyEnd));
    members.push({ key, keyStart, valueStart, valueEnd });
    at = skipSpace(text, valueEnd);
    if (text[at] === ",") at = skipSpace(text, at + 1);
  }
  return { start, end: at + 1, members };
}

function skipSpace(text: string, at: number): number {
  let i = at;
  while (i < text.length && " \t\r\n".includes(text[i] ?? "")) i++;
  return i;
}

/** Returns the end of the value that starts at `start`. */
function skipValue(text: string, start: number): number {
  let depth = 0;
  let i = start;
  do {
    const character = text[i];
    if (character === '"') i = skipString(text, i);
    else if (character === "{" || character === "[") depth++, i++;
    else if (character === "}" || character === "]") depth--, i++;
    else if (depth === 0) return skipScalar(text, i);
    else i++;
  } while (depth > 0 && i < text.length);
  return i;
}

function skipString(text: string, start: number): number {
  let i = start + 1;
  while (i < text.length && text[i] !== '"') i += text[i] === "\\" ? 2 : 1;
  return i + 1;
}

function skipScalar(text: string, start: number): number {
  let i = start;
  while (i < text.length && !",]} \t\r\n".includes(text[i] ?? "")) i++;
  return i;
}
