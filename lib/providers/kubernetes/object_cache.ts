import type { KubeCallSpec } from "./client.ts";
import {
  Informer,
  type InformerContext,
  type InformerProblem,
  type Transform,
} from "./informer.ts";

/**
 * Limit on watches of one resource; further objects are polled. API servers allow 100 concurrent
 * requests on a connection, and further ones would wait indefinitely.
 */
const MAX_WATCHES = 40;
const MAX_OBJECTS = 1_000;
/** Objects stay cached for this time after their last reference: pods are often replaced. */
const RETENTION_MS = 5 * 60_000;
/** Minimum interval between two reads of a suspect object. */
const REFRESH_INTERVAL_MS = 5_000;

interface Entry<T> {
  readonly informer: Informer<T>;
  readonly stop: AbortController;
  readonly isWatched: boolean;
  unreferencedSinceMs?: number;
  refreshedMs?: number;
}

/** Dependencies of an {@linkcode ObjectCache}. */
export interface ObjectCacheOptions<T> extends InformerContext, Transform<T> {
  readonly resource: KubeCallSpec["resource"];
  readonly changed: () => void;
}

/**
 * Caches single objects of one resource, with an informer for each, like the watch-based manager of
 * the kubelet: this needs no permission to list them.
 */
export class ObjectCache<T> {
  readonly #options: ObjectCacheOptions<T>;
  readonly #entries = new Map<string, Entry<T>>();
  #omittedCount = 0;

  constructor(options: ObjectCacheOptions<T>) {
    this.#options = options;
  }

  /** Sets the referenced objects (`namespace/name`). */
  setReferences(keys: ReadonlySet<string>): void {
    const nowMs = this.#options.clock.monotonicMs();
    for (const [key, entry] of this.#entries) {
      if (keys.has(key)) delete entry.unreferencedSinceMs;
      else entry.unreferencedSinceMs ??= nowMs;
      if (nowMs - (entry.unreferencedSinceMs ?? nowMs) < RETENTION_MS) continue;
      entry.stop.abort();
      this.#entries.delete(key);
    }
    this.#omittedCount = 0;
    for (const key of [...keys].sort()) {
      if (this.#entries.has(key)) continue;
      if (this.#entries.size < MAX_OBJECTS) this.#start(key);
      else this.#omittedCount++;
    }
  }

  /** Returns the referenced objects that exist. */
  items(): T[] {
    return [...this.#entries.keys()].flatMap((key) => this.get(key) ?? []);
  }

  get(key: string): T | undefined {
    const entry = this.#entries.get(key);
    return entry?.unreferencedSinceMs === undefined ? entry?.informer.items.get(key) : undefined;
  }

  /** Whether the API server reported that the object does not exist. */
  isMissing(key: string): boolean {
    const informer = this.#entries.get(key)?.informer;
    return informer !== undefined && informer.hasSynced && !informer.items.has(key);
  }

  /** Reads objects again, in case their watches lag behind or have stopped. */
  async refresh(keys: Iterable<string>): Promise<void> {
    const nowMs = this.#options.clock.monotonicMs();
    await Promise.all([...keys].map(async (key) => {
      const entry = this.#entries.get(key);
      if (nowMs - (entry?.refreshedMs ?? -Infinity) < REFRESH_INTERVAL_MS) return;
      if (entry !== undefined) entry.refreshedMs = nowMs;
      await entry?.informer.refresh();
    }));
  }

  /** Resolves when reading every object has succeeded or failed. */
  async waitForList(): Promise<void> {
    await Promise.all([...this.#entries.values()].map(({ informer }) => informer.waitForList()));
  }

  problems(): readonly InformerProblem[] {
    const { resource } = this.#options;
    const kind = resource.replace(/s$/, "");
    const problems = [...this.#entries].flatMap(([key, { informer, unreferencedSinceMs }]) =>
      unreferencedSinceMs === undefined ? informer.problem(`${kind} ${key}`) ?? [] : []
    );
    if (this.#omittedCount === 0) return problems;
    const detail = `${this.#omittedCount} are omitted: the limit is ${MAX_OBJECTS}`;
    const failure = { reason: "source-unreachable", detail } as const;
    return [...problems, { subject: resource, failure, unsynced: true, stale: false }];
  }

  stop(): void {
    for (const { stop } of this.#entries.values()) stop.abort();
    this.#entries.clear();
  }

  #start(key: string): void {
    const [namespace = "", name = ""] = key.split("/");
    const watches = this.#entries.values().filter(({ isWatched }) => isWatched);
    const isWatched = watches.toArray().length < MAX_WATCHES;
    const informer = new Informer<T>({ ...this.#options, namespace, name, pollOnly: !isWatched });
    const stop = new AbortController();
    this.#entries.set(key, { informer, stop, isWatched });
    void informer.run(stop);
  }
}
