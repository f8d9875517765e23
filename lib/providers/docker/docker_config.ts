import { AgentError, type Credential, credentialFromPair, Secret } from "../../model/mod.ts";
import { few } from "../../model/mod.ts";
import { type Fields, firstJsonValue, goField, isFields } from "../../formats/mod.ts";

/** One entry of `auths`, decoded. */
export interface DockerAuth {
  readonly username: string;
  readonly password: Secret;
  readonly identityToken: Secret;
  readonly registryToken: Secret;
  /** Its `auth` is no UTF-8 text: docker would send bytes that we cannot keep. */
  readonly undecodable?: boolean;
}

/** A docker configuration, as far as credentials go. */
export interface DockerConfig {
  readonly auths: ReadonlyMap<string, DockerAuth>;
  /** The host in a key of `auths` → that key; of several the first in byte order. */
  readonly keysByHost: ReadonlyMap<string, string>;
  readonly credHelpers: ReadonlyMap<string, string>;
  readonly credsStore: string;
  /** The names of its entries, few of them; empty when it has none. */
  readonly entriesInWords: string;
}

/** Where `docker login` keeps Docker Hub, whatever the image says. */
export const DOCKER_HUB_KEY = "https://index.docker.io/v1/";

function invalid(what: string): AgentError {
  return new AgentError("invalid-config", `read docker configuration: ${what}`);
}

/**
 * Reads a docker `config.json` by the rules of docker/cli (`cli/config/configfile/file.go`,
 * `LoadFromReader`): one entry that does not decode makes the whole file unusable, an empty file
 * and what follows the JSON object do not.
 *
 * @throws {AgentError} `invalid-config`; the message names the key, never a value.
 */
export function parseDockerConfig(text: string): DockerConfig {
  let file: unknown;
  try {
    file = firstJsonValue(text) ?? {};
  } catch {
    throw invalid("it is not JSON (half-written, perhaps)");
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
  const credsStore = stringField(file, "credsStore", "credsStore");
  const names = [...auths.keys(), ...credHelpers.keys()];
  return {
    auths,
    keysByHost: keysByHost(auths.keys()),
    credHelpers,
    credsStore,
    entriesInWords: names.length === 0 ? "" : few(names),
  };
}

function keysByHost(keys: Iterable<string>): ReadonlyMap<string, string> {
  const byHost = new Map<string, string>();
  for (const key of [...keys].sort()) {
    const host = hostOf(key);
    if (!byHost.has(host)) byHost.set(host, key);
  }
  return byHost;
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
 * One entry of `auths`.
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

/** Split at the first colon; docker trims NULs off the password. */
function decodeAuth(key: string, encoded: string) {
  // As Go's base64: line breaks are skipped, padding is wanted, spare bits are not looked at.
  const packed = encoded.replace(/[\r\n]/g, "");
  if (packed.length % 4 !== 0 || !/^[A-Za-z0-9+/]*={0,2}$/.test(packed)) {
    throw invalid(`auths.${key}.auth is not base64`);
  }
  const bytes = Uint8Array.fromBase64(packed);
  let undecodable = false;
  try {
    new TextDecoder("utf-8", { fatal: true }).decode(bytes);
  } catch {
    undecodable = true;
  }
  const pair = new TextDecoder("utf-8", { ignoreBOM: true }).decode(bytes);
  const colon = pair.indexOf(":");
  if (colon < 0) throw invalid(`auths.${key}.auth has no colon`);
  if (colon === 0) throw invalid(`auths.${key}.auth has no user name`);
  const username = pair.slice(0, colon);
  const password = pair.slice(colon + 1).replace(/^\0+|\0+$/g, "");
  return { username, password, ...(undecodable && { undecodable }) };
}

/** The name under which docker keeps a registry. */
export function dockerServer(registry: string): string {
  return registry === "docker.io" ? DOCKER_HUB_KEY : registry;
}

/**
 * The entry for a registry, as docker's file store finds it: the exact key, else a key whose host
 * is the registry's (`credentials.ConvertToHostname`).
 */
export function findAuth(
  { auths, keysByHost }: DockerConfig,
  registry: string,
): { readonly key: string; readonly auth: DockerAuth } | undefined {
  const server = dockerServer(registry);
  const key = auths.has(server) ? server : keysByHost.get(server);
  const auth = key === undefined ? undefined : auths.get(key);
  return key === undefined || auth === undefined ? undefined : { key, auth };
}

/** The keys that look like Docker Hub's and are none that docker reads. */
export function mistakenHubKeys({ auths }: DockerConfig): readonly string[] {
  return [...auths.keys()].sort().filter((key) =>
    key !== DOCKER_HUB_KEY && /^(?:(?:index|registry-1)\.)?docker\.io$/.test(hostOf(key))
  );
}

function hostOf(key: string): string {
  const bare = key.replace(/^https?:\/\//, "");
  const slash = bare.indexOf("/");
  return slash < 0 ? bare : bare.slice(0, slash);
}

/** The helper for a registry, as docker chooses it: its own, else the store for all. */
export function helperFor(config: DockerConfig, registry: string): string {
  return config.credHelpers.get(dockerServer(registry)) ?? config.credsStore;
}

/** The credentials that an entry holds, the one that nydusd can use first. */
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

/** Whether something in it is for a registry: an entry, or a helper that would be asked. */
export function knowsRegistry(config: DockerConfig, registry: string): boolean {
  return findAuth(config, registry) !== undefined || helperFor(config, registry) !== "";
}
