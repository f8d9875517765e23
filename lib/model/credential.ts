import { AgentError } from "./errors.ts";
import { Secret } from "./secret.ts";

/** User name and password: what nydusd, docker and the kubelet call a registry auth. */
export interface BasicCredential {
  readonly kind: "basic";
  readonly username: string;
  readonly password: Secret;
}

/** A bearer token for the registry itself. nydusd reads it from its configuration file only. */
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

/** One credential, in one of the three forms that docker's configuration knows. */
export type Credential = BasicCredential | RegistryTokenCredential | IdentityTokenCredential;

/** The secret part, whichever the form. */
export function credentialSecret(credential: Credential): Secret {
  return credential.kind === "basic" ? credential.password : credential.token;
}

/** The user name that goes with it; empty for a registry token. */
export function credentialUsername(credential: Credential): string {
  return credential.kind === "registry-token" ? "" : credential.username;
}

/** Whether two credentials are the same in form, user name and secret. */
export function credentialsEqual(a: Credential, b: Credential): boolean {
  return a.kind === b.kind && credentialUsername(a) === credentialUsername(b) &&
    credentialSecret(a).equals(credentialSecret(b));
}

/** One answer of a source serves thousands of images: what follows from it is reckoned once. */
const fingerprints = new WeakMap<Credential, string>();
const encoded = new WeakMap<BasicCredential, Secret>();

/** A short name for logs and comparisons by eye: equal for equal credentials of this process. */
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
 * From a name and a password, as docker's and nydus' configurations write pairs: an empty name
 * makes it a registry token (nydus-snapshotter `pkg/auth/keychain.go`, `TokenBase`). Undefined when
 * there is no password at all, which is anonymous access and never a credential.
 */
export function credentialFromPair(username: string, password: string): Credential | undefined {
  if (password === "") return undefined;
  if (username === "") return { kind: "registry-token", token: new Secret(password) };
  return { kind: "basic", username, password: new Secret(password) };
}

/** `base64("user:password")` as nydusd's `registry_auth` and docker's `auth` want it, in UTF-8. */
export function encodeRegistryAuth(credential: BasicCredential): Secret {
  const known = encoded.get(credential);
  if (known !== undefined) return known;
  const bytes = new TextEncoder().encode(`${credential.username}:${credential.password.reveal()}`);
  const auth = new Secret(bytes.toBase64());
  encoded.set(credential, auth);
  return auth;
}

/**
 * The reverse of {@linkcode encodeRegistryAuth}: split at the first colon, so that a password may
 * hold colons. Undefined for an empty text.
 *
 * @throws {AgentError} `invalid-credential` when it is not base64 of UTF-8 text with a colon.
 */
export function decodeRegistryAuth(text: string): Credential | undefined {
  if (text === "") return undefined;
  let pair: string;
  try {
    pair = new TextDecoder("utf-8", { fatal: true }).decode(Uint8Array.fromBase64(text));
  } catch {
    throw new AgentError("invalid-credential", "decode registry auth: not base64 of UTF-8 text");
  }
  const colon = pair.indexOf(":");
  if (colon < 0) throw new AgentError("invalid-credential", "decode registry auth: no colon");
  return credentialFromPair(pair.slice(0, colon), pair.slice(colon + 1));
}
