import { createHash } from "node:crypto";
import {
  abortable,
  type CallOptions,
  type Candidate,
  type Clock,
  credentialFingerprint,
  type CredentialProvider,
  type CredentialRequest,
  defined,
  type ProviderNote,
  type ProviderOutcome,
  targetOf,
  tokenExpiryOf,
} from "../../model/mod.ts";
import { type KeyringMatch, type PullSecret, SecretKeyring } from "../docker/mod.ts";
import {
  debounced,
  Informer,
  type InformerContext,
  type InformerProblem,
  type Transform,
  withinStartup,
} from "./informer.ts";
import { type NodeInformers, serviceAccountKey } from "./node_informers.ts";
import { ObjectCache } from "./object_cache.ts";
import { PULL_SECRET_TYPES, readPullSecret } from "./secret_reader.ts";

/** A cached pull secret. */
export interface CachedSecret extends PullSecret {
  /** Digest of its content. */
  readonly digest: string;
  /** Wall time at which this content was first read (ms). */
  readonly readAtMs: number;
}

/** A source of pull secrets. */
export interface SecretSource {
  secrets(): Iterable<CachedSecret>;
  /** Resolves when reading all secrets has succeeded or failed. */
  waitForList(): Promise<void>;
  /** Reads these secrets (`namespace/name`) again. */
  refresh(keys: Iterable<string>): Promise<void>;
  problems(): readonly InformerProblem[];
  stop(): void;
}

function secretTransform(clock: Clock): Transform<CachedSecret> {
  return {
    transform: (object) => ({
      ...readPullSecret(object),
      digest: createHash("sha256").update(JSON.stringify([object["type"], object["data"]]))
        .digest("base64"),
      readAtMs: clock.wallMs(),
    }),
    isEqual: (a, b) => a.digest === b.digest,
  };
}

/** Dependencies of {@linkcode KubeSecretProvider}. */
export interface KubeSecretProviderOptions {
  /** Creates the source, which calls `changed` when its secrets change. */
  readonly source: (changed: () => void) => SecretSource;
  readonly clock: Clock;
  /** Called when the provider may return other credentials. */
  readonly changed: () => void;
}

const MAX_NOTES = 20;
/**
 * Limits on the candidates for one image, so that the secrets of one tenant cannot displace those
 * of another. The total is below the limit of candidate selection, which other providers share.
 */
const MAX_PER_SECRET = 16;
const MAX_PER_NAMESPACE = 64;
const MAX_CANDIDATES = 192;

/** Provides the credentials of pull secrets in the Kubernetes API, the most specific key first. */
export class KubeSecretProvider implements CredentialProvider {
  readonly name = "kubesecret";
  readonly renewable = true;
  readonly #options: KubeSecretProviderOptions;
  readonly #source: SecretSource;
  readonly #startedMs: number;
  readonly #stop = new AbortController();
  #keyring: SecretKeyring<CachedSecret> | undefined;

