import { Backoff, type Clock, defined, type Random } from "../../model/mod.ts";
import { type Fields, isFields } from "../../formats/mod.ts";
import type { KubeCallSpec, KubeClient, KubeFailure } from "./client.ts";

/** Dependencies that all informers share. */
export interface InformerContext {
  readonly client: KubeClient;
  readonly clock: Clock;
  readonly random: Random;
  /** Interval between two lists where watching is not possible (ms). */
  readonly pollMs: number;
}

/** Reduces objects to what the cache stores (`TransformFunc` in client-go). */
export interface Transform<T> {
  readonly transform: (object: Fields) => T;
  readonly isEqual: (a: T, b: T) => boolean;
}

/** Selects the objects of an informer and how they are read. */
export interface InformerOptions<T> extends InformerContext, Transform<T> {
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

/** Watches end after this time, or up to twice as long. */
const WATCH_SECONDS = 300;
/** A watch that ends earlier and without an event counts as refused. */
const SHORT_WATCH_MS = 1_000;
/** Upper limit of the jitter before a watch is opened again. */
const RECONNECT_JITTER_MS = 250;
/** A watch from version 0 starts with the current object within this time. */
const FIRST_EVENT_MS = 2_000;
const MAX_BACKOFF_MS = 30_000;
const MAX_FORBIDDEN_BACKOFF_MS = 60_000;
const MAX_RETRY_AFTER_MS = 5 * 60_000;
const NOT_FOUND = 404;
const GONE = 410;
/** After this many refused watches in a row, the informer lists again. */
const MAX_REFUSED_WATCHES = 3;

/**
 * Keeps a local cache of objects current by list-watch, like an informer of client-go
 * (`tools/cache/reflector.go`): lists, watches from the list's resource version, and resumes
 * from the last event after an interruption. While the API server is unavailable, the cache
 * keeps the last known objects.
 *
 * Invariants:
 * - `#resourceVersion` is undefined exactly when a list must precede the next watch.
 * - A promise of `waitForList` is resolved before another one replaces it, and when `run` ends.
 */
export class Informer<T> {
  readonly #options: InformerOptions<T>;
  readonly #backoff: Backoff;
  #items = new Map<string, T>();
  #resourceVersion: string | undefined;
  /** Resource version of a single object, which events may lag behind. */
  #objectVersion: string | undefined;
  #cycle = new AbortController();
  #listAttempt = Promise.withResolvers<void>();
  #hasSynced = false;
  #isStopped = false;
  /** Why the cache may be stale; undefined while list and watch succeed. */
  #failure: KubeFailure | undefined;
  /** Why the objects are polled instead of watched: RBAC forbids the watch. */
  #watchDenied: KubeFailure | undefined;
  /** Whether the object was read again because its watch started without it. */
  #reread = false;
  #refusedWatches = 0;

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

