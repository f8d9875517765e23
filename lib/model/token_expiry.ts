import { type Credential, credentialSecret } from "./credential.ts";

/** What a token says of its own end. */
export interface TokenExpiry {
  /** Wall time at which it is dead, in whole milliseconds; undefined when it does not tell. */
  readonly expiresAtMs?: number;
  /** Why a time that it tells was not believed. Never quotes the token. */
  readonly warning?: string;
}

const MAX_TOKEN_LENGTH = 64 * 1024;
/** A life beyond this is a mistake in the units rather than a promise. */
const MAX_LIFETIME_MS = 10 * 366 * 24 * 3_600_000;

/**
 * The end of a credential's life, where the token tells it: `exp` of a JWT (RFC 7519), or
 * `expiration` in the base64 JSON of an ECR password; both in Unix seconds. Never throws.
 */
export function tokenExpiryOf(credential: Credential, nowMs: number): TokenExpiry {
  const token = credentialSecret(credential).reveal();
  if (token.length > MAX_TOKEN_LENGTH) return {};
  const seconds = jwtExpiry(token) ?? ecrExpiry(token);
  if (seconds === undefined) return {};
  if (typeof seconds !== "number" || !Number.isFinite(seconds)) {
    return { warning: "the token's expiry is not a number: it is ignored" };
  }
  const expiresAtMs = Math.floor(seconds * 1000);
  if (!(expiresAtMs > nowMs)) {
    return { warning: "the token's expiry is in the past: it is ignored" };
  }
  if (expiresAtMs > nowMs + MAX_LIFETIME_MS) {
    return { warning: "the token's expiry is more than ten years ahead: it is ignored" };
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