  constructor(options: KubeSecretProviderOptions) {
    this.#options = options;
    this.#startedMs = options.clock.monotonicMs();
    const notify = debounced(options.clock, this.#stop, options.changed);
    this.#source = options.source(() => {
      this.#keyring = undefined;
      notify();
    });
  }

  async provide(
    request: CredentialRequest,
    { signal }: CallOptions = {},
  ): Promise<ProviderOutcome> {
    return await abortable(this.#provide(request), signal);
  }

  /** Returns the problems of the watches of secrets. */
  problems(): readonly InformerProblem[] {
    return this.#source.problems();
  }

  stop(): void {
    this.#stop.abort();
    this.#source.stop();
  }

  async #provide(request: CredentialRequest): Promise<ProviderOutcome> {
    await withinStartup(this.#options.clock, this.#startedMs, this.#source.waitForList());
    const target = targetOf(request);
    let keyring = this.#currentKeyring();
    let matches = target === undefined ? [] : keyring.find(target);
    if (target !== undefined && request.newerThanMs !== undefined) {
      const keys = new Set(matches.map(({ secret }) => `${secret.namespace}/${secret.name}`));
      await this.#source.refresh(keys);
      keyring = this.#currentKeyring();
      matches = keyring.find(target);
    }
    const notes: ProviderNote[] = [];
    const found = distinct(matches.flatMap((match) => this.#candidates(match, notes)));
    const candidates = withinLimits(found, request.inUse).map(({ candidate }) => candidate);
    const omitted = found.length - candidates.length;
    if (omitted > 0) {
      const detail =
        `${omitted} more credentials match, beyond the limits per secret and namespace`;
      notes.unshift({ subject: "secrets", reason: "found", detail });
    }
    const problems = this.#source.problems();
    notes.push(...problems.map(noteOf), ...this.#invalid(keyring));
    const bounded = notes.slice(0, MAX_NOTES);
    const [first, ...rest] = candidates;
    if (first !== undefined) {
      return { kind: "found", reason: "found", candidates: [first, ...rest], notes: bounded };
    }
    const unsynced = problems.find((problem) => problem.unsynced);
    if (unsynced !== undefined) return failed(unsynced, bounded);
    const reason = matches.length === 0 ? "no-secret-matched" : "anonymous-entry";
    return { kind: "none", reason, notes: bounded };
  }

  #currentKeyring(): SecretKeyring<CachedSecret> {
    return this.#keyring ??= new SecretKeyring(this.#source.secrets());
  }

  #candidates(
    { secret, entry }: KeyringMatch<CachedSecret>,
    notes: ProviderNote[],
  ): readonly SecretCandidate[] {
    const { namespace, name, readAtMs } = secret;
    const subject = `secret ${namespace}/${name}`;
    if (entry.credentials.length === 0) {
      notes.push({ subject, reason: "anonymous-entry", detail: `entry ${entry.key}` });
    }
    return entry.credentials.map((credential) => {
      const { expiresAtMs, warning } = tokenExpiryOf(credential, readAtMs);
      if (warning !== undefined) notes.push({ subject, reason: "found", detail: warning });
      const candidate = {
        credential,
        origin: `${subject}, entry ${entry.key}`,
        pattern: entry.key,
        fetchedAtMs: readAtMs,
        watched: true,
        ...defined({ expiresAtMs }),
      };
      return { namespace, name, candidate };
    });
  }

  #invalid(keyring: SecretKeyring<CachedSecret>): ProviderNote[] {
    const notes: ProviderNote[] = [];
    const reason = "invalid-entry";
    for (const { namespace, name, problems } of this.#source.secrets()) {
      const subject = `secret ${namespace}/${name}`;
      for (const detail of problems) notes.push({ subject, reason, detail });
      if (notes.length > MAX_NOTES) return notes;
    }
    for (const { secret, key } of keyring.unusable) {
      const detail = `the key ${JSON.stringify(key.slice(0, 200))} is not a registry`;
      notes.push({ subject: `secret ${secret.namespace}/${secret.name}`, reason, detail });
    }
    return notes;
  }
}

function noteOf({ subject, failure, unsynced }: InformerProblem): ProviderNote {
  const { reason, detail } = failure;
  const isCached = !unsynced && reason !== "no-secret-matched";
  return { subject, reason, detail: isCached ? `${detail}; using cached data` : detail };
}

function failed(
  { subject, failure }: InformerProblem,
  notes: readonly ProviderNote[],
): ProviderOutcome {
  const { reason, detail } = failure;
  if (reason === "no-config-file") return { kind: "none", reason, notes };
  return { kind: "failed", reason, detail: `${subject}: ${detail}`, notes };
}

interface SecretCandidate {
  readonly namespace: string;
  readonly name: string;
  readonly candidate: Candidate;
}

/** Returns each credential once, under its most specific key. */
function distinct(found: readonly SecretCandidate[]): readonly SecretCandidate[] {
  const byFingerprint = new Map<string, SecretCandidate>();
  for (const one of found) {
    const fingerprint = credentialFingerprint(one.candidate.credential);
    if (!byFingerprint.has(fingerprint)) byFingerprint.set(fingerprint, one);
  }
  return [...byFingerprint.values()];
}

/**
 * Returns the candidates within the limits, best first. Each namespace gets an equal share of the
 * total, and the credential in use counts against no limit.
 */