  /** Lists again immediately. A list in progress is canceled, and its waiters continue. */
  refresh(): Promise<void> {
    if (this.#isStopped) return Promise.resolve();
    this.#resourceVersion = undefined;
    this.#listAttempt.resolve();
    this.#listAttempt = Promise.withResolvers();
    this.#cycle.abort();
    return this.#listAttempt.promise;
  }

  /** Runs until aborted. */
  async run({ signal }: { readonly signal: AbortSignal }): Promise<void> {
    while (!signal.aborted) {
      const cycle = new AbortController();
      const abort = () => cycle.abort();
      this.#cycle = cycle;
      signal.addEventListener("abort", abort);
      try {
        await this.#listAndWatch(cycle.signal);
      } catch {
        // Aborted, either to list again or to stop.
      } finally {
        signal.removeEventListener("abort", abort);
      }
    }
    this.#isStopped = true;
    this.#listAttempt.resolve();
  }

  async #listAndWatch(signal: AbortSignal): Promise<void> {
    while (true) {
      const startedMs = this.#options.clock.monotonicMs();
      if (this.#resourceVersion === undefined) {
        const failure = await this.#list(signal);
        this.#listAttempt.resolve();
        if (failure !== undefined) {
          await this.#backOff(failure, startedMs, signal);
          continue;
        }
      }
      if (this.#options.pollOnly) await this.#waitForPoll(signal);
      else await this.#watch(signal);
    }
  }

  async #backOff(failure: KubeFailure, startedMs: number, signal: AbortSignal): Promise<void> {
    this.#failure = failure;
    const maxMs = failure.status === 403 ? MAX_FORBIDDEN_BACKOFF_MS : MAX_BACKOFF_MS;
    this.#backoff.failed(startedMs, maxMs);
    const retryAfterMs = Math.min(failure.retryAfterMs ?? 0, MAX_RETRY_AFTER_MS);
    const delayMs = Math.max(this.#backoff.remainingMs(), retryAfterMs);
    await this.#options.clock.sleep(delayMs, { signal });
  }

  #succeeded(): void {
    this.#failure = undefined;
    // A list that succeeds between refused watches does not reset the backoff.
    if (this.#refusedWatches === 0) this.#backoff.succeeded();
  }

  async #list(signal: AbortSignal): Promise<KubeFailure | undefined> {
    const { client, name, changed } = this.#options;
    const isSingle = name !== undefined;
    // From its watch cache, the API server need not read all objects to evaluate the selector.
    const query = isSingle || this.#hasSynced ? {} : { resourceVersion: "0" };
    const result = await client.call(this.#spec(isSingle ? "get" : "list", query), { signal });
    const isMissing = result.kind === "failed" && isSingle && result.failure.status === NOT_FOUND;
    if (result.kind === "failed" && !isMissing) return result.failure;
    const value = result.kind === "ok" ? result.value : { items: [] };
    const { items } = value;
    const objects = isSingle && !isMissing ? [value] : Array.isArray(items) ? items : [];
    const version = resourceVersionOf(value);
    if (isSingle) this.#objectVersion = version;
    // An object's own version may be too old to watch from. A watch from "0" starts with it.
    this.#resourceVersion = isSingle ? "0" : version ?? "0";
    const hasChanged = this.#replace(objects.filter(isFields)) || !this.#hasSynced;
    this.#hasSynced = true;
    this.#succeeded();
    if (hasChanged) changed();
    return undefined;
  }

  async #watch(signal: AbortSignal): Promise<void> {
    const { client, clock, random } = this.#options;
    const startedMs = clock.monotonicMs();
    const resourceVersion = this.#resourceVersion ?? "0";
    const spec = this.#spec("watch", {
      watch: "true",
      allowWatchBookmarks: "true",
      resourceVersion,
      timeoutSeconds: String(Math.round(WATCH_SECONDS * (1 + random.next()))),
    });
    let eventCount = 0;
    let hasObject = false;
    let error: KubeFailure | undefined;
    const ended = new AbortController();
    const handler = {
      started: () => {
        this.#failure = undefined;
        this.#watchDenied = undefined;
        if (resourceVersion === "0") void this.#expectObject(() => hasObject, ended);
      },
      event: (event: Fields) => {
        eventCount++;
        hasObject ||= event["type"] !== "BOOKMARK";
        error ??= this.#handleEvent(event);
      },
    };
    const end = await client.watch(spec, handler, { signal }).finally(() => ended.abort());
    const failure = error ?? (end.kind === "failed" ? end.failure : undefined);
    const isShort = eventCount === 0 && clock.monotonicMs() - startedMs < SHORT_WATCH_MS;
    if (failure?.status === 403) {
      this.#watchDenied = failure;
      await this.#waitForPoll(signal);
    } else if (failure !== undefined) {
      const isRefused = failure.status !== undefined &&
        ++this.#refusedWatches >= MAX_REFUSED_WATCHES;
      if (failure.status === GONE || isRefused) {
        this.#resourceVersion = undefined;
      }
      // A watch that delivered events before its error worked: no backoff.
      if (eventCount > 1) await this.#waitForReconnect(signal);
      else await this.#backOff(failure, startedMs, signal);
    } else if (isShort) {
      if (++this.#refusedWatches >= MAX_REFUSED_WATCHES) this.#resourceVersion = undefined;
      const detail = "watches end immediately after they start";
      await this.#backOff({ reason: "source-unreachable", detail }, startedMs, signal);
    } else {
      await this.#waitForReconnect(signal);
    }
  }

