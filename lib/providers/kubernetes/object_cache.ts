import type { KubeCallSpec } from "./client.ts";
import {
  Informer,
  type InformerContext,
  type InformerProblem,
  type Transform,
} from "./informer.ts";

/**
 * Watches of one resource per connection. API servers allow 100 concurrent requests on a connection
 * for all resources together, and further ones would wait indefinitely.
 */
const WATCHES_PER_LANE = 40;
const LANES = 6;
const MAX_OBJECTS = 1_000;
/** Objects stay cached for this time after their last reference: pods are often replaced. */
const RETENTION_MS = 5 * 60_000;

interface Entry<T> {
  readonly informer: Informer<T>;
  readonly stop: AbortController;
  /** Undefined: polled. */
  readonly lane: number | undefined;
  unreferencedSinceMs?: number;
}

/**
 * Caches single objects of one resource, with an informer for each, like the watch-based manager of
 * the kubelet: this needs no permission to list them.
 */
export class ObjectCache<T> {
  readonly #context: InformerContext;
  readonly #resource: KubeCallSpec["resource"];
  readonly #transform: Transform<T>;
  readonly #changed: () => void;
  readonly #entries = new Map<string, Entry<T>>();
  #omittedCount = 0;

  constructor(
    context: InformerContext,
    resource: KubeCallSpec["resource"],
    transform: Transform<T>,
    changed: () => void,
  ) {
    this.#context = context;
    this.#resource = resource;
    this.#transform = transform;
    this.#changed = changed;
  }

  /** Sets the referenced objects (`namespace/name`). */
  setReferences(keys: ReadonlySet<string>): void {
    const nowMs = this.#context.clock.monotonicMs();
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

  /** Reads these objects again. */
  async refresh(keys: Iterable<string>): Promise<void> {
    await Promise.all([...keys].map((key) => this.#entries.get(key)?.informer.refresh()));
  }

  /** Resolves when reading every object has succeeded or failed. */
  async waitForList(): Promise<void> {
    await Promise.all([...this.#entries.values()].map(({ informer }) => informer.waitForList()));
  }

  problems(): readonly InformerProblem[] {
    const kind = this.#resource.replace(/s$/, "");
    const problems = [...this.#entries].flatMap(([key, { informer, unreferencedSinceMs }]) =>
      unreferencedSinceMs === undefined ? informer.problem(`${kind} ${key}`) ?? [] : []
    );
    if (this.#omittedCount === 0) return problems;
    const detail = `${this.#omittedCount} are omitted: the limit is ${MAX_OBJECTS}`;
    const failure = { reason: "source-unreachable", detail } as const;
    return [...problems, { subject: this.#resource, failure, unsynced: true, stale: false }];
  }

  #start(key: string): void {
    const slash = key.indexOf("/");
    const lane = this.#freeLane();
    const informer = new Informer<T>({
      ...this.#context,
      ...this.#transform,
      resource: this.#resource,
      namespace: key.slice(0, slash),
      name: key.slice(slash + 1),
      ...(lane === undefined ? { pollOnly: true } : { lane }),
      changed: this.#changed,
    });
    const stop = new AbortController();
    this.#entries.set(key, { informer, stop, lane });
    void informer.run(stop);
  }

  #freeLane(): number | undefined {
    const counts = new Array<number>(LANES).fill(0);
    for (const { lane } of this.#entries.values()) {
      if (lane !== undefined) counts[lane] = (counts[lane] ?? 0) + 1;
    }
    const free = counts.findIndex((count) => count < WATCHES_PER_LANE);
    return free < 0 ? undefined : free;
  }

  stop(): void {
    for (const { stop } of this.#entries.values()) stop.abort();
    this.#entries.clear();
  }
}
