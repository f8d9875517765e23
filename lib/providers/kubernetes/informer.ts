import { type Fields, isFields } from "../../formats/mod.ts";
import { Backoff, type Clock, Deadline, defined, type Random } from "../../model/mod.ts";
import type { KubeCallSpec, KubeClient } from "./client.ts";
import type { KubeFailure } from "./connection.ts";

/** Dependencies that all informers share. */
export interface InformerContext {
  readonly client: KubeClient;
  readonly clock: Clock;
  readonly random: Random;
}

/** Selects the objects of an informer and how they are read. */
export interface InformerOptions<T> extends InformerContext {
  /** Reduces objects to what the cache stores (`TransformFunc` in client-go). */
  readonly transform: (object: Fields) => T;
  /** Whether an object has not changed. @default equal as JSON */
  readonly isEqual?: (a: T, b: T) => boolean;
  readonly resource: KubeCallSpec["resource"];
  /** Undefined: all namespaces. */
  readonly namespace?: string;
  /** A single object: it is read with `get` instead of `list`. */
  readonly name?: string;
  readonly fieldSelector?: string;
  /** Never watches, polls instead. */
  readonly pollOnly?: boolean;
  /** Called when the cache changes, and after the first list. */
  readonly changed: () => void;
}

/** An informer that is not current. */
export interface InformerProblem {
  /** The watched objects: `pods of node a`, `secret ns/name`. */
  readonly subject: string;
  readonly failure: KubeFailure;
  /** No list has ever succeeded. */
  readonly unsynced: boolean;
  /** Lists and watches fail, so the cache may be stale. */
  readonly stale: boolean;
}

/** Average interval between two lists where watching is not possible (ms). */
const POLL_MS = 60_000;
/** Watches end after this time, or up to twice as long. */
const WATCH_SECONDS = 300;
/** A watch that ends earlier has failed. */
const SHORT_WATCH_MS = 5_000;
/** Upper limit of the jitter before the next list. */
const RECONNECT_JITTER_MS = 250;
const MAX_BACKOFF_MS = 30_000;
const MAX_FORBIDDEN_BACKOFF_MS = 60_000;
const MAX_RETRY_AFTER_MS = 5 * 60_000;
const FORBIDDEN = 403;
const NOT_FOUND = 404;
/** Also the response to a list from a version that the server does not have. */
const GATEWAY_TIMEOUT = 504;
const WATCH_ENDED: KubeFailure = {
  reason: "source-unreachable",
  detail: "watches end immediately after they start",
};

/**
 * Keeps a local cache of objects current by list-watch, like an informer of client-go
 * (`tools/cache/reflector.go`): lists, watches from the list's resource version, and lists again
 * when the watch ends. While the API server is unavailable, the cache keeps the last known objects.
 *
 * Invariant: a promise of `waitForList` is resolved before another one replaces it, and when `run`
 * ends.
 */
export class Informer<T> {
  readonly #options: InformerOptions<T>;
  readonly #backoff: Backoff;
  #items: ReadonlyMap<string, T> = new Map();
  /** Resource version that the next list must not be older than; undefined: the most recent one. */
  #resourceVersion: string | undefined = "0";
  #cycle: Deadline | undefined;
  #listAttempt = Promise.withResolvers<void>();
  #hasSynced = false;
  #isStopped = false;
  /** Why the cache may be stale; undefined while list and watch succeed. */
  #failure: KubeFailure | undefined;
  /** Why the objects are polled instead of watched: RBAC forbids the watch. */
  #watchDenied: KubeFailure | undefined;

  constructor(options: InformerOptions<T>) {
    this.#options = options;
    this.#backoff = new Backoff(options);
  }

  /** The cached objects by `namespace/name`. */
  get items(): ReadonlyMap<string, T> {
    return this.#items;
  }

  /** Whether a list has succeeded. */
  get hasSynced(): boolean {
    return this.#hasSynced;
  }

