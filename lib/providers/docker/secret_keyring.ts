import {
  comparePatterns,
  type Credential,
  ImagePattern,
  type ImageTarget,
  isDockerHub,
} from "../../model/mod.ts";

/** Credentials of a pull secret for a registry, or for a path in it. */
export interface SecretEntry {
  /** The key as written in the secret. */
  readonly key: string;
  /** Starts with the one that nydusd can use; empty for anonymous access. */
  readonly credentials: readonly Credential[];
}

/** Credential-related part of a pull secret. */
export interface PullSecret {
  readonly namespace: string;
  readonly name: string;
  readonly entries: readonly SecretEntry[];
  /** Problems of the secret or of single entries. They quote no value. */
  readonly problems: readonly string[];
}

/** An entry that matches an image, with its secret. */
export interface KeyringMatch<S extends PullSecret> {
  readonly secret: S;
  readonly entry: SecretEntry;
}

interface Parsed<S extends PullSecret> extends KeyringMatch<S> {
  readonly pattern: ImagePattern;
}

/**
 * The entries of pull secrets by image. Keys match by the kubelet's rules (Kubernetes
 * `pkg/credentialprovider/keyring.go`, `BasicDockerKeyring`): hosts are compared label by label,
 * with `*` as a wildcard within a label, ports must be equal, and the path is a literal prefix.
 */
export class SecretKeyring<S extends PullSecret> {
  readonly #entries: Parsed<S>[] = [];
  /** Keys that are not a registry, with their secret. */
  readonly unusable: { readonly secret: S; readonly key: string }[] = [];

  constructor(secrets: Iterable<S>) {
    for (const secret of secrets) {
      for (const entry of secret.entries) {
        const pattern = ImagePattern.tryParse(registryOfKey(entry.key));
        if (pattern === undefined) this.unusable.push({ secret, key: entry.key });
        else this.#entries.push({ secret, entry, pattern });
      }
    }
  }

  /** Returns the matching entries: most specific key first, then by namespace and name. */
  find(target: ImageTarget): readonly KeyringMatch<S>[] {
    return this.#entries.filter(({ pattern }) => pattern.matches(target)).sort(compare);
  }
}

function compare<S extends PullSecret>(a: Parsed<S>, b: Parsed<S>): number {
  return comparePatterns(a.pattern.canonical, b.pattern.canonical) ||
    order(a.secret.namespace, b.secret.namespace) || order(a.secret.name, b.secret.name) ||
    order(a.entry.key, b.entry.key);
}

function order(a: string, b: string): number {
  return a < b ? -1 : a > b ? 1 : 0;
}

/**
 * Returns the registry and path of a key, without the scheme and the registry API version at the
 * start of the path. The aliases of Docker Hub become `docker.io`.
 */
export function registryOfKey(key: string): string {
  const bare = key.replace(/^https?:\/\//, "");
  const slash = bare.indexOf("/");
  const host = slash < 0 ? bare : bare.slice(0, slash);
  const path = slash < 0 ? "" : bare.slice(slash).replace(/^\/v[12](?=\/|$)/, "");
  const registry = isDockerHub(host) || host === "registry.hub.docker.com" ? "docker.io" : host;
  return path === "/" ? registry : `${registry}${path}`;
}
