import {
  type Candidate,
  type Clock,
  comparePatterns,
  type CredentialRequest,
  defined,
  ImagePattern,
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
  setNewest,
  SHARED_EXECUTION_MS,
  tokenExpiryOf,
} from "../../model/mod.ts";
import type { CacheKeyType, ProgramFailure, ProgramResponse, ProgramResult } from "./execution.ts";

/** Dependencies and settings of a {@linkcode CachedProgram}. */
export interface CachedProgramOptions {
  readonly name: string;
  readonly kind: "plugin" | "helper";
  readonly clock: Clock;
  /** Adds jitter to the backoff. */
  readonly random?: Random;
  readonly observer: Observer;
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

/** Limit of cached responses. */
const MAX_ENTRIES = 4_096;

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
  /** Limits concurrent executions; a reload of the configuration may replace it. */
  semaphore: Semaphore;
  readonly #options: CachedProgramOptions;
  /** By cache key. Expired responses stay until they are replaced or evicted. */
  readonly #responses = new Map<string, CacheEntry>();
  /** Running and queued executions by cache key. */
  readonly #running = new Map<string, Promise<EntryResult>>();
  /** Per program and per cache key. */
  readonly #backoff: ScopedBackoff;
  /** By cache key. */
  readonly #refusals = new Refusals();
  readonly #reportedWarnings = new Set<string>();
  /** The type in the last response; a helper's responses are all for its registry. */
  #cacheKeyType: CacheKeyType | undefined;
  /** Number of executions started. */
  #executions = 0;
  #lastFailure: ProgramFailure | undefined;

  constructor(options: CachedProgramOptions) {
    this.semaphore = options.semaphore;
    this.#options = options;
    this.#backoff = new ScopedBackoff(options);
    if (options.kind === "helper") this.#cacheKeyType = "Registry";
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
    const { entry, reason } = result;
    const { candidates, anonymous } = matchEntry(entry, target);
    const none = kind === "helper"
      ? "helper-no-credential"
      : entry.auths === undefined
      ? "plugin-no-credential"
      : "no-pattern-matched";
    const detail = entry.warnings.join("; ") || undefined;
    const outcomeReason = candidates.length > 0 ? reason : anonymous ?? none;
    return { ...noCredential(subject, outcomeReason, detail), candidates };
  }

