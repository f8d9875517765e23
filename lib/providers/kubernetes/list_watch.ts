import type { CallOptions } from "../../model/mod.ts";
import { Backoff } from "../../model/mod.ts";
import { type Fields, isFields } from "../../formats/mod.ts";
import { isOlder, keyOf, versionOf } from "./kube_object.ts";
import type { KubeCallSpec, KubeFailure } from "./kube_client.ts";
import { KubePages, MAX_OBJECTS } from "./kube_pages.ts";
import type { ListWatchOptions } from "./list_watch_options.ts";

/** A watch ends by itself after this long, or up to twice as long. */
const WATCH_SECONDS = 300;
/** Watches that end sooner, with nothing to tell, are a sign of trouble. */
const SHORT_MS = 1_000;
/** Spreads those who lost their watches together. */
const RECONNECT_SPREAD_MS = 250;
/** A watch that begins with the object as it is has told it by then. */
const FIRST_EVENT_MS = 2_000;
const MAX_REST_MS = 30_000;
const MAX_FORBIDDEN_REST_MS = 60_000;
const MAX_RETRY_AFTER_MS = 5 * 60_000;
const GONE = 410;
const MAX_REFUSALS = 3;

/**
 * Follows objects of the API server: lists them, page by page, then watches from where the list
 * ended, and goes on from the last event after every interruption. What was seen last stays while
 * the server is away. (The ways of client-go's `tools/cache/reflector.go`.)
 */
export class ListWatch<T> {
  readonly #options: ListWatchOptions<T>;
  readonly #backoff: Backoff;
  #items = new Map<string, T>();
  /** Versions of single objects, which events may lag behind. */
  #seen: string | undefined;
  #version: string | undefined;
  readonly #pages: KubePages;
  #cycle = new AbortController();
  #attempt = Promise.withResolvers<void>();
  #synced = false;
  #isOver = false;
  #failure: KubeFailure | undefined;
  #unwatchable: KubeFailure | undefined;
  /** Whether a watch began without the object that we hold; asked about once. */
  #doubted = false;
  /** Watches in a row that brought nothing: from the third on, lists take their place. */
  #refusals = 0;

  constructor(options: ListWatchOptions<T>) {
    this.#options = options;
    this.#backoff = new Backoff(options);
    this.#pages = new KubePages(options.client);
  }

  /** By `namespace/name`. */
  get items(): ReadonlyMap<string, T> {
    return this.#items;
  }

  /** Whether a list has succeeded: what is not among the items is not there. */
  get synced(): boolean {
    return this.#synced;
  }

  /** Why what is known may be old; undefined while all is well. */
  get failure(): KubeFailure | undefined {
    return this.#failure;
  }

  /** Why it is looked at from time to time instead of being watched. */
  get unwatchable(): KubeFailure | undefined {
    return this.#unwatchable;
  }

  /** Resolves when the list under way, or the first, has succeeded or failed. */
  attempted(): Promise<void> {
    return this.#attempt.promise;
  }

