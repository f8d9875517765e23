import { type Fields, firstJsonValue, goField, isFields } from "../../formats/mod.ts";
import {
  AgentError,
  comparePatterns,
  type Credential,
  credentialFromPair,
  ImagePattern,
  type ImageTarget,
  isDockerHub,
  Secret,
} from "../../model/mod.ts";

/** Decoded entry of `auths`. */
export interface DockerAuth {
  readonly username: string;
  readonly password: Secret;
  readonly identityToken: Secret;
  readonly registryToken: Secret;
  /** Set if `auth` is not UTF-8: docker would send the bytes, which a string cannot hold. */
  readonly undecodable?: boolean;
}

/** Credential-related part of a docker configuration file. */
export interface DockerConfig {
  readonly auths: ReadonlyMap<string, DockerAuth>;
  readonly credHelpers: ReadonlyMap<string, string>;
  readonly credsStore: string;
}

/** The key under which `docker login` stores Docker Hub credentials. */
export const DOCKER_HUB_KEY = "https://index.docker.io/v1/";

function invalid(what: string): AgentError {
  return new AgentError("invalid-config", `read docker configuration: ${what}`);
}

/**
 * Decodes a docker `config.json` by the rules of docker/cli (`cli/config/configfile/file.go`,
 * `LoadFromReader`): one invalid entry makes the whole file invalid, whereas an empty file and
 * trailing data after the JSON object are accepted.
 *
 * @throws {AgentError} `invalid-config`; the message names the key, never a value.
 */
export function parseDockerConfig(text: string): DockerConfig {
  let file: unknown;
  try {
    file = firstJsonValue(text) ?? {};
  } catch {
    throw invalid("it is not JSON (possibly half-written)");
  }
  if (!isFields(file)) throw invalid("it is not a JSON object");
  const auths = new Map<string, DockerAuth>();
  for (const [key, entry] of Object.entries(objectField(file, "auths"))) {
    if (entry !== null && !isFields(entry)) throw invalid(`auths.${key} is not an object`);
    auths.set(key, readDockerAuth(key, entry ?? {}));
  }
  const credHelpers = new Map<string, string>();
  for (const [key, name] of Object.entries(objectField(file, "credHelpers"))) {
    if (name !== null && typeof name !== "string") {
      throw invalid(`credHelpers.${key} is not a string`);
    }
    credHelpers.set(key, name ?? "");
  }
  return { auths, credHelpers, credsStore: stringField(file, "credsStore", "credsStore") };
}

function objectField(file: Fields, name: string): Fields {
  const value = goField(file, name) ?? {};
  if (!isFields(value)) throw invalid(`${name} is not an object`);
  return value;
}

function stringField(fields: Fields, name: string, place: string): string {
  const value = goField(fields, name) ?? "";
  if (typeof value !== "string") throw invalid(`${place} is not a string`);
  return value;
}

/**
 * Decodes one entry of `auths`.
 *
 * @throws {AgentError} `invalid-config`; the message names the key, never a value.
 */
export function readDockerAuth(key: string, entry: Fields): DockerAuth {
  const field = (name: string) => stringField(entry, name, `auths.${key}.${name}`);
  const encoded = field("auth");
  const pair = encoded === ""
    ? { username: field("username"), password: field("password") }
    : decodeAuth(key, encoded);
  return {
    ...pair,
    password: new Secret(pair.password),
    identityToken: new Secret(field("identitytoken")),
    registryToken: new Secret(field("registrytoken")),
  };
}

/** Splits at the first colon and, as docker does, trims NULs off the password. */
function decodeAuth(key: string, encoded: string) {
  // As Go's base64: line breaks are ignored, padding is required, trailing bits are not checked.
  const packed = encoded.replace(/[\r\n]/g, "");
  if (packed.length % 4 !== 0 || !/^[A-Za-z0-9+/]*={0,2}$/.test(packed)) {
    throw invalid(`auths.${key}.auth is not base64`);
  }
  const bytes = Uint8Array.fromBase64(packed);
  const pair = new TextDecoder("utf-8", { ignoreBOM: true }).decode(bytes);
  const undecodable = new TextEncoder().encode(pair).toBase64() !== bytes.toBase64();
  const colon = pair.indexOf(":");
  if (colon < 0) throw invalid(`auths.${key}.auth has no colon`);
  if (colon === 0) throw invalid(`auths.${key}.auth has no username`);
  const username = pair.slice(0, colon);
  const password = pair.slice(colon + 1).replace(/^\0+|\0+$/g, "");
  return { username, password, ...(undecodable && { undecodable }) };
}