  /** Returns the response for an image from the cache or an execution. */
  async #getEntry(
    request: CredentialRequest,
    target: ImageTarget | undefined,
    execute: Execute,
  ): Promise<EntryResult> {
    const { image } = request;
    const { clock } = this.#options;
    const executionsBefore = this.#executions;
    const fromCache = () => this.#cached(request, target, executionsBefore);
    while (true) {
      const cached = fromCache();
      if (cached !== undefined) return cached;
      const running = this.#running.get(this.#cacheKey(image)) ?? this.#running.get(ANY_KEY);
      if (running === undefined) {
        const isForced = this.#isForced(request);
        const newest = request.refused && !isForced ? this.#newest(image) : undefined;
        if (newest !== undefined) return { kind: "entry", entry: newest, reason: "found-in-cache" };
        // A failure before the refusal does not delay a forced execution.
        const forced = isForced ? { ...request, forcedAtMs: clock.monotonicMs() } : request;
        return await this.#start(forced, fromCache, execute);
      }
      const result = await running;
      if (result.kind === "failed") return result;
      const { entry } = result;
      if (
        this.#cachedFor(image).includes(entry) && isNewEnough(entry.fetchedAtMs, request, clock)
      ) {
        return { ...result, reason: "shared-execution" };
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
    const entry = this.#cachedFor(request.image)
      .find((entry) => isShared(entry) || this.#isUsable(entry, request, target));
    const reason = entry && isShared(entry) ? "shared-execution" : "found-in-cache";
    return entry && { kind: "entry", entry, reason };
  }

  /** Returns the responses for an image: by image, by registry, then the global one. */
  #cachedFor(image: ImageReference): readonly CacheEntry[] {
    return cacheKeys(image).flatMap((key) => this.#responses.get(key) ?? []);
  }

  /**
   * Returns the newest response with credentials for an image, however old. A plugin may change its
   * cache key type, so a more specific response can be older than a less specific one.
   */
  #newest(image: ImageReference): CacheEntry | undefined {
    return this.#cachedFor(image).filter(({ auths }) => auths !== undefined)
      .toSorted((a, b) => b.execution - a.execution)[0];
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
    return this.#refusals.mayForce(this.#cacheKey(image), nowMs, refused);
  }

  /** Returns the expected cache key of an image. */
  #cacheKey(image: ImageReference): string {
    return this.#cacheKeyType === undefined ? ANY_KEY : cacheKey(this.#cacheKeyType, image);
  }

  async #start(
    request: CredentialRequest,
    fromCache: () => EntryResult | undefined,
    execute: Execute,
  ): Promise<EntryResult> {
    const key = this.#cacheKey(request.image);
    const backingOff = this.#backingOff(key, request);
    if (backingOff !== undefined) return backingOff;
    const keys = this.#backoff.isFailing ? [ANY_KEY, key] : [key];
    const execution = ++this.#executions;
    const result = this.semaphore.run(async () => {
      // While this was queued, an execution for another key may have failed, or returned a response
      // that serves this request.
      return this.#backingOff(key, request) ?? fromCache() ??
        await this.#execute(key, execution, request, execute);
    }).finally(() => keys.forEach((key) => this.#running.delete(key)));
    for (const key of keys) this.#running.set(key, result);
    return await result;
  }

  /** Returns a failure while the program is in backoff for a key; undefined if it may be executed. */
  #backingOff(key: string, request: CredentialRequest): EntryResult | undefined {
    const remainingMs = this.#backoff.remainingMs(key, request);
    if (remainingMs === 0 || this.#lastFailure === undefined) return undefined;
    const failures = this.#backoff.failures(key);
    const times = failures === 1 ? "once" : `${failures} times in a row`;
    const { reason, detail } = this.#lastFailure;
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
    const fetchedAtMs = clock.wallMs();
    const startedAtMs = clock.monotonicMs();
    const result = await execute(image);
    if (result.kind === "failed") {
      const isStarted = !/-(?:missing|not-executable)$/.test(result.reason);
      const maxMs = isStarted ? undefined : NOT_STARTED_MAX_MS;
      this.#backoff.failed(key === ANY_KEY ? undefined : key, startedAtMs, maxMs);
      this.#lastFailure = result;
      const retryAtMs = clock.wallMs() + this.#backoff.remainingMs(key, defined({ waiting }));
      return { ...result, retryAtMs };
    }
    const { cacheKeyType } = result.response;
    this.#backoff.succeeded(key);
    this.#cacheKeyType = cacheKeyType;
    const entry = toCacheEntry(this.#options, result.response, {
      execution,
      fetchedAtMs,
      respondedAtMs: clock.wallMs(),
      respondedAtMonotonicMs: clock.monotonicMs(),
      ...defined({ requestedUntilMs: validUntilMs }),
    });
    setNewest(this.#responses, cacheKey(cacheKeyType, image), entry, MAX_ENTRIES);
    for (const warning of entry.warnings) this.#reportOnce(warning);
    return { kind: "entry", entry, reason: "found" };
  }

  #reportOnce(warning: string): void {
    if (this.#reportedWarnings.has(warning)) return;
    this.#reportedWarnings.add(warning);
    const text = `${labelOf(this.#options)}: ${warning}`;
    this.#options.observer.notify({ kind: "warning", code: "plugin-response", text });
  }
}

/** Credential of a cached response for the images that match a pattern. */
interface CachedAuth {
  /** Undefined: all images of the cache key. */
  readonly pattern?: ImagePattern;
  /** Undefined for anonymous access, or if the program returned only a username. */
  readonly candidate?: Candidate;
  readonly username: string;
}

/** A cached response. */
export interface CacheEntry {
  /** Sequence number: later executions have higher numbers. */
  readonly execution: number;
  /** Wall time at which the execution started. */
  readonly fetchedAtMs: number;
  /** Wall and monotonic time of the response. */
  readonly respondedAtMs: number;
  readonly respondedAtMonotonicMs: number;
  /** `validUntilMs` of the request that caused the execution. */
  readonly requestedUntilMs?: number;
  /** How long after the response it may be served without another execution. */
  readonly cacheMs: number;
  /** Most specific pattern first; undefined if there is no credential for the cache key. */
  readonly auths?: readonly CachedAuth[];
  /** They do not quote the response. */
  readonly warnings: readonly string[];
}

/** A shorter `cacheDuration` means "do not cache" and is no hint when to refresh the credential. */
const MIN_CACHE_DURATION_MS = 1_000;
/** The key of an image by cache key type. */
const KEYS: Readonly<Record<CacheKeyType, (image: ImageReference) => string>> = {
  Image: ({ text }) => text,
  Registry: ({ registry }) => registry,
  Global: () => "",
};

/** Returns the cache key of an image. Keys of different types cannot collide. */
export function cacheKey(type: CacheKeyType, image: ImageReference): string {
  return `${type}\0${KEYS[type](image)}`;
}

/** Returns the cache keys of an image of every type, the most specific first. */
export function cacheKeys(image: ImageReference): readonly string[] {
  return [cacheKey("Image", image), cacheKey("Registry", image), cacheKey("Global", image)];
}

/**
 * Converts a response to a cache entry. Patterns that do not parse match no image. A helper's
 * response is for all images of its registry.
 */
export function toCacheEntry(
  { name, kind }: { readonly name: string; readonly kind: "plugin" | "helper" },
  { auth, cacheDurationMs }: ProgramResponse,
  record: Omit<CacheEntry, "cacheMs" | "auths" | "warnings">,
): CacheEntry {
  const warnings = new Set<string>();
  const { fetchedAtMs } = record;
  const isPlugin = kind === "plugin";
  const isCacheable = cacheDurationMs >= MIN_CACHE_DURATION_MS;
  const cacheMs = isCacheable ? cacheDurationMs : SHARED_EXECUTION_MS;
  if (auth === undefined) return { ...record, cacheMs, warnings: [] };
  if (!isCacheable) {
    warnings.add(
      `cacheDuration is below 1s: a response is shared by requests within ${SHARED_EXECUTION_MS} ms`,
    );
  }
  const auths = auth.flatMap(({ pattern: text, username, credential }): CachedAuth[] => {
    const pattern = isPlugin ? ImagePattern.tryParse(text) : undefined;
    if (isPlugin && pattern === undefined) {
      warnings.add("a pattern in the response does not parse and is ignored");
      return [];
    }
    if (credential === undefined) return [defined({ pattern, username })];
    const { expiresAtMs, warning } = tokenExpiryOf(credential, fetchedAtMs);
    if (warning !== undefined) warnings.add(warning);
    const candidate: Candidate = {
      credential,
      origin: isPlugin ? `plugin ${name}` : `${name} for ${text}`,
      plugin: name,
      pattern: text,
      fetchedAtMs,
      watched: false,
      ...defined({
        refreshAtMs: isPlugin && isCacheable ? fetchedAtMs + cacheDurationMs : undefined,
        expiresAtMs,
      }),
    };
    return [defined({ pattern, username, candidate })];
  });
  auths.sort((a, b) => comparePatterns(a.pattern?.text ?? "", b.pattern?.text ?? ""));
  return { ...record, cacheMs, auths, warnings: [...warnings] };
}

/**
 * Returns what an entry contains for an image, the most specific pattern first. `anonymous` is set if
 * a pattern without a credential matches. No pattern matches without a target.
 */
export function matchEntry(
  { auths = [] }: CacheEntry,
  target: ImageTarget | undefined,
): { readonly candidates: readonly Candidate[]; readonly anonymous?: ReasonCode } {
  const matches = auths.filter(({ pattern }) =>
    pattern === undefined || (target !== undefined && pattern.matches(target))
  );
  const without = matches.find(({ candidate }) => candidate === undefined);
  return {
    candidates: matches.flatMap(({ candidate }) => candidate ?? []),
    ...(without && { anonymous: without.username === "" ? "anonymous-entry" : "incomplete-entry" }),
  };
}
