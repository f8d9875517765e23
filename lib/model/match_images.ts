import { AgentError } from "./errors.ts";
import { type ImageTarget, parseImageTarget } from "./image_target.ts";
import { LabelPattern } from "./label_pattern.ts";
import { quoted } from "./quoted.ts";

export { type ImageTarget, parseImageTarget };

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
  /** Host, port and unescaped path, as the kubelet compares keys: equal patterns have one form. */
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

  /**
   * @throws {AgentError} `invalid-pattern`.
   */
  static parse(pattern: string): ImagePattern {
    return new ImagePattern(pattern, parseImageTarget(pattern));
  }

  /**
   * Whether its host is an IPv6 address without a port: the kubelet's rules take the brackets for a
   * wildcard, so that it misses the very address that it names.
   */
  get missesItself(): boolean {
    return this.#labels.some((label) => label.isBracketed);
  }

  /** Same number of labels, each matched on its own; equal ports; the path a literal prefix. */
  matches(target: ImageTarget): boolean {
    return this.#compare(target) === "equal";
  }

  /**
   * The same, where a malformed label is an error, as in Go. Go notices it only when it gets there.
   *
   * @throws {AgentError} `invalid-pattern`.
   */
  matchesOrThrows(target: ImageTarget): boolean {
    const result = this.#compare(target);
    if (result !== "malformed") return result === "equal";
    const what = "the brackets in its host are no character class";
    throw new AgentError("invalid-pattern", `match image pattern ${quoted(this.text)}: ${what}`);
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
 * Whether a pattern matches an image.
 *
 * @throws {AgentError} `invalid-pattern` when either does not parse, or as in
 * {@linkcode ImagePattern.matchesOrThrows}.
 */
export function matchImage(pattern: string, image: string): boolean {
  return ImagePattern.parse(pattern).matchesOrThrows(parseImageTarget(image));
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
