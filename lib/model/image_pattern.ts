import { AgentError, quoted } from "./errors.ts";
import { isIpv6 } from "./image_reference.ts";

/** An image or pattern, parsed for matching. */
export interface ImageTarget {
  /** The host, split at dots. */
  readonly labels: readonly string[];
  /** Empty if there is none. */
  readonly port: string;
  /** With the leading slash; empty if there is none. */
  readonly path: string;
}

/** Longer patterns and images are rejected. */
const MAX_PATTERN_LENGTH = 4_096;
const HOST_CHARACTERS = /^[A-Za-z0-9\-._~!$&'()*+,;=:[\]<>"\u0080-\uffff]*$/;

function malformedPattern(text: string, why: string): AgentError {
  return new AgentError("invalid-pattern", `failed to parse image pattern ${quoted(text)}: ${why}`);
}

/**
 * Parses a pattern or image like the kubelet, as a URL without scheme: query, fragment and user are
 * ignored (Kubernetes v1.35.0 `pkg/credentialprovider/keyring.go`, `ParseSchemelessURL`,
 * `SplitURL`). Unlike there, nothing is unescaped.
 *
 * @throws {AgentError} `invalid-pattern`.
 */
export function parseImageTarget(text: string): ImageTarget {
  if (text.length > MAX_PATTERN_LENGTH) throw malformedPattern(text, "too long");
  const bare = text.replace(/[?#].*$/s, "");
  // deno-lint-ignore no-control-regex
  if (/[\x00-\x1f\x7f]/.test(bare)) throw malformedPattern(text, "contains a control character");
  const slash = bare.indexOf("/");
  const authority = slash < 0 ? bare : bare.slice(0, slash);
  const path = slash < 0 ? "" : bare.slice(slash);
  const host = authority.slice(authority.lastIndexOf("@") + 1);
  if (!HOST_CHARACTERS.test(host)) throw malformedPattern(text, "invalid character in the host");
  const literal = /^\[(.*)\](?::|$)/.exec(host)?.[1];
  if (literal === undefined ? /[[\]]/.test(host) : !isIpv6(literal)) {
    throw malformedPattern(text, "brackets are only allowed around an IPv6 address");
  }
  const colon = host.lastIndexOf(":");
  const hasPort = colon > host.lastIndexOf("]");
  const port = hasPort ? host.slice(colon + 1) : "";
  if (!/^[0-9]*$/.test(port)) throw malformedPattern(text, "the port is not a number");
  const name = hasPort ? literal ?? host.slice(0, colon) : host;
  // Several colons outside of brackets are no port.
  if (literal === undefined && name.includes(":")) {
    return { labels: host.split("."), port: "", path };
  }
  return { labels: name.split("."), port, path };
}

/** Parses like {@linkcode parseImageTarget}. Returns undefined for an invalid text. */
export function tryParseImageTarget(text: string): ImageTarget | undefined {
  try {
    return parseImageTarget(text);
  } catch {
    return undefined;
  }
}

/**
 * A compiled `matchImages` pattern, by the kubelet's rules (Kubernetes v1.35.0
 * `pkg/credentialprovider/keyring.go`, `URLsMatch`).
 *
 * @example A wildcard matches one label or a part of it
 * ```ts
 * import { ImagePattern, parseImageTarget } from "./image_pattern.ts";
 * const pattern = ImagePattern.parse("*.dkr.ecr.*.amazonaws.com");
 * const image = parseImageTarget("1.dkr.ecr.us-east-1.amazonaws.com/app:v1");
 * if (!pattern.matches(image)) throw new Error("no match");
 * ```
 */
export class ImagePattern {
  readonly text: string;
  /** Host, port and path: equal for patterns that match the same. */
  readonly canonical: string;
  /**
   * Whether the host is an IPv6 address without a port. It matches nothing: the kubelet parses the
   * brackets as a character class.
   */
  readonly isBracketedIpv6: boolean;
  /** The literal parts of each label, between the wildcards. */
  readonly #labels: readonly (readonly string[])[];
  readonly #port: string;
  readonly #path: string;

  private constructor(text: string, { labels, port, path }: ImageTarget) {
    this.text = text;
    this.canonical = `${labels.join(".")}${port === "" ? "" : `:${port}`}${path}`;
    this.isBracketedIpv6 = this.canonical.startsWith("[");
    this.#labels = labels.map((label) => label.split("*"));
    this.#port = port;
    this.#path = path;
  }

  /** @throws {AgentError} `invalid-pattern`. */
  static parse(pattern: string): ImagePattern {
    return new ImagePattern(pattern, parseImageTarget(pattern));
  }

  /** Parses a pattern. Returns undefined if it is invalid: it matches nothing. */
  static tryParse(pattern: string): ImagePattern | undefined {
    const target = tryParseImageTarget(pattern);
    return target && new ImagePattern(pattern, target);
  }

  /**
   * Returns whether a target matches: the same number of labels, each label matches, the ports are
   * equal, and the pattern's path is a prefix.
   */
  matches({ labels, port, path }: ImageTarget): boolean {
    return !this.isBracketedIpv6 && port === this.#port && path.startsWith(this.#path) &&
      labels.length === this.#labels.length &&
      this.#labels.every((pieces, i) => matchPieces(pieces, labels[i] ?? ""));
  }
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
