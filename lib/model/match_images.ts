import { AgentError } from "./errors.ts";

/** An image, taken apart for matching. */
export interface ImageTarget {
  readonly labels: readonly string[];
  readonly port: string;
  readonly path: string;
}

/** Longer patterns and images are refused unread. */
const MAX_LENGTH = 4_096;

function invalid(text: string, why: string): AgentError {
  return new AgentError(
    "invalid-pattern",
    `parse image pattern ${JSON.stringify(text.slice(0, 300))}: ${why}`,
  );
}

/**
 * Takes a pattern or an image apart as Go's `net/url` does with `https://` before it, then as the
 * kubelet splits host and port (Kubernetes v1.35.0 `pkg/credentialprovider/keyring.go`,
 * `ParseSchemelessURL`, `SplitURL`).
 *
 * @throws {AgentError} `invalid-pattern`.
 */
export function parseImageTarget(text: string): ImageTarget {
  if (text.length > MAX_LENGTH) throw invalid(text, "it is too long");
  // deno-lint-ignore no-control-regex
  if (/[\u0000-\u001f\u007f]/.test(text)) throw invalid(text, "it holds a control character");
  const unfragmented = cut(text, "#");
  checkEscapes(text, text.slice(unfragmented.length + 1));
  const bare = cut(unfragmented, "?");
  const slash = bare.indexOf("/");
  const authority = slash < 0 ? bare : bare.slice(0, slash);
  const at = authority.lastIndexOf("@");
  if (at >= 0) checkUserInfo(text, authority.slice(0, at));
  const host = checkedHost(text, authority.slice(at + 1));
  const path = unescape(text, slash < 0 ? "" : bare.slice(slash));
  return { ...splitHost(host), path };
}

function cut(text: string, at: string): string {
  const i = text.indexOf(at);
  return i < 0 ? text : text.slice(0, i);
}

