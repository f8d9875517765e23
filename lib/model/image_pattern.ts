import { AgentError, quoted } from "./errors.ts";
import { isIpv6 } from "./image_reference.ts";

/**
 * An image or pattern, parsed for matching. All texts are UTF-8 bytes, one character per byte,
 * because Go compares bytes.
 */
export interface ImageTarget {
  /** The host, split at dots. */
  readonly labels: readonly string[];
  /** Empty if there is none. */
  readonly port: string;
  /** Unescaped, with the leading slash; empty if there is none. */
  readonly path: string;
}

/** Longer patterns and images are rejected. */
const MAX_PATTERN_LENGTH = 4_096;

function malformedPattern(text: string, why: string): AgentError {
  return new AgentError("invalid-pattern", `failed to parse image pattern ${quoted(text)}: ${why}`);
}

/**
 * Parses a pattern or image like Go's `net/url` with `https://` prepended, then splits host and port
 * like the kubelet (Kubernetes v1.35.0 `pkg/credentialprovider/keyring.go`,
 * `ParseSchemelessURL`, `SplitURL`).
 *
 * @throws {AgentError} `invalid-pattern`.
 */
export function parseImageTarget(text: string): ImageTarget {
  if (text.length > MAX_PATTERN_LENGTH) throw malformedPattern(text, "too long");
  try {
    return parseBytes(toBytes(text));
  } catch (error) {
    throw error instanceof AgentError ? malformedPattern(text, error.message) : error;
  }
}

/** An error with only the reason; the caller adds the whole text. */
function malformed(why: string): AgentError {
  return new AgentError("invalid-pattern", why);
}

function parseBytes(text: string): ImageTarget {
  const hash = text.indexOf("#");
  const unfragmented = hash < 0 ? text : text.slice(0, hash);
  if (hash >= 0) checkEscapes(text.slice(hash + 1));
  // deno-lint-ignore no-control-regex
  if (/[\x00-\x1f\x7f]/.test(unfragmented)) throw malformed("contains a control character");
  const query = unfragmented.indexOf("?");
  const bare = query < 0 ? unfragmented : unfragmented.slice(0, query);
  const slash = bare.indexOf("/");
  const authority = slash < 0 ? bare : bare.slice(0, slash);
  const path = slash < 0 ? "" : unescape(bare.slice(slash));
  const at = authority.lastIndexOf("@");
  if (at >= 0) checkUserInfo(authority.slice(0, at));
  return { ...splitHost(parseHost(authority.slice(at + 1))), path };
}

function checkUserInfo(info: string): void {
  if (!/^[A-Za-z0-9\-._:~!$&'()*+,;=%@]*$/.test(info)) {
    throw malformed("invalid character before @");
  }
  checkEscapes(info);
}

/** Go's `parseHost`: a name or an IPv6 literal in brackets, then an optional port of digits. */
function parseHost(host: string): string {
  const open = host.lastIndexOf("[");
  if (open > 0) throw malformed("brackets are only allowed around an IPv6 address");
  if (open < 0) {
    const colon = host.lastIndexOf(":");
    if (colon >= 0) checkPort(host.slice(colon));
    return unescapeHost(host);
  }
  const close = host.lastIndexOf("]");
  if (close < 0) throw malformed("missing closing bracket");
  const port = host.slice(close + 1);
  checkPort(port);
  const literal = host.slice(1, close);
  const zoneAt = literal.indexOf("%25");
  const address = unescapeHost(zoneAt < 0 ? literal : literal.slice(0, zoneAt));
  const zone = zoneAt < 0 ? "" : unescapeZone(literal.slice(zoneAt));
  if (!isIpv6(address) || zone === "%") {
    throw malformed("brackets are only allowed around an IPv6 address");
  }
  return `[${address}${zone}]${port}`;
}

function checkPort(port: string): void {
  if (!/^(?::[0-9]*)?$/.test(port)) throw malformed("the port is not a number");
}

const HOST_CHARACTERS = /^[A-Za-z0-9\-._~!$&'()*+,;=:[\]<>"%\x80-\xff]*$/;

/** In a host, only a percent sign and non-ASCII bytes may be escaped. */
function unescapeHost(host: string): string {
  checkHostCharacters(host);
  if (/%(?!25)[0-7]/.test(host)) throw malformed("invalid escape in the host");
  return unescape(host);
}

/** In a zone, a space and every character that is valid in a host may be escaped. */
function unescapeZone(zone: string): string {
  checkHostCharacters(zone);
  for (const [escape] of zone.matchAll(/%[0-9A-Fa-f]{2}/g)) {
    const byte = unescape(escape);
    if (byte !== " " && (byte >= "\x80" || !HOST_CHARACTERS.test(byte))) {
      throw malformed("invalid escape in the zone");
    }
  }
  return unescape(zone);
}

function checkHostCharacters(host: string): void {
  if (!HOST_CHARACTERS.test(host)) {
    throw malformed("invalid character in the host");
  }
  checkEscapes(host);
}

function checkEscapes(part: string): void {
  if (/%(?![0-9A-Fa-f]{2})/.test(part)) {
    throw malformed("% is not followed by two hex digits");
  }
}

function unescape(part: string): string {
  checkEscapes(part);
  return part.replace(/%../g, (escape) => String.fromCharCode(parseInt(escape.slice(1), 16)));
}

/** Go's `net.SplitHostPort`, or the whole text as host if that fails; then the labels. */
function splitHost(host: string): { readonly labels: readonly string[]; readonly port: string } {
  const whole = { labels: host.split("."), port: "" };
  const colon = host.lastIndexOf(":");
  if (colon < 0) return whole;
  const port = host.slice(colon + 1);
  if (host.startsWith("[")) {
    const close = host.indexOf("]");
    if (close + 1 !== colon) return whole;
    const literal = host.slice(1, close);
    return literal.includes("[") ? whole : { labels: literal.split("."), port };
  }
  const name = host.slice(0, colon);
  return /[:[\]]/.test(name) ? whole : { labels: name.split("."), port };
}

function toBytes(text: string): string {
  // deno-lint-ignore no-control-regex
  if (/^[\x00-\x7f]*$/.test(text)) return text;
  return Array.from(new TextEncoder().encode(text), (byte) => String.fromCharCode(byte)).join("");
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
  /** Host, port and unescaped path: equal for patterns that are equal to the kubelet. */
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
