import {
  type Candidate,
  type Clock,
  type CredentialRequest,
  defined,
  type ImageReference,
  type ImageTarget,
  isNewEnough,
  isRefused,
  type Observer,
  type ProviderNote,
  type Random,
  type ReasonCode,
  Refusals,
  ScopedBackoff,
  type Semaphore,
  SHARED_EXECUTION_MS,
} from "../../model/mod.ts";
import type { ProgramFailure, ProgramResult } from "./execution.ts";
import {
  type CacheEntry,
  cacheKey,
  type CacheKeyType,
  matchEntry,
  ResponseCache,
  toCacheEntry,
} from "./response_cache.ts";

/** Dependencies and settings of a {@linkcode CachedProgram}. */
export interface CachedProgramOptions {
  readonly name: string;
  readonly kind: "plugin" | "helper";
  /** The type of all responses; undefined if only a response contains it. */
  readonly cacheKeyType?: CacheKeyType;
  readonly clock: Clock;
  /** Adds jitter to the backoff. */
  readonly random?: Random;
  readonly observer: Observer;
  /** Limits concurrent executions. */
  readonly semaphore: Semaphore;
}

/** One program's part of a provider's outcome. */
export interface ProgramOutcome {
  readonly note: ProviderNote;
  /** Most specific pattern first; empty if the program has no credential or failed. */
  readonly candidates: readonly Candidate[];
  readonly failure?: { readonly detail: string; readonly retryAtMs?: number };
}

/** Returns the outcome of a program that has no credential. */
export function noCredential(
  subject: string,
  reason: ReasonCode,
  detail?: string,
): ProgramOutcome {
  return { note: { subject, reason, ...defined({ detail }) }, candidates: [] };
}

/** Returns the outcome of a program that failed. */
export function failedOutcome(
  program: Pick<CachedProgramOptions, "name" | "kind">,
  { reason, detail: what, retryAtMs }: Omit<ProgramFailure, "kind"> & {
    readonly retryAtMs?: number;
  },
): ProgramOutcome {
  const detail = `${labelOf(program)}: ${what}`;
  const failure = { detail, ...defined({ retryAtMs }) };
  return { ...noCredential(program.name, reason, detail), failure };
}

