import { createHmac, randomBytes } from "node:crypto";
import { fieldsOf } from "./defined.ts";
import { AgentError } from "./errors.ts";

// A random key per process, so that fingerprints in a log cannot be used to verify guesses.
const fingerprintKey = randomBytes(32);

/**
 * A text that cannot be printed by accident: `String` and `JSON.stringify` return `[secret]`, and
 * `console.log` shows no private field. Only {@linkcode Secret.reveal} returns the text, and its
 * calls are easy to find.
 *
 * @example A template string does not contain the text
 * ```ts
 * import { Secret } from "./credential.ts";
 * if (`${new Secret("hunter2")}` !== "[secret]") throw new Error("leak");
 * ```
 */
export class Secret {
  readonly #value: string;

  constructor(value: string) {
    this.#value = value;
  }

  /** Returns the text. Call it only where the text is passed to its intended recipient. */
  reveal(): string {
    return this.#value;
  }

  /** Whether the text is empty. */
  get isEmpty(): boolean {
    return this.#value.length === 0;
  }

  /** Returns whether both have the same text. */
  equals(other: Secret): boolean {
    return this.#value === other.#value;
  }

  /** Returns eight hex digits, equal for equal texts within this process only. */
  fingerprint(): string {
    return createHmac("sha256", fingerprintKey).update(this.#value).digest("hex").slice(0, 8);
  }

  toString(): string {
    return "[secret]";
  }

  toJSON(): string {
    return "[secret]";
  }
}

/** A user name and password; nydusd, docker and the kubelet call the pair a registry auth. */
export interface BasicCredential {
  readonly kind: "basic";
  readonly username: string;
  readonly password: Secret;
}

/** A bearer token for the registry. nydusd accepts it only from its configuration file. */
export interface RegistryTokenCredential {
  readonly kind: "registry-token";
  readonly token: Secret;
}

/** An OAuth2 refresh token for the registry's token service. nydusd cannot use it. */
export interface IdentityTokenCredential {
  readonly kind: "identity-token";
  readonly username: string;
  readonly token: Secret;
}

/** A credential in one of the three forms of docker's configuration. */
export type Credential = BasicCredential | RegistryTokenCredential | IdentityTokenCredential;

/** Returns the secret part of a credential of any form. */
export function credentialSecret(credential: Credential): Secret {
  return credential.kind === "basic" ? credential.password : credential.token;
}

/** Returns the user name of a credential; empty for a registry token. */
export function credentialUsername(credential: Credential): string {
  return credential.kind === "registry-token" ? "" : credential.username;
}

/** A credential with its secret, as clients of the local API get it. */
export type RevealedCredential =
  | { readonly form: "basic"; readonly username: string; readonly password: string }
  | { readonly form: "registry-token"; readonly token: string }
  | { readonly form: "identity-token"; readonly username: string; readonly token: string };

/** Returns a credential with its secret. */
export function revealCredential(credential: Credential): RevealedCredential {
  const secret = credentialSecret(credential).reveal();
  switch (credential.kind) {
    case "basic":
      return { form: "basic", username: credential.username, password: secret };
    case "registry-token":
      return { form: "registry-token", token: secret };
    case "identity-token":
      return { form: "identity-token", username: credential.username, token: secret };
  }
}

/** Returns whether two credentials have the same form, user name and secret. */
export function credentialsEqual(a: Credential, b: Credential): boolean {
  return a.kind === b.kind && credentialUsername(a) === credentialUsername(b) &&
    credentialSecret(a).equals(credentialSecret(b));
}

const fingerprints = new WeakMap<Credential, string>();

/** Returns a short name for logs, equal for equal credentials within this process. */
export function credentialFingerprint(credential: Credential): string {
  const known = fingerprints.get(credential);
  if (known !== undefined) return known;
  const name = credentialUsername(credential);
  const text = `${credential.kind}\0${name}\0${credentialSecret(credential).reveal()}`;
  const fingerprint = new Secret(text).fingerprint();
  fingerprints.set(credential, fingerprint);
  return fingerprint;
}

/**
 * Creates a credential from a user name and password as in docker's and nydus' configurations: with
 * an empty user name the password is a registry token (nydus-snapshotter `pkg/auth/keychain.go`,
 * `TokenBase`). Returns undefined for an empty password, which means anonymous access.
 */
export function credentialFromPair(username: string, password: string): Credential | undefined {
  if (password === "") return undefined;
  if (username === "") return { kind: "registry-token", token: new Secret(password) };
  return { kind: "basic", username, password: new Secret(password) };
}

/** Returns `base64("user:password")`, the format of nydusd's `registry_auth` and docker's `auth`. */
export function encodeRegistryAuth({ username, password }: BasicCredential): Secret {
  const bytes = new TextEncoder().encode(`${username}:${password.reveal()}`);
  return new Secret(bytes.toBase64());
}

/**
 * Decodes the result of {@linkcode encodeRegistryAuth}. The first colon separates user name and
 * password, so a password may contain colons. Returns undefined for an empty text.
 *
 * @throws {AgentError} `invalid-credential` if the text is not base64 of UTF-8 text with a colon.
 */
export function decodeRegistryAuth(text: string): Credential | undefined {
  if (text === "") return undefined;
  let pair: string;
  try {
    pair = new TextDecoder("utf-8", { fatal: true }).decode(Uint8Array.fromBase64(text));
  } catch {
    throw new AgentError(
      "invalid-credential",
      "failed to decode registry auth: not base64 of UTF-8 text",
    );
  }
  const colon = pair.indexOf(":");
  if (colon < 0) {
    throw new AgentError("invalid-credential", "failed to decode registry auth: no colon");
  }
  return credentialFromPair(pair.slice(0, colon), pair.slice(colon + 1));
}

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
  if (decodeJson(header, "base64url")?.["alg"] === undefined) return undefined;
  return decodeJson(payload, "base64url")?.["exp"];
}

function ecrExpiry(token: string): unknown {
  if (!/^e[yw]/.test(token)) return undefined; // base64 of `{"`, or of `{` and white space
  return decodeJson(token, "base64")?.["expiration"];
}

function decodeJson(text: string, alphabet: "base64" | "base64url") {
  try {
    const bytes = Uint8Array.fromBase64(text, { alphabet });
    return fieldsOf(JSON.parse(new TextDecoder("utf-8", { fatal: true }).decode(bytes)));
  } catch {
    return undefined;
  }
}
