import {
  type CredentialRequest,
  defined,
  type ImageReference,
  type ImageTarget,
  isNewEnough,
  isRefused,
  type Random,
  Refusals,
  ScopedBackoff,
  type Semaphore,
  SHARED_EXECUTION_MS,
} from "../../model/mod.ts";
import { ExecPlugin, type PluginOutcome } from "./exec_plugin.ts";
import type { CacheKeyType } from "./plugin_api.ts";
import {
  type CacheEntry,
  cacheKey,
  matchEntry,
  PluginCache,
  toCacheEntry,
} from "./plugin_cache.ts";
import {
  executePlugin,
  type PluginExecutorOptions,
  type PluginFailure,
  type TokenSource,
} from "./plugin_executor.ts";
import type { PluginDefinition } from "./provider_config.ts";

/** Dependencies and settings of all plugins. */
export interface PluginEnvironment extends PluginExecutorOptions {
  /** Adds jitter to the backoff. */
  readonly random: Random;
  /** Limits concurrent executions over all plugins. */
  readonly semaphore: Semaphore;
}

/** A response for an image, or why there is none. */
type EntryResult =
  | {
    readonly kind: "entry";
    readonly entry: CacheEntry;
    readonly reason: "found" | "found-in-cache" | "shared-execution";
    /** Warnings of a new response that were not reported before. */
    readonly warnings: readonly string[];
  }
  | PluginFailure & {
    /** Wall time before which the plugin is not executed again. */
    readonly retryAtMs?: number;
  };

/** Single-flight key while the plugin's cache key type is unknown, or the plugin is failing. */
const ANY_KEY = "*";
/** Backoff limit for a plugin that is not installed: checking for it is cheap. */
const NOT_STARTED_MAX_MS = 10_000;

/** Mutable state of a plugin. A reload that does not change the definition keeps it. */
class PluginState {
  readonly cache = new PluginCache();
  /** Running and queued executions by cache key. */
  readonly running = new Map<string, Promise<EntryResult>>();
  /** Per plugin and per cache key. */
  readonly backoff: ScopedBackoff;
  /** By cache key. */
  readonly refusals = new Refusals();
  readonly reportedWarnings = new Set<string>();
  /** The type in the last response. */
  cacheKeyType: CacheKeyType | undefined;
  /** Number of executions started. */
  executions = 0;
  lastFailure = "";

  constructor(environment: PluginEnvironment) {
    this.backoff = new ScopedBackoff(environment);
  }
}

/**
 * An exec plugin that is executed without a service account, or for a single one, with single
 * flight, a cache and a backoff.
 *
 * Invariants:
 * - At most one execution per cache key is running or queued; requests for the key share it.
 * - The cache key type is known only from a response. Until the first response, and while the plugin
 *   is failing, one execution runs for all cache keys: a failing plugin is executed once per backoff
 *   step, regardless of the number of images.
 * - A response is served only to images of its cache key, and only while it is new enough for the
 *   request and not refused; a refusal that may not force an execution yet gets the newest response.
 */
export class Plugin extends ExecPlugin {
  readonly #environment: PluginEnvironment;
  readonly #state: PluginState;

  /** @param before The same plugin before a reload: its state is kept. */
  constructor(definition: PluginDefinition, environment: PluginEnvironment, before?: Plugin) {
    super(definition);
    this.#environment = environment;
    this.#state = before === undefined ? new PluginState(environment) : before.#state;
  }

  /** @param tokenSource Provides the service account token of an execution. */
  override async provide(
    request: CredentialRequest,
    target: ImageTarget,
    tokenSource?: TokenSource,
  ): Promise<PluginOutcome> {
    const result = await this.#getEntry(request, target, tokenSource);
    if (result.kind === "failed") {
      return this.failed(result.reason, result.detail, result.retryAtMs);
    }
    const { entry, reason, warnings } = result;
    const { candidates, anonymous } = matchEntry(entry, target);
    const none = entry.auths === undefined ? "plugin-no-credential" : "no-pattern-matched";
    const outcomeReason = candidates.length > 0 ? reason : anonymous ?? none;
    return { ...this.none(outcomeReason, warnings.join("; ") || undefined), candidates };
  }