  /** Returns the problem of this informer, if it has one. */
  problem(subject: string): InformerProblem | undefined {
    const failure = this.#failure ?? this.#watchDenied;
    const stale = this.#failure !== undefined;
    return failure && { subject, failure, unsynced: !this.#hasSynced, stale };
  }

  /** Resolves when the first list, or the one that is in progress, has succeeded or failed. */
  waitForList(): Promise<void> {
    return this.#listAttempt.promise;
  }

  /** Lists the most recent objects immediately. A list in progress is canceled, and its waiters continue. */
  refresh(): Promise<void> {
    if (this.#isStopped) return Promise.resolve();
    this.#resourceVersion = undefined;
    this.#listAttempt.resolve();
    this.#listAttempt = Promise.withResolvers();
    this.#cycle?.abort();
    return this.#listAttempt.promise;
  }

  /** Runs until aborted. */
  async run({ signal }: { readonly signal: AbortSignal }): Promise<void> {
    while (!signal.aborted) {
      using cycle = new Deadline(undefined, signal);
      this.#cycle = cycle;
      // Rejects when it is aborted, either to list again or to stop, or when `changed` throws.
      const delayMs = await this.#listAndWatch(cycle.signal).catch(() => MAX_BACKOFF_MS);
      await this.#options.clock.sleep(delayMs, cycle).catch(() => {});
    }
    this.#isStopped = true;
    this.#listAttempt.resolve();
  }

  /** Lists, then watches until the watch ends. Returns the time until the next list (ms). */
  async #listAndWatch(signal: AbortSignal): Promise<number> {
    const { clock, random, pollOnly } = this.#options;
    const pollDelayMs = POLL_MS * (0.75 + random.next() / 2);
    const startedMs = clock.monotonicMs();
    const failure = await this.#list(signal);
    this.#listAttempt.resolve();
    if (failure !== undefined) return this.#failed(failure, startedMs);
    if (pollOnly) return this.#succeeded(pollDelayMs);
    const watchedMs = clock.monotonicMs();
    const end = await this.#watch(signal);
    if (end?.status === FORBIDDEN) {
      this.#watchDenied = end;
      return this.#succeeded(pollDelayMs);
    }
    const isShort = clock.monotonicMs() - watchedMs < SHORT_WATCH_MS;
    return isShort
      ? this.#failed(end ?? WATCH_ENDED, startedMs)
      : this.#succeeded(random.next() * RECONNECT_JITTER_MS);
  }

  #succeeded(delayMs: number): number {
    this.#backoff.succeeded();
    return delayMs;
  }

  #failed(failure: KubeFailure, startedMs: number): number {
    this.#failure = failure;
    if (failure.status === GATEWAY_TIMEOUT) this.#resourceVersion = undefined;
    const isForbidden = failure.status === FORBIDDEN;
    this.#backoff.failed(startedMs, isForbidden ? MAX_FORBIDDEN_BACKOFF_MS : MAX_BACKOFF_MS);
    const retryAfterMs = Math.min(failure.retryAfterMs ?? 0, MAX_RETRY_AFTER_MS);
    return Math.max(this.#backoff.remainingMs(), retryAfterMs);
  }

  async #list(signal: AbortSignal): Promise<KubeFailure | undefined> {
    const { client, name } = this.#options;
    const isSingle = name !== undefined;
    // With a version, the API server reads from its cache, so that the lists at the ends of watches
    // are cheap.
    const query = defined({ resourceVersion: this.#resourceVersion });
    const result = await client.call(this.#spec(isSingle ? "get" : "list", query), { signal });
    const isMissing = result.kind === "failed" && isSingle && result.failure.status === NOT_FOUND;
    if (result.kind === "failed" && !isMissing) return result.failure;
    const value = result.kind === "ok" ? result.value : {};
    const { items } = value;
    const objects = isSingle && !isMissing ? [value] : Array.isArray(items) ? items : [];
    // An object's own version may be too old to watch from. A watch from "0" starts with it.
    this.#resourceVersion = isSingle ? "0" : resourceVersionOf(value) ?? "0";
    this.#failure = undefined;
    this.#update(new Map(objects.filter(isFields).map((object) => this.#itemOf(object))));
    return undefined;
  }

  /** Applies events until the watch ends. Returns the failure that ended it, if there is one. */
  async #watch(signal: AbortSignal): Promise<KubeFailure | undefined> {
    const { client, random } = this.#options;
    const spec = this.#spec("watch", {
      watch: "true",
      allowWatchBookmarks: "true",
      resourceVersion: this.#resourceVersion ?? "0",
      timeoutSeconds: String(Math.round(WATCH_SECONDS * (1 + random.next()))),
    });
    let error: KubeFailure | undefined;
    const handler = {
      started: () => this.#watchDenied = undefined,
      event: (event: Fields) => error ??= this.#apply(event),
    };
    return await client.watch(spec, handler, { signal }) ?? error;
  }

  /** Applies an event to the cache. Returns the failure of an ERROR event. */
  #apply({ type, object }: Fields): KubeFailure | undefined {
    if (!isFields(object)) return undefined;
    if (type === "ERROR") {
      const status = typeof object["code"] === "number" ? object["code"] : 500;
      const detail = `the watch ended with status ${status}`;
      return { reason: "source-unreachable", detail, status };
    }
    this.#resourceVersion = resourceVersionOf(object) ?? this.#resourceVersion;
    const others = [...this.#items].filter(([key]) => key !== keyOf(object));
    if (type === "DELETED") this.#update(new Map(others));
    else if (type === "ADDED" || type === "MODIFIED") {
      this.#update(new Map([...others, this.#itemOf(object)]));
    }
    return undefined;
  }

  /** Returns the key of an object, and its cached item if it has not changed. */
  #itemOf(object: Fields): [string, T] {
    const { transform, isEqual = isEqualJson } = this.#options;
    const key = keyOf(object);
    const before = this.#items.get(key);
    const item = transform(object);
    return [key, before !== undefined && isEqual(before, item) ? before : item];
  }

  /** Replaces the cached items. Notifies after the first list, and when an item has changed. */
  #update(items: ReadonlyMap<string, T>): void {
    const before = this.#items;
    this.#items = items;
    const isSame = this.#hasSynced && before.size === items.size &&
      items.entries().every(([key, item]) => before.get(key) === item);
    this.#hasSynced = true;
    if (!isSame) this.#options.changed();
  }

  #spec(verb: "get" | "list" | "watch", query: Readonly<Record<string, string>>): KubeCallSpec {
    const { resource, namespace, name, fieldSelector } = this.#options;
    if (verb === "get") return { verb, resource, ...defined({ namespace, name }), query };
    const selector = name === undefined ? fieldSelector : `metadata.name=${name}`;
    return {
      verb,
      resource,
      ...defined({ namespace }),
      query: { ...defined({ fieldSelector: selector }), ...query },
    };
  }
}