/** Go's `validUserinfo` and the unescaping of both its parts. */
function checkUserInfo(text: string, info: string): void {
  if (!/^[A-Za-z0-9\-._:~!$&'()*+,;=%@]*$/.test(info)) {
    throw invalid(text, "the part before @ is malformed");
  }
  checkEscapes(text, info);
}

function checkEscapes(text: string, part: string): void {
  if (/%(?![0-9A-Fa-f]{2})/.test(part)) {
    throw invalid(text, "a % is not followed by two hex digits");
  }
}

/** Go's `parseHost`: a bracketed IPv6 literal, or a name, with a port of digits or none. */
function checkedHost(text: string, host: string): string {
  if (host.startsWith("[")) {
    const end = host.lastIndexOf("]");
    if (end < 0) throw invalid(text, "a bracket is not closed");
    checkPort(text, host.slice(end + 1));
    return unescapeHost(text, host.slice(0, end)) + host.slice(end);
  }
  const colon = host.lastIndexOf(":");
  if (colon >= 0) checkPort(text, host.slice(colon));
  return unescapeHost(text, host);
}

function checkPort(text: string, port: string): void {
  if (!/^(?::[0-9]*)?$/.test(port)) throw invalid(text, "the port must be digits");
}

/** In a host only non-ASCII bytes may be escaped, and only these characters stand for themselves. */
function unescapeHost(text: string, host: string): string {
  checkEscapes(text, host);
  if (/%(?:[0-7][0-9A-Fa-f])/.test(host)) throw invalid(text, "an escape is not allowed in a host");
  if (!/^[A-Za-z0-9\-._~!$&'()*+,;=:<>"%[\]\u0080-\u{10ffff}]*$/u.test(host)) {
    throw invalid(text, "the host holds a character that is not allowed there");
  }
  if (!host.startsWith("[") && /[[\]]/.test(host)) {
    throw invalid(text, "brackets are allowed around an IPv6 address only");
  }
  return unescape(text, host);
}

/** Bytes that are no UTF-8 are kept apart as U+FFFD: they can match nothing but themselves badly. */
function unescape(text: string, part: string): string {
  checkEscapes(text, part);
  if (!part.includes("%")) return part;
  const bytes: number[] = [];
  for (const piece of part.split(/(%[0-9A-Fa-f]{2})/)) {
    if (/^%[0-9A-Fa-f]{2}$/.test(piece)) bytes.push(parseInt(piece.slice(1), 16));
    else for (const byte of new TextEncoder().encode(piece)) bytes.push(byte);
  }
  return new TextDecoder().decode(Uint8Array.from(bytes));
}

/** Go's `net.SplitHostPort`, with the whole as host where that fails; then the labels. */
function splitHost(host: string): { readonly labels: readonly string[]; readonly port: string } {
  const whole = { labels: host.split("."), port: "" };
  const colon = host.lastIndexOf(":");
  if (colon < 0) return whole;
  if (host.startsWith("[")) {
    const end = host.indexOf("]");
    if (end + 1 !== colon) return whole;
    return { labels: host.slice(1, end).split("."), port: host.slice(colon + 1) };
  }
  const name = host.slice(0, colon);
  if (name.includes(":") || /[[\]]/.test(host)) return whole;
  return { labels: name.split("."), port: host.slice(colon + 1) };
}

/** A compiled `matchImages` pattern, by the kubelet's rules (`URLsMatch`). */
export class ImagePattern {
  readonly text: string;
  readonly #parts: ImageTarget;

  private constructor(text: string, parts: ImageTarget) {
    this.text = text;
    this.#parts = parts;
  }

  /**
   * @throws {AgentError} `invalid-pattern`.
   */
  static parse(pattern: string): ImagePattern {
    return new ImagePattern(pattern, parseImageTarget(pattern));
  }

  /** Same number of labels, each matched on its own; equal ports; the path a literal prefix. */
  matches(target: ImageTarget): boolean {
    const { labels, port, path } = this.#parts;
    return port === target.port && labels.length === target.labels.length &&
      target.path.startsWith(path) &&
      labels.every((label, i) => matchLabel(label, target.labels[i] ?? ""));
  }
}

/** `filepath.Match` where `*` is the only wildcard left; greedy with one point of return: linear. */
function matchLabel(pattern: string, label: string): boolean {
  const pieces = pattern.split("*");
  const [head = ""] = pieces;
  if (pieces.length === 1) return pattern === label;
  if (!label.startsWith(head)) return false;
  const tail = pieces[pieces.length - 1] ?? "";
  let at = head.length;
  for (const piece of pieces.slice(1, -1)) {
    const found = label.indexOf(piece, at);
    if (found < 0) return false;
    at = found + piece.length;
  }
  return label.length - tail.length >= at && label.endsWith(tail);
}

/**
 * Whether a pattern matches an image.
 *
 * @throws {AgentError} `invalid-pattern` when either does not parse.
 */
export function matchImage(pattern: string, image: string): boolean {
  const compiled = ImagePattern.parse(pattern);
  return compiled.matches(parseImageTarget(image));
}

const encoder = new TextEncoder();

/**
 * Order of patterns, most specific first: reverse order of their UTF-8 bytes, as upstream sorts
 * them (nydus-snapshotter `pkg/auth/kubelet.go`, `bestKeychainMatch`). Longer paths come before
 * shorter ones, and `*` loses because it sorts below letters.
 */
export function comparePatterns(a: string, b: string): number {
  const x = encoder.encode(a);
  const y = encoder.encode(b);
  for (let i = 0; i < Math.min(x.length, y.length); i++) {
    const difference = (y[i] ?? 0) - (x[i] ?? 0);
    if (difference !== 0) return difference;
  }
  return y.length - x.length;
}

/** The most specific of the patterns that match; those that do not parse are skipped. */
export function bestPattern(patterns: readonly string[], image: string): string | undefined {
  const matching = patterns.filter((pattern) => {
    try {
      return matchImage(pattern, image);
    } catch {
      return false;
    }
  });
  return matching.sort(comparePatterns)[0];
}