  /** Returns the response for an image from the cache or an execution. Never rejects. */
  async #getEntry(
    request: CredentialRequest,
    target: ImageTarget,
    tokenSource: TokenSource | undefined,
  ): Promise<EntryResult> {
    const { image } = request;
    const { clock } = this.#environment;
    const executionsBefore = this.#state.executions;
    const fromCache = () => this.#cached(request, target, executionsBefore);
    while (true) {
      const cached = fromCache();
      if (cached !== undefined) return cached;
      const running = this.#runningFor(image);
      if (running === undefined) {
        const isForced = this.#isForced(request);
        const newest = request.refused && !isForced ? this.#state.cache.newest(image) : undefined;
        if (newest !== undefined) return cachedResult(newest);
        // A failure before the refusal does not delay a forced execution.
        const forced = isForced ? { ...request, forcedAtMs: clock.monotonicMs() } : request;
        return await this.#start(forced, fromCache, tokenSource);
      }
      const result = await running;
      if (result.kind === "failed") return result;
      const { entry } = result;
      const isForImage = this.#state.cache.find(image, (other) => other === entry) !== undefined;
      if (isForImage && isNewEnough(entry.fetchedAtMs, request, clock)) {
        return { ...result, reason: "shared-execution", warnings: [] };
      }
    }
  }

  #cached(
    request: CredentialRequest,
    target: ImageTarget,
    executionsBefore: number,
  ): EntryResult | undefined {
    // No response can be newer than one of an execution that started after the request.
    const isShared = ({ execution }: CacheEntry) => execution > executionsBefore;
    const entry = this.#state.cache.find(
      request.image,
      (entry) => isShared(entry) || this.#isUsable(entry, request, target),
    );
    return entry && cachedResult(entry, isShared(entry) ? "shared-execution" : "found-in-cache");
  }

  /** Whether an entry serves a request without another execution. */
  #isUsable(entry: CacheEntry, request: CredentialRequest, target: ImageTarget): boolean {
    const { clock } = this.#environment;
    const nowMs = clock.wallMs();
    const ageMs = Math.max(
      nowMs - entry.respondedAtMs,
      clock.monotonicMs() - entry.respondedAtMonotonicMs,
    );
    if (!isNewEnough(entry.fetchedAtMs, request, clock)) return false;
    const [best] = matchEntry(entry, target).candidates;
    if (best === undefined) return ageMs < SHARED_EXECUTION_MS;
    if (isRefused(best, request)) return false;
    const { refreshAtMs, expiresAtMs } = best;
    if (ageMs >= entry.cacheMs || (expiresAtMs ?? Infinity) <= nowMs) return false;
    const { validUntilMs } = request;
    if (validUntilMs === undefined) return true;
    if ((expiresAtMs ?? refreshAtMs ?? -Infinity) > validUntilMs) return true;
    // A recent execution for a request like this one: another would not return a longer lifetime.
    const requestedUntilMs = entry.requestedUntilMs ?? -Infinity;
    return ageMs < SHARED_EXECUTION_MS && validUntilMs <= requestedUntilMs + SHARED_EXECUTION_MS;
  }

  /**
   * Whether a refusal may force an execution for its cache key now, bypassing cache and backoff: one
   * per backoff step, regardless of the number of images, mounts and callers. Records the execution.
   */
  #isForced({ image, refused }: CredentialRequest): boolean {
    if (refused === undefined) return false;
    const nowMs = this.#environment.clock.monotonicMs();
    return this.#state.refusals.mayForce(this.#cacheKey(image), nowMs, refused);
  }

  /** Returns the execution whose response may serve an image. */
  #runningFor(image: ImageReference): Promise<EntryResult> | undefined {
    const { running } = this.#state;
    return running.get(this.#cacheKey(image)) ?? running.get(ANY_KEY);
  }

  /** Returns the expected cache key of an image. */
  #cacheKey(image: ImageReference): string {
    const { cacheKeyType } = this.#state;
    return cacheKeyType === undefined ? ANY_KEY : cacheKey(cacheKeyType, image);
  }

  async #start(
    request: CredentialRequest,
    fromCache: () => EntryResult | undefined,
    tokenSource: TokenSource | undefined,
  ): Promise<EntryResult> {
    const { backoff, running } = this.#state;
    const key = this.#cacheKey(request.image);
    const backingOff = this.#backingOff(key, request);
    if (backingOff !== undefined) return backingOff;
    const keys = backoff.isFailing ? [ANY_KEY, key] : [key];
    const execution = ++this.#state.executions;
    const result = this.#environment.semaphore.run(async () => {
      // While this was queued, an execution for another key may have failed, or returned a response
      // that serves this request.
      return this.#backingOff(key, request) ?? fromCache() ??
        await this.#execute({ key, execution, tokenSource }, request);
    })
      .catch((): EntryResult => ({
        kind: "failed",
        reason: "internal-error",
        detail: "its response could not be processed",
      }))
      .finally(() => keys.forEach((key) => running.delete(key)));
    for (const key of keys) running.set(key, result);
    return await result;
  }

  /** Returns a failure while the plugin is in backoff for a key; undefined if it may be executed. */
  #backingOff(key: string, request: CredentialRequest): EntryResult | undefined {
    const { backoff, lastFailure } = this.#state;
    const remainingMs = backoff.remainingMs(key, request);
    if (remainingMs === 0) return undefined;
    const failures = backoff.failures(key);
    const times = failures === 1 ? "once" : `${failures} times in a row`;
    return {
      kind: "failed",
      reason: "plugin-backing-off",
      detail: `it failed ${times} and is in backoff; last failure: ${lastFailure}`,
      retryAtMs: this.#environment.clock.wallMs() + remainingMs,
    };
  }

  async #execute(
    { key, execution, tokenSource }: {
      readonly key: string;
      readonly execution: number;
      readonly tokenSource: TokenSource | undefined;
    },
    { image, validUntilMs, waiting }: CredentialRequest,
  ): Promise<EntryResult> {
    const { clock } = this.#environment;
    const { backoff, cache } = this.#state;
    const fetchedAtMs = clock.wallMs();
    const startedAtMs = clock.monotonicMs();
    const result = await executePlugin(this.definition, image, this.#environment, tokenSource);
    if (result.kind === "failed") {
      const { reason, detail } = result;
      const isStarted = reason !== "plugin-missing" && reason !== "plugin-not-executable";
      const maxMs = isStarted ? undefined : NOT_STARTED_MAX_MS;
      backoff.failed(key === ANY_KEY ? undefined : key, startedAtMs, maxMs);
      this.#state.lastFailure = `${reason}: ${detail}`;
      const retryAtMs = clock.wallMs() + backoff.remainingMs(key, defined({ waiting }));
      return { ...result, retryAtMs };
    }
    const { cacheKeyType } = result.response;
    backoff.succeeded(key);
    this.#state.cacheKeyType = cacheKeyType;
    const { entry, warnings } = toCacheEntry(this.definition.name, result.response, {
      execution,
      fetchedAtMs,
      respondedAtMs: clock.wallMs(),
      respondedAtMonotonicMs: clock.monotonicMs(),
      ...defined({ requestedUntilMs: validUntilMs }),
    });
    cache.put(cacheKeyType, image, entry);
    return { kind: "entry", entry, reason: "found", warnings: this.#reportOnce(warnings) };
  }

  /** Reports the warnings that were not reported before, and returns them. */
  #reportOnce(warnings: readonly string[]): readonly string[] {
    const { reportedWarnings } = this.#state;
    const unreported = warnings.filter((warning) => !reportedWarnings.has(warning));
    for (const warning of unreported) {
      reportedWarnings.add(warning);
      const text = `plugin ${this.definition.name}: ${warning}`;
      this.#environment.observer.notify({ kind: "warning", code: "plugin-response", text });
    }
    return unreported;
  }
}

function cachedResult(
  entry: CacheEntry,
  reason: "found-in-cache" | "shared-execution" = "found-in-cache",
): EntryResult {
  return { kind: "entry", entry, reason, warnings: [] };
}