function labelOf({ name, kind }: Pick<CachedProgramOptions, "name" | "kind">): string {
  return kind === "plugin" ? `plugin ${name}` : name;
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
  | ProgramFailure & {
    /** Wall time before which the program is not executed again. */
    readonly retryAtMs?: number;
  };

/** Executes the program for an image. */
type Execute = (image: ImageReference) => Promise<ProgramResult>;

/** Single-flight key while the cache key type is unknown, or the program is failing. */
const ANY_KEY = "*";
/** Backoff limit for a program that is not installed: checking for it is cheap. */
const NOT_STARTED_MAX_MS = 10_000;

/** Mutable state of a program. A reload that does not change the program keeps it. */
class ProgramState {
  readonly cache = new ResponseCache();
  /** Running and queued executions by cache key. */
  readonly running = new Map<string, Promise<EntryResult>>();
  /** Per program and per cache key. */
  readonly backoff: ScopedBackoff;
  /** By cache key. */
  readonly refusals = new Refusals();
  readonly reportedWarnings = new Set<string>();
  /** The type in the last response. */
  cacheKeyType: CacheKeyType | undefined;
  /** Number of executions started. */
  executions = 0;
  lastFailure: ProgramFailure | undefined;

  constructor(options: CachedProgramOptions) {
    this.backoff = new ScopedBackoff(options);
    this.cacheKeyType = options.cacheKeyType;
  }
}

/**
 * A program that returns credentials, with single flight, a cache and a backoff.
 *
 * Invariants:
 * - At most one execution per cache key is running or queued; requests for the key share it.
 * - The cache key type of a plugin is known only from a response. Until the first response, and
 *   while the program is failing, one execution runs for all cache keys: a failing program is
 *   executed once per backoff step, regardless of the number of images.
 * - A response is served only to images of its cache key, and only while it is new enough for the
 *   request and not refused; a refusal that may not force an execution yet gets the newest response.
 */
export class CachedProgram {
  readonly #options: CachedProgramOptions;
  readonly #state: ProgramState;

  /** @param before The same program before a reload: its state is kept. */
  constructor(options: CachedProgramOptions, before?: CachedProgram) {
    this.#options = options;
    this.#state = before === undefined ? new ProgramState(options) : before.#state;
  }

  /** Returns the program's credentials for an image, from the cache or an execution. */
  async provide(
    request: CredentialRequest,
    target: ImageTarget | undefined,
    execute: Execute,
  ): Promise<ProgramOutcome> {
    const { name: subject, kind } = this.#options;
    const result = await this.#getEntry(request, target, execute);
    if (result.kind === "failed") return failedOutcome(this.#options, result);
    const { entry, reason, warnings } = result;
    const { candidates, anonymous } = matchEntry(entry, target);
    const none = kind === "helper"
      ? "helper-no-credential"
      : entry.auths === undefined
      ? "plugin-no-credential"
      : "no-pattern-matched";
    const detail = warnings.join("; ") || undefined;
    const outcomeReason = candidates.length > 0 ? reason : anonymous ?? none;
    return { ...noCredential(subject, outcomeReason, detail), candidates };
  }

  /** Returns the response for an image from the cache or an execution. Never rejects. */
  async #getEntry(
    request: CredentialRequest,
    target: ImageTarget | undefined,
    execute: Execute,
  ): Promise<EntryResult> {
    const { image } = request;
    const { clock } = this.#options;
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
        return await this.#start(forced, fromCache, execute);
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
    target: ImageTarget | undefined,
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
  #isUsable(
    entry: CacheEntry,
    request: CredentialRequest,
    target: ImageTarget | undefined,
  ): boolean {
    const { clock } = this.#options;
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
    if ((expiresAtMs ?? refreshAtMs ?? Infinity) > validUntilMs) return true;
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
    const nowMs = this.#options.clock.monotonicMs();
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
    execute: Execute,
  ): Promise<EntryResult> {
    const { backoff, running } = this.#state;
    const key = this.#cacheKey(request.image);
    const backingOff = this.#backingOff(key, request);
    if (backingOff !== undefined) return backingOff;
    const keys = backoff.isFailing ? [ANY_KEY, key] : [key];
    const execution = ++this.#state.executions;
    const result = this.#options.semaphore.run(async () => {
      // While this was queued, an execution for another key may have failed, or returned a response
      // that serves this request.
      return this.#backingOff(key, request) ?? fromCache() ??
        await this.#execute(key, execution, request, execute);
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

  /** Returns a failure while the program is in backoff for a key; undefined if it may be executed. */
  #backingOff(key: string, request: CredentialRequest): EntryResult | undefined {
    const { backoff, lastFailure } = this.#state;
    const remainingMs = backoff.remainingMs(key, request);
    if (remainingMs === 0 || lastFailure === undefined) return undefined;
    const failures = backoff.failures(key);
    const times = failures === 1 ? "once" : `${failures} times in a row`;
    const { reason, detail } = lastFailure;
    return {
      kind: "failed",
      reason: this.#options.kind === "plugin" ? "plugin-backing-off" : reason,
      detail: `it failed ${times} and is in backoff; last failure: ${reason}: ${detail}`,
      retryAtMs: this.#options.clock.wallMs() + remainingMs,
    };
  }

  async #execute(
    key: string,
    execution: number,
    { image, validUntilMs, waiting }: CredentialRequest,
    execute: Execute,
  ): Promise<EntryResult> {
    const { clock } = this.#options;
    const { backoff, cache } = this.#state;
    const fetchedAtMs = clock.wallMs();
    const startedAtMs = clock.monotonicMs();
    const result = await execute(image);
    if (result.kind === "failed") {
      const isStarted = !/-(?:missing|not-executable)$/.test(result.reason);
      const maxMs = isStarted ? undefined : NOT_STARTED_MAX_MS;
      backoff.failed(key === ANY_KEY ? undefined : key, startedAtMs, maxMs);
      this.#state.lastFailure = result;
      const retryAtMs = clock.wallMs() + backoff.remainingMs(key, defined({ waiting }));
      return { ...result, retryAtMs };
    }
    const { cacheKeyType } = result.response;
    backoff.succeeded(key);
    this.#state.cacheKeyType = cacheKeyType;
    const { entry, warnings } = toCacheEntry(this.#options, result.response, {
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
    const { observer } = this.#options;
    const { reportedWarnings } = this.#state;
    const unreported = warnings.filter((warning) => !reportedWarnings.has(warning));
    for (const warning of unreported) {
      reportedWarnings.add(warning);
      const text = `${labelOf(this.#options)}: ${warning}`;
      observer.notify({ kind: "warning", code: "plugin-response", text });
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