/** Returns the server name under which docker stores the credential of a registry. */
export function dockerServer(registry: string): string {
  return registry === "docker.io" ? DOCKER_HUB_KEY : registry;
}

/**
 * Finds the entry for a registry as docker's file store does: by the exact key, otherwise by a key
 * with the registry's host (`credentials.ConvertToHostname`), of several the first in byte order.
 */
export function findAuth(
  { auths }: DockerConfig,
  registry: string,
): { readonly key: string; readonly auth: DockerAuth } | undefined {
  const server = dockerServer(registry);
  const [key = server] = auths.has(server)
    ? []
    : [...auths.keys()].sort().filter((key) => hostOf(key) === server);
  const auth = auths.get(key);
  return auth && { key, auth };
}

function hostOf(key: string): string {
  return withoutScheme(key).replace(/\/.*$/s, "");
}

function withoutScheme(key: string): string {
  return key.replace(/^https?:\/\//, "");
}

/** Returns the registry's own helper, otherwise `credsStore`; empty if there is neither. */
export function helperFor(config: DockerConfig, registry: string): string {
  return config.credHelpers.get(dockerServer(registry)) ?? config.credsStore;
}

/** Returns the credentials of an entry, the one that nydusd can use first. */
export function credentialsOf(auth: DockerAuth): readonly Credential[] {
  if (auth.undecodable) return [];
  const credentials: Credential[] = [];
  const pair = credentialFromPair(auth.username, auth.password.reveal());
  if (pair !== undefined) credentials.push(pair);
  if (!auth.registryToken.isEmpty) {
    credentials.push({ kind: "registry-token", token: auth.registryToken });
  }
  if (!auth.identityToken.isEmpty) {
    const { username, identityToken } = auth;
    credentials.push({ kind: "identity-token", username, token: identityToken });
  }
  return credentials;
}

/** Credentials for a registry, or for a path in it. */
export interface RegistryEntry {
  /** The key as written in the file or secret. */
  readonly key: string;
  /** The images of the key. */
  readonly pattern: ImagePattern;
  /** Starts with the one that nydusd can use; empty for anonymous access. */
  readonly credentials: readonly Credential[];
}

/**
 * Returns the entries that match an image, the most specific key first, then in the given order.
 * Keys match by the kubelet's rules (Kubernetes `pkg/credentialprovider/keyring.go`,
 * `BasicDockerKeyring`): hosts are compared label by label, with `*` as a wildcard within a label,
 * ports must be equal, and the path is a literal prefix.
 */
export function findEntries<S extends { readonly entries: readonly RegistryEntry[] }>(
  secrets: readonly S[],
  target: ImageTarget,
): readonly { readonly secret: S; readonly entry: RegistryEntry }[] {
  return secrets
    .flatMap((secret) =>
      secret.entries.filter(({ pattern }) => pattern.matches(target))
        .map((entry) => ({ secret, entry }))
    )
    .sort((a, b) => comparePatterns(a.entry.pattern.canonical, b.entry.pattern.canonical));
}

/** Returns the images of a key; undefined if it is not a registry. */
export function patternOfKey(key: string): ImagePattern | undefined {
  return ImagePattern.tryParse(registryOfKey(key));
}

/**
 * Returns the registry and path of a key, without the scheme and the registry API version at the
 * start of the path. The aliases of Docker Hub become `docker.io`.
 */
export function registryOfKey(key: string): string {
  const host = hostOf(key);
  const path = withoutScheme(key).slice(host.length).replace(/^\/v[12](?=\/|$)/, "");
  const registry = isDockerHub(host) || host === "registry.hub.docker.com" ? "docker.io" : host;
  return path === "/" ? registry : `${registry}${path}`;
}
