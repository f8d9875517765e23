import { createHash } from "node:crypto";
import type { Clock } from "../../model/mod.ts";
import { accountKey, type KubeNode } from "./kube_node.ts";
import { FollowedObjects, type KubeFollowing, type KubeProblem } from "./kube_sources.ts";
import type { Projection } from "./kube_sources.ts";
import { ListWatch } from "./list_watch.ts";
import type { PullSecret } from "../docker/mod.ts";
import { PULL_SECRET_TYPES, readPullSecret } from "./secret_reader.ts";

/** A pull secret as it was read last. */
export interface HeldSecret extends PullSecret {
  /** Differs when its content does. */
  readonly digest: string;
  /** Wall time at which this content was seen first. */
  readonly readAtMs: number;
}

/** Where pull secrets come from. */
export interface SecretSource {
  secrets(): Iterable<HeldSecret>;
  /** Resolves when everything was read once, or could not be. */
  attempted(): Promise<void>;
  /** Gets these secrets (`namespace/name`) anew. */
  refresh(keys: readonly string[]): Promise<void>;
  problems(): readonly KubeProblem[];
  stop(): void;
}

function heldSecret(clock: Clock): Projection<HeldSecret> {
  return {
    read: (object) => ({
      ...readPullSecret(object),
      digest: createHash("sha256").update(JSON.stringify([object["type"], object["data"]]))
        .digest("base64"),
      readAtMs: clock.wallMs(),
    }),
    same: (a, b) => a.digest === b.digest,
  };
}

/**
 * Every pull secret of some namespaces, or of all: one list and watch for each namespace and type.
 */
export class ListedSecrets implements SecretSource {
  readonly #lists: readonly { readonly subject: string; readonly watch: ListWatch<HeldSecret> }[];
  readonly #stop = new AbortController();

  /** @param namespaces Empty: all. */
  constructor(following: KubeFollowing, namespaces: readonly string[], changed: () => void) {
    const places = namespaces.length === 0 ? [undefined] : namespaces;
    this.#lists = places.flatMap((namespace) =>
      [...PULL_SECRET_TYPES.keys()].map((type) => ({
        subject: `secrets of ${namespace ?? "all namespaces"}, type ${type}`,
        watch: new ListWatch({
          ...following,
          ...heldSecret(following.clock),
          resource: "secrets",
          ...(namespace !== undefined && { namespace }),
          fieldSelector: `type=${type}`,
          changed,
        }),
      }))
    );
    for (const { watch } of this.#lists) void watch.run(this.#stop);
  }

  *secrets(): Generator<HeldSecret> {
    for (const { watch } of this.#lists) yield* watch.items.values();
  }

  async attempted(): Promise<void> {
    await Promise.all(this.#lists.map(({ watch }) => watch.attempted()));
  }

  /** Lists are watched as a whole: single secrets are not asked for, and need no right to be. */
  refresh(): Promise<void> {
    return Promise.resolve();
  }

  problems(): readonly KubeProblem[] {
    return this.#lists.flatMap(({ subject, watch }) => {
      const failure = watch.failure ?? watch.unwatchable;
      const stale = watch.failure !== undefined;
      return failure === undefined ? [] : [{ subject, failure, unknown: !watch.synced, stale }];
    });
  }

  stop(): void {
    this.#stop.abort();
  }
}

/**
 * The pull secrets that pods on this node name, by themselves or through their service accounts.
 * No secret is asked for that no pod here could be given.
 */
export class ReferencedSecrets implements SecretSource {
  readonly #node: KubeNode;
  readonly #secrets: FollowedObjects<HeldSecret>;
  readonly #changed: () => void;
  #wanted: ReadonlySet<string> = new Set();

  constructor(following: KubeFollowing, node: KubeNode, changed: () => void) {
    this.#node = node;
    this.#changed = changed;
    const projection = heldSecret(following.clock);
    this.#secrets = new FollowedObjects(following, "secrets", projection, changed);
    node.onChange(() => this.#look());
  }

  *secrets(): Generator<HeldSecret> {
    for (const [, secret] of this.#secrets.items()) yield secret;
  }

  async attempted(): Promise<void> {
    await this.#node.attempted();
    await this.#secrets.attempted();
  }

  async refresh(keys: readonly string[]): Promise<void> {
    await this.#secrets.refresh(keys);
  }

  problems(): readonly KubeProblem[] {
    const missing = [...this.#wanted].filter((key) => this.#secrets.isMissing(key));
    return [
      ...this.#node.pods.problems(),
      // They only add to what pods name: what they would say is not needed to go on.
      ...this.#node.accounts.problems().map((problem) => ({ ...problem, unknown: false })),
      ...this.#secrets.problems(),
      ...missing.map((key) => ({
        subject: `secret ${key}`,
        failure: { reason: "no-secret-matched", detail: "it is named by a pod and not there" },
        unknown: false,
        stale: false,
      } as const)),
    ];
  }

  stop(): void {
    this.#secrets.stop();
  }

  /** What the pods name now. */
  #look(): void {
    const before = this.#wanted;
    this.#wanted = new Set(
      this.#node.pods.active().flatMap((pod) => {
        const ofAccount = this.#node.accounts.get(accountKey(pod))?.pullSecrets ?? [];
        return [...pod.pullSecrets, ...ofAccount].map((name) => `${pod.namespace}/${name}`);
      }),
    );
    this.#secrets.want(this.#wanted);
    if (before.size !== this.#wanted.size || [...before].some((key) => !this.#wanted.has(key))) {
      this.#changed();
    }
  }
}
