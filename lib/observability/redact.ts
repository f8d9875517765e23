import { printable } from "../model/mod.ts";

const REDACTED = "[redacted]";
const MAX_DEPTH = 4;
const MAX_ITEMS = 100;
const MAX_TEXT = 4_096;

/** Names of fields that hold secrets, compared without `_`, `-` and case. */
const SECRET_FIELD =
  /(?:pass(?:word|wd|phrase)|token|secret|authorization|cookie|credentials?|(?:private|api)key)$/;
const AUTH_FIELD = /^(?:registry)?auths?$/;
/** Three base64url parts of which the first is a JSON object: a JWT, also inside other text. */
const JWT = /\bey[IJ][\w+/-]{5,}=*\.[\w+/-]{5,}=*\.[\w+/-]*/g;
/** The base64 JSON of an ECR password: it has no dots. */
const BASE64_JSON = /\bey[IJ][A-Za-z0-9+/_-]{60,}={0,2}/g;
/** The value of an `Authorization` header. */
const SCHEME = /\b(basic|bearer)(\s+)([\w.~+/-]{3,}=*)/gi;
/** Possible base64 of a user name and password, as in docker's `auth` and `registry_auth`. */
const BASE64 = /[A-Za-z0-9+/_-]{8,}={0,2}/g;
/** User name and password in a URL. */
const URL_USERINFO = /(\b[a-z][a-z0-9+.-]*:\/\/)[^\s/?#"']*@/gi;

/**
 * Returns fields without secrets and without characters that affect terminals or line readers:
 * values of fields with a secret name and anything in a text that resembles a token are replaced. A
 * second line of defense after `Secret`, bounded in depth, width and length.
 */
export function redact(fields: Readonly<Record<string, unknown>>): Record<string, unknown> {
  return redactRecord(fields, 0);
}

/** Returns a text in which anything that resembles a token is replaced. */
export function redactText(text: string): string {
  return truncate(text).replace(JWT, REDACTED).replace(BASE64_JSON, REDACTED)
    .replace(SCHEME, redactScheme).replace(URL_USERINFO, `$1${REDACTED}@`)
    .replace(BASE64, (run) => isEncodedPair(run) ? REDACTED : run);
}

/** Returns a redacted and printable text of at most `maxLength` characters and an ellipsis. */
export function safeText(text: string, maxLength: number): string {
  const safe = printable(redactText(text));
  return safe.length > maxLength ? `${safe.slice(0, maxLength)}…` : safe;
}

/** Truncates at white space: half of a token would not be recognized as one. */
function truncate(text: string): string {
  if (text.length <= MAX_TEXT) return text;
  let end = MAX_TEXT;
  while (end > 0 && !/\s/.test(text.charAt(end))) end--;
  return `${text.slice(0, end)}[truncated]`;
}

const DECODER = new TextDecoder();
const COLON = 0x3a;

/** Whether a text decodes to readable text with a colon, which hardly ever happens by chance. */
function isEncodedPair(run: string): boolean {
  const end = run.indexOf("=");
  if ((end < 0 ? run.length : end) % 4 === 1) return false; // not a length of base64
  let bytes: Uint8Array;
  try {
    bytes = Uint8Array.fromBase64(run.replaceAll("-", "+").replaceAll("_", "/"));
  } catch {
    return false;
  }
  return bytes.includes(COLON) && !/[\p{Cc}\ufffd]/u.test(DECODER.decode(bytes));
}

/** Keeps prose such as `basic authentication`. */
function redactScheme(match: string, scheme: string, space: string, value: string): string {
  const isProse = /^[a-z]/.test(scheme) && /^[a-z]{3,16}$/.test(value);
  return isProse ? match : `${scheme}${space}${REDACTED}`;
}

function isSecretField(name: string): boolean {
  const normalized = name.toLowerCase().replace(/[_-]/g, "");
  return SECRET_FIELD.test(normalized) || AUTH_FIELD.test(normalized);
}

function redactRecord(fields: Readonly<Record<string, unknown>>, depth: number) {
  const entries = Object.entries(fields).slice(0, MAX_ITEMS);
  return Object.fromEntries(entries.map(([name, value]) => [
    printable(name),
    isSecretField(name) ? REDACTED : redactValue(value, depth),
  ]));
}

function redactValue(value: unknown, depth: number): unknown {
  if (typeof value === "string") return printable(redactText(value));
  if (typeof value !== "object" || value === null) return value;
  if (depth >= MAX_DEPTH) return "[too deep]";
  if (Array.isArray(value)) {
    return value.slice(0, MAX_ITEMS).map((item) => redactValue(item, depth + 1));
  }
  return redactRecord(value as Record<string, unknown>, depth + 1);
}
