import {
  type Credential,
  credentialFromPair,
  credentialSecret,
  credentialUsername,
  decodeRegistryAuth,
  type ImageReference,
  Secret,
} from "../model/mod.ts";
import type { AuthConfig } from "./cri_messages.ts";
import type { SkipReason } from "./notes.ts";

/** The credential of an `AuthConfig` for an image. */
export type PullCredential =
  | { readonly kind: "credential"; readonly credential: Credential }
  | { readonly kind: "anonymous" }
  | { readonly kind: "skipped"; readonly reason: SkipReason };

/** Limit of user name and secret together; nydusd accepts 51,200 bytes in base64. */
const MAX_CREDENTIAL_CHARS = 32 * 1_024;
const DOCKER_HUB_HOSTS: readonly string[] = [
  "docker.io",
  "index.docker.io",
  "registry-1.docker.io",
];

/**
 * Returns the credential that a pull request contains for its image. The fields are tried in
 * containerd's order (`internal/cri/server/images/image_pull.go`, `ParseAuth`): user name and
 * password, identity token, encoded pair; then the registry token, which containerd does not use.
 * Unlike in containerd, a user name without a password does not hide the other fields, and server
 * addresses are compared by registry, regardless of their spelling.
 */
export function pullCredential(auth: AuthConfig, image: ImageReference): PullCredential {
  let credential: Credential | undefined;
  try {
    credential = credentialOf(auth);
  } catch {
    return { kind: "skipped", reason: "malformed-auth" };
  }
  if (credential === undefined) return { kind: "anonymous" };
  if (!matchesRegistry(auth.serverAddress, image.registry)) {
    return { kind: "skipped", reason: "other-registry" };
  }
  const length = credentialUsername(credential).length +
    credentialSecret(credential).reveal().length;
  if (length > MAX_CREDENTIAL_CHARS) return { kind: "skipped", reason: "credential-too-large" };
  return { kind: "credential", credential };
}

function credentialOf(auth: AuthConfig): Credential | undefined {
  const { username, password, identityToken, registryToken } = auth;
  if (username !== "" && password !== "") return credentialFromPair(username, password);
  if (identityToken !== "") {
    return { kind: "identity-token", username, token: new Secret(identityToken) };
  }
  const decoded = decodeRegistryAuth(auth.auth);
  if (decoded !== undefined) return withoutPadding(decoded);
  return credentialFromPair("", registryToken);
}

/** Fixed-length encoders append NULs to the password; containerd trims them too. */
function withoutPadding(credential: Credential): Credential | undefined {
  const secret = credentialSecret(credential).reveal();
  return credentialFromPair(credentialUsername(credential), secret.replace(/^\0+|\0+$/g, ""));
}

/** Whether a server address belongs to the registry; an empty one matches every registry. */
function matchesRegistry(serverAddress: string, registry: string): boolean {
  return serverAddress === "" || registryOf(serverAddress) === registryOf(registry);
}

/**
 * Returns the registry of a server address: in lower case, without scheme, user, path and default
 * port, with one name for Docker Hub.
 */
export function registryOf(address: string): string {
  const parts = /^(?:([a-z][a-z0-9+.-]*):\/\/|\/\/)?([^/?#]*)/i.exec(address);
  const [, scheme = "", rest = ""] = parts ?? [];
  const host = rest.slice(rest.lastIndexOf("@") + 1).toLowerCase();
  const bare = host.replace(scheme.toLowerCase() === "http" ? /:80$/ : /:443$/, "");
  return DOCKER_HUB_HOSTS.includes(bare) ? "docker.io" : bare;
}