function withinLimits(
  found: readonly SecretCandidate[],
  inUse: string | undefined,
): readonly SecretCandidate[] {
  const counts = new Map<string, number>();
  const next = (key: string): number => {
    const count = (counts.get(key) ?? 0) + 1;
    counts.set(key, count);
    return count;
  };
  const ranks = new Map<SecretCandidate, number>();
  for (const one of found) {
    if (credentialFingerprint(one.candidate.credential) === inUse) {
      ranks.set(one, 0);
      continue;
    }
    if (next(`${one.namespace}/${one.name}`) > MAX_PER_SECRET) continue;
    const rank = next(one.namespace);
    if (rank <= MAX_PER_NAMESPACE) ranks.set(one, rank);
  }
  const byRank = [...ranks].sort(([, a], [, b]) => a - b).slice(0, MAX_CANDIDATES);
  const kept = new Set(byRank.map(([one]) => one));
  return found.filter((one) => kept.has(one));
}

/** All pull secrets of some namespaces, or of all, with an informer per namespace and type. */
export class ListedSecrets implements SecretSource {
  readonly #informers: readonly (readonly [subject: string, Informer<CachedSecret>])[];
  readonly #stop = new AbortController();

  /** @param namespaces Empty: all. */
  constructor(context: InformerContext, namespaces: readonly string[], changed: () => void) {
    const scopes = namespaces.length === 0 ? [undefined] : namespaces;
    this.#informers = scopes.flatMap((namespace) =>
      [...PULL_SECRET_TYPES.keys()].map((type) => {
        const informer = new Informer({
          ...context,
          ...secretTransform(context.clock),
          resource: "secrets",
          ...defined({ namespace }),
          fieldSelector: `type=${type}`,
          changed,
        });
        return [`secrets of ${namespace ?? "all namespaces"}, type ${type}`, informer] as const;
      })
    );
    for (const [, informer] of this.#informers) void informer.run(this.#stop);
  }

  *secrets(): Generator<CachedSecret> {
    for (const [, informer] of this.#informers) yield* informer.items.values();
  }

  async waitForList(): Promise<void> {
    await Promise.all(this.#informers.map(([, informer]) => informer.waitForList()));
  }

  /** Does nothing: reading single secrets would need another permission than listing them. */
  async refresh(): Promise<void> {}

  problems(): readonly InformerProblem[] {
    return this.#informers.flatMap(([subject, informer]) => informer.problem(subject) ?? []);
  }

  stop(): void {
    this.#stop.abort();
  }
}

/**
 * The pull secrets that pods on this node reference, directly or through their service accounts. No
 * other secret is read.
 */
export class ReferencedSecrets implements SecretSource {
  readonly #node: NodeInformers;
  readonly #secrets: ObjectCache<CachedSecret>;
  readonly #changed: () => void;
  #references: ReadonlySet<string> = new Set();

  constructor(context: InformerContext, node: NodeInformers, changed: () => void) {
    this.#node = node;
    this.#changed = changed;
    const transform = secretTransform(context.clock);
    this.#secrets = new ObjectCache({ ...context, ...transform, resource: "secrets", changed });
    node.onChange(() => this.#updateReferences());
  }

  secrets(): Iterable<CachedSecret> {
    return this.#secrets.items();
  }

  async waitForList(): Promise<void> {
    await this.#node.waitForList();
    await this.#secrets.waitForList();
  }

  async refresh(keys: Iterable<string>): Promise<void> {
    await this.#secrets.refresh(keys);
  }

  problems(): readonly InformerProblem[] {
    const missing = [...this.#references].filter((key) => this.#secrets.isMissing(key));
    return [
      ...this.#node.podProblems(),
      // Service accounts only add references to those of the pods: the result is still usable.
      ...this.#node.serviceAccounts.problems().map((one) => ({ ...one, unsynced: false })),
      ...this.#secrets.problems(),
      ...missing.map((key) => ({
        subject: `secret ${key}`,
        failure: { reason: "no-secret-matched", detail: "a pod references it, but it is missing" },
        unsynced: false,
        stale: false,
      } as const)),
    ];
  }

  stop(): void {
    this.#secrets.stop();
  }

  #updateReferences(): void {
    const before = this.#references;
    this.#references = new Set(
      this.#node.activePods().flatMap((pod) => {
        const account = this.#node.serviceAccounts.get(serviceAccountKey(pod));
        return [...pod.pullSecrets, ...account?.pullSecrets ?? []]
          .map((name) => `${pod.namespace}/${name}`);
      }),
    );
    this.#secrets.setReferences(this.#references);
    if (before.symmetricDifference(this.#references).size > 0) this.#changed();
  }
}
