import {
  comparePatterns,
  type Credential,
  ImagePattern,
  type ImageTarget,
  parseImageTarget,
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

interface Indexed<S extends PullSecret> extends KeyringMatch<S> {
  readonly pattern: ImagePattern;
}

/**
 * Index of pull secret entries by image. Keys match by the kubelet's rules (Kubernetes
 * `pkg/credentialprovider/keyring.go`, `BasicDockerKeyring`): hosts are compared label by label,
 * with `*` as a wildcard within a label, ports must be equal, and the path is a literal prefix.
 */
export class SecretKeyring<S extends PullSecret> {
  /** By host and port; keys with wildcards are in a separate list. */
  readonly #byHost = new Map<string, Indexed<S>[]>();
  readonly #wildcards: Indexed<S>[] = [];
  /** Keys that are not a registry, with their secret. */
  readonly unusable: { readonly secret: S; readonly key: string }[] = [];

  constructor(secrets: Iterable<S>) {
    for (const secret of secrets) {
      for (const entry of secret.entries) this.#add(secret, entry);
    }
  }

  /** Returns the matching entries: most specific key first, then by namespace and name. */
  find(target: ImageTarget): readonly KeyringMatch<S>[] {
    const candidates = [...this.#byHost.get(hostOf(target)) ?? [], ...this.#wildcards];
    return candidates.filter(({ pattern }) => pattern.matches(target)).sort(compare);
  }

  #add(secret: S, entry: SecretEntry): void {
    const text = registryOfKey(entry.key);
    try {
      const host = hostOf(parseImageTarget(text));
      const indexed = { secret, entry, pattern: ImagePattern.parse(text) };
      if (/[*[]/.test(host)) this.#wildcards.push(indexed);
      else if (!this.#byHost.get(host)?.push(indexed)) this.#byHost.set(host, [indexed]);
    } catch {
      this.unusable.push({ secret, key: entry.key });
    }
  }
}

function hostOf({ labels, port }: ImageTarget): string {
  return `${labels.join(".")}:${port}`;
}

function compare<S extends PullSecret>(a: Indexed<S>, b: Indexed<S>): number {
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
  const registry = HUB_HOSTS.has(host) ? "docker.io" : host;
  return path === "/" ? registry : `${registry}${path}`;
}

const HUB_HOSTS: ReadonlySet<string> = new Set([
  "docker.io",
  "index.docker.io",
  "registry-1.docker.io",
  "registry.hub.docker.com",
]);
