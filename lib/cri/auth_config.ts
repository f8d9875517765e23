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

/** What an `AuthConfig` gives for an image. */
export type PullCredential =
  | { readonly kind: "credential"; readonly credential: Credential }
  | { readonly kind: "anonymous" }
  | { readonly kind: "skipped"; readonly reason: SkipReason };

/** User name and secret together, in characters; nydusd takes 51,200 bytes of encoded pair. */
const MAX_CREDENTIAL = 32 * 1_024;
const DOCKER_HUB_HOSTS: readonly string[] = [
  "docker.io",
  "index.docker.io",
  "registry-1.docker.io",
];

/**
 * The credential that a pull brings for its image. The forms are tried in containerd's order
 * (`internal/cri/server/images/image_pull.go`, `ParseAuth`): user name and password, identity
 * token, encoded pair; last the registry token, which containerd does not use. Unlike there, a
 * user name without a password hides no other form, and a server address counts by its registry,
 * however it is spelled.
 */
export function pullCredential(auth: AuthConfig, image: ImageReference): PullCredential {
  let credential: Credential | undefined;
  try {
    credential = credentialOf(auth);
  } catch {
    return { kind: "skipped", reason: "malformed-auth" };
  }
  if (credential === undefined) return { kind: "anonymous" };
  if (!holdsFor(auth.serverAddress, image.registry)) {
    return { kind: "skipped", reason: "other-registry" };
  }
  const length = credentialUsername(credential).length +
    credentialSecret(credential).reveal().length;
  if (length > MAX_CREDENTIAL) return { kind: "skipped", reason: "credential-too-large" };
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

/** Encoders of fixed length leave NULs at the end of the password; containerd trims them. */
function withoutPadding(credential: Credential): Credential | undefined {
  const secret = credentialSecret(credential).reveal();
  return credentialFromPair(credentialUsername(credential), secret.replace(/^\0+|\0+$/g, ""));
}

/** Whether a server address names the registry; none holds for every registry. */
function holdsFor(serverAddress: string, registry: string): boolean {
  return serverAddress === "" || registryOf(serverAddress) === registryOf(registry);
}

/**
 * The registry that an address names: without scheme, path and user, in lower case, without the
 * port that the scheme means anyway, and Docker Hub by one name.
 */
export function registryOf(address: string): string {
  const parts = /^(?:([a-z][a-z0-9+.-]*):\/\/|\/\/)?([^/?#]*)/i.exec(address);
  const [, scheme = "", rest = ""] = parts ?? [];
  const host = rest.slice(rest.lastIndexOf("@") + 1).toLowerCase();
  const bare = host.replace(scheme.toLowerCase() === "http" ? /:80$/ : /:443$/, "");
  return DOCKER_HUB_HOSTS.includes(bare) ? "docker.io" : bare;
}
