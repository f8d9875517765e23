import { type Credential, credentialSecret } from "./credential.ts";

/** The expiry that a token contains. */
export interface TokenExpiry {
  /** Wall time (whole ms) at which the token expires; undefined if it contains no expiry. */
  readonly expiresAtMs?: number;
  /** Why an expiry was ignored. Never quotes the token. */
  readonly warning?: string;
}

const MAX_TOKEN_LENGTH = 64 * 1024;
/** A longer lifetime is implausible: probably the unit is wrong. */
const MAX_LIFETIME_MS = 10 * 366 * 24 * 3_600_000;

/**
 * Returns the expiry in a credential's token: `exp` of a JWT (RFC 7519), or `expiration` in the
 * base64 JSON of an ECR password, both in Unix seconds. Never throws.
 */
export function tokenExpiryOf(credential: Credential, nowMs: number): TokenExpiry {
  const token = credentialSecret(credential).reveal();
  if (token.length > MAX_TOKEN_LENGTH) return {};
  const seconds = jwtExpiry(token) ?? ecrExpiry(token);
  if (seconds === undefined) return {};
  if (typeof seconds !== "number" || !Number.isFinite(seconds)) {
    return { warning: "ignoring the token's expiry: not a number" };
  }
  const expiresAtMs = Math.floor(seconds * 1000);
  if (!(expiresAtMs > nowMs)) {
    return { warning: "ignoring the token's expiry: in the past" };
  }
  if (expiresAtMs > nowMs + MAX_LIFETIME_MS) {
    return { warning: "ignoring the token's expiry: more than ten years ahead" };
  }
  return { expiresAtMs };
}

function jwtExpiry(token: string): unknown {
  const parts = token.split(".");
  const [header, payload] = parts;
  if (parts.length !== 3 || !header || !payload) return undefined;
  if (field(decodeJson(header, "base64url"), "alg") === undefined) return undefined;
  return field(decodeJson(payload, "base64url"), "exp");
}

function ecrExpiry(token: string): unknown {
  if (!/^e[yw]/.test(token)) return undefined; // base64 of `{"`, or of `{` and white space
  return field(decodeJson(token, "base64"), "expiration");
}

function decodeJson(text: string, alphabet: "base64" | "base64url"): unknown {
  try {
    const bytes = Uint8Array.fromBase64(text, { alphabet });
    return JSON.parse(new TextDecoder("utf-8", { fatal: true }).decode(bytes));
  } catch {
    return undefined;
  }
}

function field(value: unknown, name: string): unknown {
  if (typeof value !== "object" || value === null || !Object.hasOwn(value, name)) return undefined;
  return (value as Record<string, unknown>)[name];
}
