import { createHash } from "node:crypto";
import { type Clock, defined } from "../../model/mod.ts";
import type { PullSecret } from "../docker/mod.ts";
import {
  Informer,
  type InformerContext,
  type InformerProblem,
  type Transform,
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
  refresh(keys: readonly string[]): Promise<void>;
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
  refresh(): Promise<void> {
    return Promise.resolve();
  }

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
    this.#secrets = new ObjectCache(context, "secrets", transform, changed);
    node.onChange(() => this.#updateReferences());
  }

  secrets(): Iterable<CachedSecret> {
    return this.#secrets.items();
  }

  async waitForList(): Promise<void> {
    await this.#node.waitForList();
    await this.#secrets.waitForList();
  }

  async refresh(keys: readonly string[]): Promise<void> {
    await this.#secrets.refresh(keys);
  }

  problems(): readonly InformerProblem[] {
    const missing = [...this.#references].filter((key) => this.#secrets.isMissing(key));
    return [
      ...this.#node.pods.problems(),
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
      this.#node.pods.active().flatMap((pod) => {
        const account = this.#node.serviceAccounts.get(serviceAccountKey(pod));
        return [...pod.pullSecrets, ...account?.pullSecrets ?? []]
          .map((name) => `${pod.namespace}/${name}`);
      }),
    );
    this.#secrets.setReferences(this.#references);
    if (before.symmetricDifference(this.#references).size > 0) this.#changed();
  }
}
