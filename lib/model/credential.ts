import { AgentError } from "./errors.ts";
import { Secret } from "./secret.ts";

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

/** Returns whether two credentials have the same form, user name and secret. */
export function credentialsEqual(a: Credential, b: Credential): boolean {
  return a.kind === b.kind && credentialUsername(a) === credentialUsername(b) &&
    credentialSecret(a).equals(credentialSecret(b));
}

/** Selecting among n candidates compares the fingerprints n² times. */
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
