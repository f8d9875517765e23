import { AgentError, quoted } from "./errors.ts";
import { isIpv6 } from "./hosts.ts";

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
const MAX_LENGTH = 4_096;

function invalid(text: string, why: string): AgentError {
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
  if (text.length > MAX_LENGTH) throw invalid(text, "too long");
  try {
    return parseBytes(toBytes(text));
  } catch (error) {
    throw error instanceof AgentError ? invalid(text, error.message) : error;
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
  const address = zoneAt < 0
    ? unescapeHost(literal)
    : unescapeHost(literal.slice(0, zoneAt)) + unescapeZone(literal.slice(zoneAt));
  if (!isIpv6(address)) throw malformed("brackets are only allowed around an IPv6 address");
  return `[${address}]${port}`;
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
