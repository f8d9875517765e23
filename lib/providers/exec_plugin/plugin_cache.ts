import {
  type Candidate,
  comparePatterns,
  ImagePattern,
  type ImageReference,
  type ImageTarget,
  tokenExpiryOf,
} from "../../model/mod.ts";
import { SHARED_EXECUTION_MS } from "../../model/mod.ts";
import type { CacheKeyType, PluginResponse } from "./plugin_response.ts";

/** A pattern of an answer, compiled, with what it gives. */
interface CachedAuth {
  readonly pattern: ImagePattern;
  /** Undefined: the plugin says that access is anonymous, or gave a user name alone. */
  readonly candidate?: Candidate;
  readonly username: string;
}

/** One answer of one plugin. */
export interface PluginEntry {
  /** The execution that gave it: later ones have higher numbers. */
  readonly execution: number;
  /** Wall time at which the plugin was executed. */
  readonly fetchedAtMs: number;
  /** Wall and monotonic time at which it answered. */
  readonly answeredAtMs: number;
  readonly answeredAtMonotonicMs: number;
  /** How long it is served from then on without another execution. */
  readonly servesMs: number;
  /** What the request wanted that caused the execution. */
  readonly wantedUntilMs?: number;
  /** Undefined: the plugin has nothing for this scope. */
  readonly auths?: readonly CachedAuth[];
}

/** When an answer was asked for, and why. */
export type PluginQuery = Pick<
  PluginEntry,
  "execution" | "fetchedAtMs" | "answeredAtMs" | "answeredAtMonotonicMs" | "wantedUntilMs"
>;

/** What an entry gives for an image. */
export interface PluginMatch {
  /** Most specific pattern first. */
  readonly candidates: readonly Candidate[];
  /** Whether a pattern matched that gave no credential. */
  readonly anonymous: "anonymous-entry" | "incomplete-entry" | undefined;
}

/** A soft life below this means "do not cache": it is no hint when to ask again. */
const MIN_REFRESH_AFTER_MS = 1_000;
/** Of each scope type; a plugin whose answers hold for one image has one for each. */
const MAX_ENTRIES = 4_096;

/** From the narrowest to the widest. */
const SCOPE_TYPES: readonly CacheKeyType[] = ["Image", "Registry", "Global"];

/** How an image is named within a scope type. */
const NAMES: Readonly<Record<CacheKeyType, (image: ImageReference) => string>> = {
  Image: ({ text }) => text,
  Registry: ({ registry }) => registry,
  Global: () => "",
};

/** The key of the scope that an answer of this type holds for; they cannot collide. */
export function scopeKey(type: CacheKeyType, image: ImageReference): string {
  return `${type}\0${NAMES[type](image)}`;
}

/**
 * One plugin's answers, by scope. What has expired is replaced, or evicted when there are too many
 * entries.
 */
export class PluginCache {
  readonly #entries: Readonly<Record<CacheKeyType, Map<string, PluginEntry>>> = {
    Image: new Map(),
    Registry: new Map(),
    Global: new Map(),
  };
  readonly #maxEntries: number;

  /** @param maxEntries Of each scope type. */
  constructor(maxEntries = MAX_ENTRIES) {
    this.#maxEntries = maxEntries;
  }

  /** Stores an answer. Beyond the limit the oldest of its scope type makes room. */
  put(type: CacheKeyType, image: ImageReference, entry: PluginEntry): void {
    const entries = this.#entries[type];
    const name = NAMES[type](image);
    entries.delete(name);
    entries.set(name, entry);
    const [oldest] = entries.keys();
    if (entries.size > this.#maxEntries && oldest !== undefined) entries.delete(oldest);
  }

  /** The first entry that fits: of the image, then of its registry, then of everything. */
  find(image: ImageReference, fits: (entry: PluginEntry) => boolean): PluginEntry | undefined {
    for (const type of SCOPE_TYPES) {
      const entry = this.#fitting(type, image, fits);
      if (entry !== undefined) return entry;
    }
    return undefined;
  }

  /**
   * The last answer that gives an image something, however old. A plugin may have changed its mind
   * about its scope: what it said before of a narrower one is not the last.
   */
  last(image: ImageReference): PluginEntry | undefined {
    let last: PluginEntry | undefined;
    const later = (entry: PluginEntry) =>
      entry.auths !== undefined && entry.execution > (last?.execution ?? -1);
    for (const type of SCOPE_TYPES) last = this.#fitting(type, image, later) ?? last;
    return last;
  }

  #fitting(
    type: CacheKeyType,
    image: ImageReference,
    fits: (entry: PluginEntry) => boolean,
  ): PluginEntry | undefined {
    const entry = this.#entries[type].get(NAMES[type](image));
    return entry !== undefined && fits(entry) ? entry : undefined;
  }
}

/**
 * An entry for an answer, and what is odd about the answer, in words that do not quote it. Patterns
 * that do not parse match nothing.
 */
export function entryOf(
  plugin: string,
  { auth, cacheDurationMs }: PluginResponse,
  asking: PluginQuery,
): { readonly entry: PluginEntry; readonly warnings: readonly string[] } {
  const warnings = new Set<string>();
  const { fetchedAtMs } = asking;
  const cacheable = cacheDurationMs >= MIN_REFRESH_AFTER_MS;
  const servesMs = cacheable ? cacheDurationMs : SHARED_EXECUTION_MS;
  if (auth === undefined) return { entry: { ...asking, servesMs }, warnings: [] };
  if (!cacheable) {
    warnings.add(
      `its cacheDuration is below 1s: an answer serves the callers of ${SHARED_EXECUTION_MS} ms`,
    );
  }
  const auths = auth.flatMap(({ pattern: text, username, credential }): CachedAuth[] => {
    const pattern = compiled(text);
    if (pattern === undefined) {
      warnings.add("a pattern in its answer does not parse and is skipped");
      return [];
    }
    if (credential === undefined) return [{ pattern, username }];
    const { expiresAtMs, warning } = tokenExpiryOf(credential, fetchedAtMs);
    if (warning !== undefined) warnings.add(warning);
    const candidate: Candidate = {
      credential,
      origin: `plugin ${plugin}`,
      plugin,
      pattern: text,
      fetchedAtMs,
      watched: false,
      ...(cacheable && { refreshAtMs: fetchedAtMs + cacheDurationMs }),
      ...(expiresAtMs !== undefined && { expiresAtMs: expiresAtMs }),
    };
    return [{ pattern, username, candidate }];
  });
  auths.sort((a, b) => comparePatterns(a.pattern.text, b.pattern.text));
  return { entry: { ...asking, servesMs, auths }, warnings: [...warnings] };
}

function compiled(pattern: string): ImagePattern | undefined {
  try {
    return ImagePattern.parse(pattern);
  } catch {
    return undefined;
  }
}

/** What an entry gives for an image. */
export function matchEntry({ auths = [] }: PluginEntry, target: ImageTarget): PluginMatch {
  const candidates: Candidate[] = [];
  let anonymous: PluginMatch["anonymous"];
  for (const { pattern, candidate, username } of auths) {
    if (!pattern.matches(target)) continue;
    if (candidate !== undefined) candidates.push(candidate);
    else anonymous ??= username === "" ? "anonymous-entry" : "incomplete-entry";
  }
  return { candidates, anonymous };
}
