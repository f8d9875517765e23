import {
  type Candidate,
  comparePatterns,
  type Credential,
  defined,
  ImagePattern,
  type ImageReference,
  type ImageTarget,
  SHARED_EXECUTION_MS,
  tokenExpiryOf,
} from "../../model/mod.ts";

/** The images for which a response may be cached. */
export type CacheKeyType = "Image" | "Registry" | "Global";

/** Credential of a response for the images that match a pattern. */
export interface ProgramAuth {
  readonly pattern: string;
  readonly username: string;
  /** Undefined for anonymous access, or if there is only a username. */
  readonly credential?: Credential;
}

/** A response of a plugin or helper. */
export interface ProgramResponse {
  readonly cacheKeyType: CacheKeyType;
  /** How long the response may be cached; 0: it must not be. */
  readonly cacheDurationMs: number;
  /** Undefined if the program has no credential for the image. */
  readonly auth?: readonly ProgramAuth[];
}

/** Credential of a cached response for the images that match a pattern. */
interface CachedAuth {
  /** Undefined: all images of the cache key. */
  readonly pattern?: ImagePattern;
  /** Undefined for anonymous access, or if the program returned only a username. */
  readonly candidate?: Candidate;
  readonly username: string;
}

/** The execution that produced a response. */
export interface ExecutionRecord {
  /** Sequence number: later executions have higher numbers. */
  readonly execution: number;
  /** Wall time at which the execution started. */
  readonly fetchedAtMs: number;
  /** Wall and monotonic time of the response. */
  readonly respondedAtMs: number;
  readonly respondedAtMonotonicMs: number;
  /** `validUntilMs` of the request that caused the execution. */
  readonly requestedUntilMs?: number;
}

/** A cached response. */
export interface CacheEntry extends ExecutionRecord {
  /** How long after the response it may be served without another execution. */
  readonly cacheMs: number;
  /** Most specific pattern first; undefined if there is no credential for the cache key. */
  readonly auths?: readonly CachedAuth[];
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
 * Converts a response to a cache entry, and returns warnings that do not quote it. Patterns that do
 * not parse match no image. A helper's response is for all images of its registry.
 */
export function toCacheEntry(
  { name, kind }: { readonly name: string; readonly kind: "plugin" | "helper" },
  { auth, cacheDurationMs }: ProgramResponse,
  record: ExecutionRecord,
): { readonly entry: CacheEntry; readonly warnings: readonly string[] } {
  const warnings = new Set<string>();
  const { fetchedAtMs } = record;
  const isPlugin = kind === "plugin";
  const isCacheable = cacheDurationMs >= MIN_CACHE_DURATION_MS;
  const cacheMs = isCacheable ? cacheDurationMs : SHARED_EXECUTION_MS;
  if (auth === undefined) return { entry: { ...record, cacheMs }, warnings: [] };
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
  return { entry: { ...record, cacheMs, auths }, warnings: [...warnings] };
}

/** What a cached response contains for an image. */
export interface EntryMatch {
  /** Most specific pattern first. */
  readonly candidates: readonly Candidate[];
  /** Set if a pattern without a credential matches. */
  readonly anonymous?: "anonymous-entry" | "incomplete-entry";
}

/** Returns what an entry contains for an image; no pattern matches without a target. */
export function matchEntry(
  { auths = [] }: CacheEntry,
  target: ImageTarget | undefined,
): EntryMatch {
  const matches = auths.filter(({ pattern }) =>
    pattern === undefined || (target !== undefined && pattern.matches(target))
  );
  const without = matches.find(({ candidate }) => candidate === undefined);
  return {
    candidates: matches.flatMap(({ candidate }) => candidate ?? []),
    ...(without && { anonymous: without.username === "" ? "anonymous-entry" : "incomplete-entry" }),
  };
}