  /**
   * Reads a single object again when its watch does not start with it: no event reports an object
   * that was deleted between the `get` and the start of the watch.
   */
  async #expectObject(hasObject: () => boolean, ended: AbortController): Promise<void> {
    const { clock } = this.#options;
    const hasEnded = await clock.sleep(FIRST_EVENT_MS, ended).then(() => false, () => true);
    if (hasEnded || hasObject() || this.#items.size === 0 || this.#reread) return;
    this.#reread = true;
    this.#resourceVersion = undefined;
    this.#cycle.abort();
  }

  async #waitForPoll(signal: AbortSignal): Promise<void> {
    const { clock, random, pollMs } = this.#options;
    this.#resourceVersion = undefined;
    await clock.sleep(pollMs * (0.75 + random.next() / 2), { signal });
  }

  async #waitForReconnect(signal: AbortSignal): Promise<void> {
    const { clock, random } = this.#options;
    await clock.sleep(random.next() * RECONNECT_JITTER_MS, { signal });
  }

  /** Applies an event to the cache. Returns the failure of an ERROR event. */
  #handleEvent({ type, object }: Fields): KubeFailure | undefined {
    if (!isFields(object)) return undefined;
    if (type === "ERROR") {
      const status = typeof object["code"] === "number" ? object["code"] : 500;
      const detail = `the watch ended with status ${status}`;
      return { reason: "source-unreachable", detail, status };
    }
    this.#refusedWatches = 0;
    this.#succeeded();
    const version = resourceVersionOf(object);
    if (type !== "BOOKMARK") this.#reread = false;
    if (type === "ADDED" || type === "MODIFIED") {
      if (this.#options.name !== undefined && isOlder(version, this.#objectVersion)) {
        return undefined;
      }
      this.#objectVersion = version;
      if (this.#upsert(object)) this.#options.changed();
    } else if (type === "DELETED") {
      if (this.#items.delete(keyOf(object))) this.#options.changed();
    }
    if (version !== undefined) this.#resourceVersion = version;
    return undefined;
  }

  /** Returns whether the cache has changed. */
  #upsert(object: Fields): boolean {
    const key = keyOf(object);
    const before = this.#items.get(key);
    const after = this.#options.transform(object);
    if (before !== undefined && this.#options.isEqual(before, after)) return false;
    this.#items.set(key, after);
    return true;
  }

  /** Returns whether the cache has changed. */
  #replace(objects: readonly Fields[]): boolean {
    const before = this.#items;
    this.#items = new Map(objects.map((object) => {
      const key = keyOf(object);
      const old = before.get(key);
      const item = this.#options.transform(object);
      return [key, old !== undefined && this.#options.isEqual(old, item) ? old : item];
    }));
    return before.size !== this.#items.size ||
      this.#items.entries().some(([key, item]) => before.get(key) !== item);
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

/** Limit on waiting for the first lists (ms). */
const STARTUP_MS = 10_000;

/** Waits for the first lists, but not beyond a limit after the start of a provider. */
export async function withinStartup(
  clock: Clock,
  startedMs: number,
  lists: Promise<void>,
): Promise<void> {
  const remainingMs = startedMs + STARTUP_MS - clock.monotonicMs();
  if (remainingMs <= 0) return;
  const done = new AbortController();
  const sleep = clock.sleep(remainingMs, { signal: done.signal }).catch(() => {});
  await Promise.race([lists, sleep]);
  done.abort();
}

/** Changes within this time are reported together (ms). */
const DEBOUNCE_MS = 50;

/** Returns a function that reports calls in quick succession as one call of `callback`. */
export function debounced(
  clock: Clock,
  { signal }: { readonly signal: AbortSignal },
  callback: () => void,
): () => void {
  let isPending = false;
  return () => {
    if (isPending) return;
    isPending = true;
    clock.sleep(DEBOUNCE_MS, { signal }).then(() => {
      isPending = false;
      callback();
    }, () => {});
  };
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

/** Compares resource versions: decimal numbers of any length (KEP-5504); others are not ordered. */
function isOlder(a: string | undefined, b: string | undefined): boolean {
  if (a === undefined || b === undefined || !/^\d+$/.test(a) || !/^\d+$/.test(b)) return false;
  return BigInt(a) < BigInt(b);
}
