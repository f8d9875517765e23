import { type ImageTarget, parseImageTarget } from "./image_target.ts";

export { type ImageTarget, parseImageTarget };

/** The literal pieces of a label between its stars; at least one. */
type Pieces = readonly string[];

/**
 * A compiled `matchImages` pattern, by the kubelet's rules (Kubernetes v1.35.0
 * `pkg/credentialprovider/keyring.go`, `URLsMatch`).
 *
 * @example A wildcard stands for one label or a part of it
 * ```ts
 * import { ImagePattern, parseImageTarget } from "./match_images.ts";
 * const pattern = ImagePattern.parse("*.dkr.ecr.*.amazonaws.com");
 * const image = parseImageTarget("1.dkr.ecr.us-east-1.amazonaws.com/app:v1");
 * if (!pattern.matches(image)) throw new Error("no match");
 * ```
 */
export class ImagePattern {
  readonly text: string;
  readonly #labels: readonly Pieces[];
  readonly #port: string;
  readonly #path: string;

  private constructor(text: string, { labels, port, path }: ImageTarget) {
    this.text = text;
    // Go's matcher takes the brackets of an IPv6 literal without a port for a character class, so
    // that it misses its own image. It is left to match nothing, not some host of one character.
    this.#labels = labels[0]?.startsWith("[") ? [] : labels.map((label) => label.split("*"));
    this.#port = port;
    this.#path = path;
  }

  /**
   * @throws {AgentError} `invalid-pattern`.
   */
  static parse(pattern: string): ImagePattern {
    return new ImagePattern(pattern, parseImageTarget(pattern));
  }

  /** Same number of labels, each matched on its own; equal ports; the path a literal prefix. */
  matches({ labels, port, path }: ImageTarget): boolean {
    return port === this.#port && labels.length === this.#labels.length &&
      path.startsWith(this.#path) &&
      this.#labels.every((pieces, i) => matchLabel(pieces, labels[i] ?? ""));
  }
}

/**
 * Go's `filepath.Match` where `*` is the only wildcard left. Each piece is taken at its first
 * place, which is never worse than a later one, so nothing is tried twice.
 */
function matchLabel(pieces: Pieces, label: string): boolean {
  const head = pieces[0] ?? "";
  if (pieces.length === 1) return label === head;
  if (!label.startsWith(head)) return false;
  let at = head.length;
  for (const piece of pieces.slice(1, -1)) {
    const found = label.indexOf(piece, at);
    if (found < 0) return false;
    at = found + piece.length;
  }
  const tail = pieces[pieces.length - 1] ?? "";
  return label.length - tail.length >= at && label.endsWith(tail);
}

/**
 * Whether a pattern matches an image.
 *
 * @throws {AgentError} `invalid-pattern` when either does not parse.
 */
export function matchImage(pattern: string, image: string): boolean {
  return ImagePattern.parse(pattern).matches(parseImageTarget(image));
}

const encoder = new TextEncoder();

/**
 * Order of patterns, most specific first: reverse order of their UTF-8 bytes, as upstream sorts
 * them (nydus-snapshotter `pkg/auth/kubelet.go`, `bestKeychainMatch`). A longer path comes before a
 * shorter one, and `*` loses to letters and digits because it sorts below them.
 */
export function comparePatterns(a: string, b: string): number {
  const x = encoder.encode(a);
  const y = encoder.encode(b);
  const differing = x.findIndex((byte, i) => byte !== y[i]);
  return differing < 0 ? y.length - x.length : (y[differing] ?? -1) - (x[differing] ?? -1);
}

/**
 * The most specific of the patterns that match; those that do not parse are skipped. Undefined
 * when there is none, or when the image does not parse.
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
