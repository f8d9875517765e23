import { AgentError, quoted } from "./errors.ts";
import { type ImageTarget, parseImageTarget } from "./image_target.ts";

export { type ImageTarget, parseImageTarget };

/** A character class: ranges of code points, both ends included. */
type Ranges = readonly (readonly [number, number])[];

// What Go's `filepath.Match` accepts between brackets; a host cannot contain `^` and `\`.
const CLASS = /^\[(?:[^\-\]](?:-[^\-\]])?)+\]/u;

/**
 * A compiled `matchImages` pattern, by the kubelet's rules (Kubernetes v1.35.0
 * `pkg/credentialprovider/keyring.go`, `URLsMatch`).
 *
 * @example A wildcard matches one label or a part of it
 * ```ts
 * import { ImagePattern, parseImageTarget } from "./match_images.ts";
 * const pattern = ImagePattern.parse("*.dkr.ecr.*.amazonaws.com");
 * const image = parseImageTarget("1.dkr.ecr.us-east-1.amazonaws.com/app:v1");
 * if (!pattern.matches(image)) throw new Error("no match");
 * ```
 */
export class ImagePattern {
  readonly text: string;
  /** Host, port and unescaped path: equal for patterns that are equal to the kubelet. */
  readonly canonical: string;
  readonly #labels: readonly LabelPattern[];
  readonly #port: string;
  readonly #path: string;

  private constructor(text: string, { labels, port, path }: ImageTarget) {
    this.text = text;
    this.canonical = `${labels.join(".")}${port === "" ? "" : `:${port}`}${path}`;
    this.#labels = labels.map((label) => new LabelPattern(label));
    this.#port = port;
    this.#path = path;
  }

  /** @throws {AgentError} `invalid-pattern`. */
  static parse(pattern: string): ImagePattern {
    return new ImagePattern(pattern, parseImageTarget(pattern));
  }

  /**
   * Whether the host is an IPv6 address without a port. The kubelet parses its brackets as a
   * character class, so the pattern does not match that address.
   */
  get isBracketedIpv6(): boolean {
    return this.#labels.some((label) => label.isBracketed);
  }

  /**
   * Returns whether a target matches: the same number of labels, each label matches, the ports are
   * equal, and the pattern's path is a prefix.
   */
  matches(target: ImageTarget): boolean {
    return this.#compare(target) === "equal";
  }

  /**
   * Like {@linkcode matches}, but throws for a malformed label if the labels before it match, as Go.
   *
   * @throws {AgentError} `invalid-pattern`.
   */
  matchesOrThrows(target: ImageTarget): boolean {
    const result = this.#compare(target);
    if (result !== "malformed") return result === "equal";
    throw new AgentError(
      "invalid-pattern",
      `failed to match image pattern ${quoted(this.text)}: invalid character class in the host`,
    );
  }

  #compare({ labels, port, path }: ImageTarget): "equal" | "different" | "malformed" {
    const isCandidate = port === this.#port && labels.length === this.#labels.length &&
      path.startsWith(this.#path);
    if (!isCandidate) return "different";
    let i = 0;
    for (const label of this.#labels) {
      if (!label.matches(labels[i++] ?? "")) return label.isMalformed ? "malformed" : "different";
    }
    return "equal";
  }
}

/**
 * Returns whether a pattern matches an image.
 *
 * @throws {AgentError} `invalid-pattern` if either does not parse, or as
 * {@linkcode ImagePattern.matchesOrThrows} does.
 */
export function matchImage(pattern: string, image: string): boolean {
  return ImagePattern.parse(pattern).matchesOrThrows(parseImageTarget(image));
}

const encoder = new TextEncoder();

/**
 * Compares patterns so that the most specific one sorts first: reverse order of their UTF-8 bytes,
 * as in nydus-snapshotter (`pkg/auth/kubelet.go`, `bestKeychainMatch`). A longer path sorts before
 * its prefix, and `*` sorts after letters and digits.
 */
export function comparePatterns(a: string, b: string): number {
  const x = encoder.encode(a);
  const y = encoder.encode(b);
  const differing = x.findIndex((byte, i) => byte !== y[i]);
  return differing < 0 ? y.length - x.length : (y[differing] ?? -1) - (x[differing] ?? -1);
}

/**
 * Returns the most specific pattern that matches; invalid patterns are skipped. Undefined if there
 * is none, or if the image does not parse.
 */
export function bestPattern(patterns: readonly string[], image: string): string | undefined {
  const target = parsedOrUndefined(() => parseImageTarget(image));
  if (target === undefined) return undefined;
  return patterns
    .filter((text) => parsedOrUndefined(() => ImagePattern.parse(text))?.matches(target))
    .sort(comparePatterns)[0];
}

function parsedOrUndefined<T>(parse: () => T): T | undefined {
  try {
    return parse();
  } catch {
    return undefined;
  }
}

/**
 * One label of a pattern's host, matched like Go's `filepath.Match`. After parsing, a label can have
 * two kinds of wildcards: `*`, and the brackets of an IPv6 literal without a port, which Go parses
 * as a character class. Texts are bytes, one character per byte.
 */
class LabelPattern {
  /** Whether the brackets are not a character class (Go's `ErrBadPattern`). Matches nothing. */
  readonly isMalformed: boolean;
  /** Whether the label starts with a bracket. */
  readonly isBracketed: boolean;
  readonly #ranges: Ranges | undefined;
  /** The literal parts between the wildcards; at least one. */
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

/** Matches each piece at its first position, which is never worse than a later one: no backtracking. */
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