  /** Lists again at once. Who waits for a list under way goes on with what is known. */
  refresh(): Promise<void> {
    if (this.#isOver) return Promise.resolve();
    this.#version = undefined;
    this.#attempt.resolve();
    this.#attempt = Promise.withResolvers();
    this.#cycle.abort();
    return this.#attempt.promise;
  }

  /** Follows until aborted. */
  async run({ signal }: { readonly signal: AbortSignal }): Promise<void> {
    while (!signal.aborted) {
      const cycle = new AbortController();
      const abort = () => cycle.abort();
      this.#cycle = cycle;
      signal.addEventListener("abort", abort);
      try {
        await this.#follow(cycle.signal);
      } catch {
        // Aborted: by us, to begin anew, or for good.
      } finally {
        signal.removeEventListener("abort", abort);
      }
    }
    this.#isOver = true;
    this.#attempt.resolve();
  }

  async #follow(signal: AbortSignal): Promise<void> {
    while (true) {
      const startedMs = this.#options.clock.monotonicMs();
      if (this.#version === undefined) {
        const failure = await this.#list(signal);
        this.#attempt.resolve();
        if (failure !== undefined) {
          await this.#rest(failure, startedMs, signal);
          continue;
        }
      }
      if (this.#options.polled) await this.#pollLater(signal);
      else await this.#watch(signal);
    }
  }

  async #rest(failure: KubeFailure, startedMs: number, signal: AbortSignal): Promise<void> {
    this.#failure = failure;
    const maxMs = failure.status === 403 ? MAX_FORBIDDEN_REST_MS : MAX_REST_MS;
    this.#backoff.failed(startedMs, maxMs);
    const wishedMs = Math.min(failure.retryAfterMs ?? 0, MAX_RETRY_AFTER_MS);
    const restMs = Math.max(this.#backoff.remainingMs(), wishedMs);
    await this.#options.clock.sleep(restMs, { signal });
  }

  #succeeded(): void {
    this.#failure = undefined;
    // While its watches are refused, a list that succeeds every time is no reason to hurry.
    if (this.#refusals === 0) this.#backoff.succeeded();
  }

  async #list(signal: AbortSignal): Promise<KubeFailure | undefined> {
    const found = new Map<string, T>();
    const result = this.#options.name === undefined
      ? await this.#pages.read(this.#spec("list", {}), {
        signal,
        cached: this.#options.cached === true && !this.#synced,
        take: (object) => this.#take(found, object),
      })
      : await this.#getOne(found, { signal });
    if (typeof result !== "string") return result;
    this.#version = result;
    const isNews = this.#replace(found) || !this.#synced;
    this.#synced = true;
    this.#succeeded();
    if (isNews) this.#options.changed();
    return undefined;
  }

  /** The version to watch from, or why there is none. */
  async #getOne(found: Map<string, T>, options: CallOptions): Promise<string | KubeFailure> {
    const answer = await this.#options.client.call(this.#spec("get", {}), options);
    if (answer.kind === "ok") this.#take(found, answer.value);
    else if (answer.failure.status !== 404) return answer.failure;
    this.#seen = answer.kind === "ok" ? versionOf(answer.value) : undefined;
    // An object's own version may be older than all that the server remembers; from "0" a watch
    // begins with the object as it is.
    return "0";
  }

  async #watch(signal: AbortSignal): Promise<void> {
    const { client, clock, random } = this.#options;
    const startedMs = clock.monotonicMs();
    const seconds = Math.round(WATCH_SECONDS * (1 + random.next()));
    const spec = this.#spec("watch", {
      watch: "true",
      allowWatchBookmarks: "true",
      resourceVersion: this.#version ?? "0",
      timeoutSeconds: String(seconds),
    });
    const isFromNow = spec.query?.["resourceVersion"] === "0";
    let heard = 0;
    let isReported = false;
    let refusal: KubeFailure | undefined;
    const over = new AbortController();
    const hears = {
      begun: () => {
        this.#failure = undefined;
        this.#unwatchable = undefined;
        if (isFromNow) void this.#expectFirst(() => isReported, over);
      },
      event: (event: Fields) => {
        heard++;
        isReported ||= event["type"] !== "BOOKMARK";
        refusal ??= this.#hear(event);
      },
    };
    const { lane = 0 } = this.#options;
    const end = await client.watch(spec, hears, { signal, lane }).finally(() => over.abort());
    const failure = refusal ?? (end.kind === "failed" ? end.failure : undefined);
    const isShort = heard === 0 && clock.monotonicMs() - startedMs < SHORT_MS;
    if (failure?.status === 403) {
      this.#unwatchable = failure;
      await this.#pollLater(signal);
    } else if (failure !== undefined) {
      const isRefused = failure.status !== undefined && ++this.#refusals >= MAX_REFUSALS;
      if (failure.status === GONE || failure.tooLarge || isRefused) this.#version = undefined;
      // The first of several events tells that there was more than a refusal.
      if (heard > 1) await this.#spread(signal);
      else await this.#rest(failure, startedMs, signal);
    } else if (isShort) {
      if (++this.#refusals >= MAX_REFUSALS) this.#version = undefined;
      const detail = "watches end as soon as they begin";
      await this.#rest({ reason: "source-unreachable", detail }, startedMs, signal);
    } else {
      await this.#spread(signal);
    }
  }

  /**
   * An object that went between our getting it and the watch's beginning is in no event: where the
   * watch does not begin with it, it is got once more.
   */
  async #expectFirst(isReported: () => boolean, over: AbortController): Promise<void> {
    const { clock } = this.#options;
    const isOver = await clock.sleep(FIRST_EVENT_MS, over).then(() => false, () => true);
    if (isOver || isReported() || this.#items.size === 0 || this.#doubted) return;
    this.#doubted = true;
    this.#version = undefined;
    this.#cycle.abort();
  }

  async #pollLater(signal: AbortSignal): Promise<void> {
    const { clock, random, pollMs } = this.#options;
    this.#version = undefined;
    await clock.sleep(pollMs * (0.75 + random.next() / 2), { signal });
  }

  async #spread(signal: AbortSignal): Promise<void> {
    const { clock, random } = this.#options;
    await clock.sleep(random.next() * RECONNECT_SPREAD_MS, { signal });
  }

  /** Takes an event; returns why the watch is over, where the event says so. */
  #hear({ type, object }: Fields): KubeFailure | undefined {
    if (!isFields(object)) return undefined;
    if (type === "ERROR") {
      const status = typeof object["code"] === "number" ? object["code"] : 500;
      const detail = `the watch was ended with status ${status}`;
      return { reason: "source-unreachable", detail, status };
    }
    this.#refusals = 0;
    this.#succeeded();
    const version = versionOf(object);
    if (type !== "BOOKMARK") this.#doubted = false;
    if (type === "ADDED" || type === "MODIFIED") {
      if (this.#options.name !== undefined && isOlder(version, this.#seen)) return undefined;
      this.#seen = version;
      if (this.#upsert(object)) this.#options.changed();
    } else if (type === "DELETED") {
      if (this.#items.delete(keyOf(object))) this.#options.changed();
    }
    if (version !== undefined) this.#version = version;
    return undefined;
  }

  #upsert(object: Fields): boolean {
    const key = keyOf(object);
    const before = this.#items.get(key);
    if (before === undefined && this.#items.size >= MAX_OBJECTS) return false;
    const after = this.#options.read(object);
    if (before !== undefined && this.#options.same(before, after)) return false;
    this.#items.set(key, after);
    return true;
  }

  #take(found: Map<string, T>, object: Fields): void {
    const key = keyOf(object);
    const before = this.#items.get(key);
    const after = this.#options.read(object);
    found.set(key, before !== undefined && this.#options.same(before, after) ? before : after);
  }

  /** Whether anything is different. */
  #replace(found: Map<string, T>): boolean {
    const before = this.#items;
    this.#items = found;
    return before.size !== found.size || [...found].some(([key, item]) => before.get(key) !== item);
  }

  #spec(verb: "get" | "list" | "watch", query: Readonly<Record<string, string>>): KubeCallSpec {
    const { resource, namespace, name, fieldSelector } = this.#options;
    const selector = name === undefined ? fieldSelector : `metadata.name=${name}`;
    return {
      verb,
      resource,
      ...(namespace !== undefined && { namespace }),
      ...(verb === "get" && name !== undefined && { name }),
      query: verb === "get" || selector === undefined
        ? query
        : { fieldSelector: selector, ...query },
    };
  }
}
