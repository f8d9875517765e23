import {
  comparePatterns,
  type Credential,
  ImagePattern,
  type ImageTarget,
  parseImageTarget,
} from "../../model/mod.ts";

/** A registry, or a part of one, and what a secret holds for it. */
export interface SecretEntry {
  /** As it stands in the secret. */
  readonly key: string;
  /** The one that nydusd can use first; empty for anonymous access. */
  readonly credentials: readonly Credential[];
}

/** A pull secret, as far as credentials go. */
export interface PullSecret {
  readonly namespace: string;
  readonly name: string;
  readonly entries: readonly SecretEntry[];
  /** What is wrong with it, or with single entries. Quotes no value. */
  readonly problems: readonly string[];
}

/** An entry that matches an image. */
export interface KeyringMatch<S extends PullSecret> {
  readonly secret: S;
  readonly entry: SecretEntry;
}

interface Indexed<S extends PullSecret> extends KeyringMatch<S> {
  readonly pattern: ImagePattern;
}

/**
 * The entries of many pull secrets, found by image: the most specific key first, among equal keys
 * by namespace and name. A key matches by the kubelet's rules (Kubernetes
 * `pkg/credentialprovider/keyring.go`, `BasicDockerKeyring`): hosts label by label with `*` as a
 * wildcard within one, ports equal, the path a literal prefix.
 */
export class SecretKeyring<S extends PullSecret> {
  /** By host and port; what has a wildcard stands in a list of its own. */
  readonly #byHost = new Map<string, Indexed<S>[]>();
  readonly #wildcards: Indexed<S>[] = [];
  /** Keys that name no registry, by secret. */
  readonly unusable: { readonly secret: S; readonly key: string }[] = [];

  constructor(secrets: Iterable<S>) {
    for (const secret of secrets) {
      for (const entry of secret.entries) this.#add(secret, entry);
    }
  }

  /** Every entry that matches, best first. */
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
 * A key without what says nothing of the registry: the scheme, the version of the registry's API at
 * the start of the path, the many names of Docker Hub.
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
