import type { Clock, Random } from "../../model/mod.ts";
import type { Fields } from "../../formats/mod.ts";
import type { KubeCallSpec, KubeClient, KubeFailure } from "./kube_client.ts";
import { ListWatch } from "./list_watch.ts";

/** What everything that follows the API server is given. */
export interface KubeFollowing {
  readonly client: KubeClient;
  readonly clock: Clock;
  readonly random: Random;
  /** Between two looks at what cannot be watched. */
  readonly pollMs: number;
}

/** A list or an object that is not as it should be, for `explain`. */
export interface KubeProblem {
  /** What is followed: `pods of node a`, `secret ns/name`. */
  readonly subject: string;
  readonly failure: KubeFailure;
  /** Nothing was ever read: what it would say is unknown, rather than old. */
  readonly unknown: boolean;
  /** The server is not followed now: what is known may be old. */
  readonly stale: boolean;
}

/** What is kept of objects, and how. */
export interface Projection<T> {
  readonly read: (object: Fields) => T;
  readonly same: (a: T, b: T) => boolean;
}

/**
 * Watches of one kind over one connection, and how many connections. Servers allow 100 open
 * requests over each, of all kinds, and what goes beyond that would wait for ever: it is polled.
 */
const WATCHED_IN_LANE = 40;
const LANES = 6;
const MAX_FOLLOWED = 1_000;
/** Objects that nobody wants any more are kept for as long: pods are often replaced. */
const LINGER_MS = 5 * 60_000;

interface Followed<T> {
  readonly watch: ListWatch<T>;
  readonly stop: AbortController;
  /** Undefined: polled. */
  readonly lane: number | undefined;
  unwantedSinceMs?: number;
}

/** Single objects, each got and watched by its name: no right to list them is needed. */
export class FollowedObjects<T> {
  readonly #following: KubeFollowing;
  readonly #resource: KubeCallSpec["resource"];
  readonly #projection: Projection<T>;
  readonly #changed: () => void;
  readonly #followed = new Map<string, Followed<T>>();
  #left = 0;

  constructor(
    following: KubeFollowing,
    resource: KubeCallSpec["resource"],
    projection: Projection<T>,
    changed: () => void,
  ) {
    this.#following = following;
    this.#resource = resource;
    this.#projection = projection;
    this.#changed = changed;
  }

  /** Follows these (`namespace/name`) from now on, and after a while no others. */
  want(keys: ReadonlySet<string>): void {
    const nowMs = this.#following.clock.monotonicMs();
    for (const [key, followed] of this.#followed) {
      if (keys.has(key)) delete followed.unwantedSinceMs;
      else followed.unwantedSinceMs ??= nowMs;
      if (nowMs - (followed.unwantedSinceMs ?? nowMs) < LINGER_MS) continue;
      followed.stop.abort();
      this.#followed.delete(key);
    }
    this.#left = 0;
    for (const key of [...keys].sort()) {
      if (this.#followed.has(key)) continue;
      if (this.#followed.size < MAX_FOLLOWED) this.#start(key);
      else this.#left++;
    }
  }

  /** The objects that are wanted and there. */
  *items(): Generator<readonly [key: string, item: T]> {
    for (const [key, { watch, unwantedSinceMs }] of this.#followed) {
      const item = watch.items.get(key);
      if (item !== undefined && unwantedSinceMs === undefined) yield [key, item];
    }
  }

  get(key: string): T | undefined {
    const followed = this.#followed.get(key);
    return followed?.unwantedSinceMs === undefined ? followed?.watch.items.get(key) : undefined;
  }

  /** Whether it was looked for and is not there. */
  isMissing(key: string): boolean {
    const watch = this.#followed.get(key)?.watch;
    return watch !== undefined && watch.synced && !watch.items.has(key);
  }

  /** Gets these anew, as far as they are followed. */
  async refresh(keys: Iterable<string>): Promise<void> {
    await Promise.all([...keys].map((key) => this.#followed.get(key)?.watch.refresh()));
  }

  /** Resolves when every object was got, or could not be. */
  async attempted(): Promise<void> {
    await Promise.all([...this.#followed.values()].map(({ watch }) => watch.attempted()));
  }

  problems(): readonly KubeProblem[] {
    const kind = this.#resource.replace(/s$/, "");
    const problems = [...this.#followed].flatMap(([key, { watch, unwantedSinceMs }]) => {
      const failure = watch.failure ?? watch.unwatchable;
      if (failure === undefined || unwantedSinceMs !== undefined) return [];
      const stale = watch.failure !== undefined;
      return [{ subject: `${kind} ${key}`, failure, unknown: !watch.synced, stale }];
    });
    if (this.#left === 0) return problems;
    const detail = `${this.#left} are left out: no more than ${MAX_FOLLOWED} are followed`;
    const failure = { reason: "source-unreachable", detail } as const;
    return [...problems, { subject: this.#resource, failure, unknown: true, stale: false }];
  }

  #start(key: string): void {
    const slash = key.indexOf("/");
    const lane = this.#freeLane();
    const watch = new ListWatch<T>({
      ...this.#following,
      ...this.#projection,
      resource: this.#resource,
      namespace: key.slice(0, slash),
      name: key.slice(slash + 1),
      ...(lane === undefined ? { polled: true } : { lane }),
      changed: this.#changed,
    });
    const stop = new AbortController();
    this.#followed.set(key, { watch, stop, lane });
    void watch.run(stop);
  }

  #freeLane(): number | undefined {
    const taken = new Array<number>(LANES).fill(0);
    for (const { lane } of this.#followed.values()) {
      if (lane !== undefined) taken[lane] = (taken[lane] ?? 0) + 1;
    }
    const free = taken.findIndex((count) => count < WATCHED_IN_LANE);
    return free < 0 ? undefined : free;
  }

  stop(): void {
    for (const { stop } of this.#followed.values()) stop.abort();
    this.#followed.clear();
  }
}