/**
 * Limit on watches of one resource; further objects are polled. API servers allow 100 concurrent
 * requests on a connection, and further ones would wait indefinitely.
 */
const MAX_WATCHES = 40;
const MAX_OBJECTS = 1_000;
/** Minimum interval between two reads of a suspect object. */
const REFRESH_INTERVAL_MS = 5_000;

interface CachedObject<T> {
  readonly informer: Informer<T>;
  readonly stop: AbortController;
  readonly isWatched: boolean;
  refreshedMs: number;
}

/**
 * Caches the referenced objects of one resource, with an informer for each, like the watch-based
 * manager of the kubelet: this needs no permission to list them.
 */
export class ObjectCache<T> {
  readonly #options: InformerOptions<T>;
  /** By `namespace/name`. */
  readonly #objects = new Map<string, CachedObject<T>>();
  #omittedCount = 0;

  constructor(options: InformerOptions<T>) {
    this.#options = options;
  }

  /** Sets the referenced objects (`namespace/name`). */
  setReferences(keys: ReadonlySet<string>): void {
    for (const [key, { stop }] of this.#objects) {
      if (keys.has(key)) continue;
      stop.abort();
      this.#objects.delete(key);
    }
    for (const key of [...keys].sort()) {
      if (!this.#objects.has(key) && this.#objects.size < MAX_OBJECTS) this.#start(key);
    }
    this.#omittedCount = keys.size - this.#objects.size;
  }

  /** Returns the objects that exist, by namespace and name. */
  items(): readonly T[] {
    return [...this.#objects.keys()].sort().flatMap((key) => this.get(key) ?? []);
  }

  get(key: string): T | undefined {
    return this.#objects.get(key)?.informer.items.get(key);
  }

  /** Whether the API server reported that the object does not exist. */
  isMissing(key: string): boolean {
    const informer = this.#objects.get(key)?.informer;
    return informer !== undefined && informer.hasSynced && !informer.items.has(key);
  }

  /** Reads objects again, in case their watches lag behind or have stopped. */
  async refresh(keys: Iterable<string>): Promise<void> {
    const nowMs = this.#options.clock.monotonicMs();
    await Promise.all([...keys].map(async (key) => {
      const object = this.#objects.get(key);
      if (object === undefined || nowMs - object.refreshedMs < REFRESH_INTERVAL_MS) return;
      object.refreshedMs = nowMs;
      await object.informer.refresh();
    }));
  }

  /** Resolves when reading every object has succeeded or failed. */
  async waitForList(): Promise<void> {
    await Promise.all([...this.#objects.values()].map(({ informer }) => informer.waitForList()));
  }

  problems(): readonly InformerProblem[] {
    const { resource } = this.#options;
    const kind = resource.replace(/s$/, "");
    const problems = [...this.#objects].flatMap(([key, { informer }]) =>
      informer.problem(`${kind} ${key}`) ?? []
    );
    if (this.#omittedCount === 0) return problems;
    const detail = `${this.#omittedCount} are omitted: the limit is ${MAX_OBJECTS}`;
    const failure = { reason: "source-unreachable", detail } as const;
    return [...problems, { subject: resource, failure, unsynced: true, stale: false }];
  }

  stop(): void {
    this.setReferences(new Set());
  }

  #start(key: string): void {
    const [namespace = "", name = ""] = key.split("/");
    const watched = this.#objects.values().filter(({ isWatched }) => isWatched).toArray();
    const isWatched = watched.length < MAX_WATCHES;
    const informer = new Informer<T>({ ...this.#options, namespace, name, pollOnly: !isWatched });
    const stop = new AbortController();
    this.#objects.set(key, { informer, stop, isWatched, refreshedMs: -Infinity });
    void informer.run(stop);
  }
}

function isEqualJson(a: unknown, b: unknown): boolean {
  return JSON.stringify(a) === JSON.stringify(b);
}

/** Returns the metadata of an object or list. */
export function metadataOf(object: Fields): Fields {
  return isFields(object["metadata"]) ? object["metadata"] : {};
}

/** Returns a field's text; empty if it is not a string. */
export function stringOf(value: unknown): string {
  return typeof value === "string" ? value : "";
}

/** Returns `namespace/name`. */
function keyOf(object: Fields): string {
  const { namespace, name } = metadataOf(object);
  return `${stringOf(namespace)}/${stringOf(name)}`;
}

function resourceVersionOf(object: Fields): string | undefined {
  return stringOf(metadataOf(object)["resourceVersion"]) || undefined;
}
