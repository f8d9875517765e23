/** A character class: ranges of code points, both ends included. */
type Ranges = readonly (readonly [number, number])[];

// What Go's `filepath.Match` accepts between brackets; `^` and `\` cannot stand in a host.
const CLASS = /^\[(?:[^\-\]](?:-[^\-\]])?)+\]/u;

/**
 * One label of a pattern's host, matched as Go's `filepath.Match`. The parser lets two wildcards
 * through: `*`, and the brackets of an IPv6 literal without a port, which Go takes for a character
 * class of one character. Texts are bytes, one character a byte.
 */
export class LabelPattern {
  /** Go's `ErrBadPattern`: brackets that are no character class. It matches nothing. */
  readonly isMalformed: boolean;
  /** Whether it begins with brackets, so that it cannot match the address that it looks like. */
  readonly isBracketed: boolean;
  readonly #ranges: Ranges | undefined;
  /** The literal parts between the stars; at least one. */
  readonly #pieces: readonly string[];

  constructor(label: string) {
    this.isBracketed = label.startsWith("[");
    const [literal] = this.isBracketed ? decoded(label).match(CLASS) ?? [] : [];
    const rest = literal === undefined ? label : label.slice(encodedLength(literal));
    this.isMalformed = rest.includes("[");
    this.#ranges = literal === undefined ? undefined : rangesOf(literal.slice(1, -1));
    this.#pieces = rest.split("*");
  }

  matches(label: string): boolean {
    if (this.isMalformed) return false;
    if (this.#ranges === undefined) return matchPieces(this.#pieces, label);
    const [first] = decoded(label.slice(0, 4));
    const code = first?.codePointAt(0);
    if (first === undefined || code === undefined) return false;
    if (!this.#ranges.some(([low, high]) => low <= code && code <= high)) return false;
    return matchPieces(this.#pieces, label.slice(encodedLength(first)));
  }
}

/**
 * Each piece is taken at its first place, which is never worse than a later one, so nothing is
 * tried twice.
 */
function matchPieces(pieces: readonly string[], label: string): boolean {
  const head = pieces[0] ?? "";
  if (pieces.length === 1) return label === head;
  if (!label.startsWith(head)) return false;
  let at = head.length;
  const last = pieces.length - 1;
  for (let i = 1; i < last; i++) {
    const piece = pieces[i] ?? "";
    const found = label.indexOf(piece, at);
    if (found < 0) return false;
    at = found + piece.length;
  }
  const tail = pieces[last] ?? "";
  return label.length - tail.length >= at && label.endsWith(tail);
}

function rangesOf(members: string): Ranges {
  return Array.from(members.matchAll(/(.)(?:-(.))?/gsu), ([, low = "", high = low]) => {
    return [low.codePointAt(0) ?? 0, high.codePointAt(0) ?? 0] as const;
  });
}

function decoded(bytes: string): string {
  const codes = Uint8Array.from(bytes, (byte) => byte.charCodeAt(0));
  return new TextDecoder("utf-8", { ignoreBOM: true }).decode(codes);
}

function encodedLength(text: string): number {
  return new TextEncoder().encode(text).length;
}
