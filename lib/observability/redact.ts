const HIDDEN = "[redacted]";
const MAX_DEPTH = 4;
const MAX_WIDTH = 100;
const MAX_TEXT = 4_096;

/** Names of fields that never hold anything fit for a log, compared without `_`, `-` and case. */
const SECRET_FIELD =
  /(?:pass(?:word|wd|phrase)|token|secret|authorization|cookie|credentials?|(?:private|api)key)$/;
const AUTH_FIELD = /^(?:registry)?auths?$/;
/** Three base64url parts of which the first is a JSON object: a JWT, also inside other text. */
const JWT = /\bey[IJ][\w+/-]{5,}=*\.[\w+/-]{5,}=*\.[\w+/-]*/g;
/** The base64 JSON of an ECR password: it has no dots. */
const BASE64_JSON = /\bey[IJ][A-Za-z0-9+/_-]{60,}={0,2}/g;
/** What an `Authorization` header holds. */
const SCHEME = /\b(basic|bearer)(\s+)([\w.~+/-]{3,}=*)/gi;
/** What may be base64 of a pair, as docker's `auth` and nydusd's `registry_auth` hold it. */
const BASE64 = /[A-Za-z0-9+/_-]{8,}={0,2}/g;
/** User name and password in a URL. */
const URL_PAIR = /(\b[a-z][a-z0-9+.-]*:\/\/)[^\s/?#"']*@/gi;

/**
 * The second net under `Secret`: hides values of fields whose name says that they are secret, and
 * what looks like a token in any text. Depth, width and length are bounded.
 */
export function redact(properties: Readonly<Record<string, unknown>>): Record<string, unknown> {
  return redactRecord(properties, 0);
}

/** The same for one text. */
export function redactText(text: string): string {
  return bounded(text).replace(JWT, HIDDEN).replace(BASE64_JSON, HIDDEN)
    .replace(SCHEME, hideScheme).replace(URL_PAIR, `$1${HIDDEN}@`)
    .replace(BASE64, (run) => isEncodedPair(run) ? HIDDEN : run);
}

/** Cut at white space: half a token would look like none, and so would be shown. */
function bounded(text: string): string {
  if (text.length <= MAX_TEXT) return text;
  let end = MAX_TEXT;
  while (end > 0 && !/\s/.test(text.charAt(end))) end--;
  return `${text.slice(0, end)}[cut]`;
}

const DECODER = new TextDecoder();
const COLON = 0x3a;

/**
 * Whether it decodes to readable text with a colon: chance alone hardly ever does that. Every line
 * of the log holds many such runs, so for an ordinary word nothing is thrown and caught.
 */
function isEncodedPair(run: string): boolean {
  const end = run.indexOf("=");
  if ((end < 0 ? run.length : end) % 4 === 1) return false; // no bytes have that length
  let bytes: Uint8Array;
  try {
    bytes = Uint8Array.fromBase64(run.replaceAll("-", "+").replaceAll("_", "/"));
  } catch {
    return false;
  }
  return bytes.includes(COLON) && !/[\p{Cc}\ufffd]/u.test(DECODER.decode(bytes));
}

/** `basic authentication` in a sentence is no header. */
function hideScheme(whole: string, scheme: string, space: string, value: string): string {
  const isProse = /^[a-z]/.test(scheme) && /^[a-z]{3,16}$/.test(value);
  return isProse ? whole : `${scheme}${space}${HIDDEN}`;
}

function isSecretField(name: string): boolean {
  const plain = name.toLowerCase().replace(/[_-]/g, "");
  return SECRET_FIELD.test(plain) || AUTH_FIELD.test(plain);
}

function redactRecord(fields: Readonly<Record<string, unknown>>, depth: number) {
  const entries = Object.entries(fields).slice(0, MAX_WIDTH);
  return Object.fromEntries(entries.map(([name, value]) => [
    name,
    isSecretField(name) ? HIDDEN : redactValue(value, depth),
  ]));
}

function redactValue(value: unknown, depth: number): unknown {
  if (typeof value === "string") return redactText(value);
  if (typeof value !== "object" || value === null) return value;
  if (depth >= MAX_DEPTH) return "[too deep]";
  if (Array.isArray(value)) {
    return value.slice(0, MAX_WIDTH).map((item) => redactValue(item, depth + 1));
  }
  return redactRecord(value as Record<string, unknown>, depth + 1);
}
