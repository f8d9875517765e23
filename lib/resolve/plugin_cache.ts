import {
  type Candidate,
  comparePatterns,
  credentialFingerprint,
  hardExpiryOf,
  ImagePattern,
  type ImageReference,
  type ImageTarget,
} from "../model/mod.ts";
import { ROUND_MS } from "./freshness.ts";
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
  /** Wall and monotonic time at which the plugin was asked. */
  readonly fetchedAtMs: number;
  readonly fetchedAtMonotonicMs: number;
  /** How long it is handed out without asking again. */
  readonly servesMs: number;
  /** What the request wanted that caused the execution. */
  readonly wantedUntilMs?: number;
  /** Undefined: the plugin has nothing for this scope. */
  readonly auths?: readonly CachedAuth[];
}

/** When an answer was asked for, and why. */
export type PluginAsking = Pick<
  PluginEntry,
  "execution" | "fetchedAtMs" | "fetchedAtMonotonicMs" | "wantedUntilMs"
>;

/** What an entry gives for an image. */
export interface PluginMatch {
  /** Most specific pattern first. */
  readonly candidates: readonly Candidate[];
  /** Whether a pattern matched that gave no credential. */
  readonly anonymous: "anonymous-entry" | "incomplete-entry" | undefined;
}

/** A soft life below this means "do not cache": it is no hint when to ask again. */
const SOFT_LIFE_FLOOR_MS = 1_000;
/** As many as there are images at the most; a plugin that says `Image` has one for each. */
const MAX_ENTRIES = 100_000;

/** What an answer holds for; `Repository` is no word of plugins, but seen by ourselves. */
export type ScopeType = CacheKeyType | "Repository";

const SCOPE_TYPES: readonly ScopeType[] = ["Image", "Repository", "Registry", "Global"];

/** How an image is named within a scope type. */
const NAMES: Readonly<Record<ScopeType, (image: ImageReference) => string>> = {
  Image: ({ text }) => text,
  Repository: ({ registry, repository }) => `${registry}/${repository}`,
  Registry: ({ registry }) => registry,
  Global: () => "",
};

/** The key of the scope that an answer of this type holds for; they cannot collide. */
export function scopeKey(type: ScopeType, image: ImageReference): string {
  return `${type}\0${NAMES[type](image)}`;
}

/**
 * One plugin's answers, by scope: no other plugin's answer can take their place. A look-up costs
 * four reads of a map, whatever the number of entries; what has expired is replaced, or makes room
 * when there are too many.
 */
export class PluginCache {
  /** By names that an image carries: a text that is put together has to be hashed each time. */
  readonly #entries: Readonly<Record<ScopeType, Map<string, PluginEntry>>> = {
    Image: new Map(),
    Repository: new Map(),
    Registry: new Map(),
    Global: new Map(),
  };
  readonly #maxEntries: number;

  /** @param maxEntries Of each scope type. */
  constructor(maxEntries = MAX_ENTRIES) {
    this.#maxEntries = maxEntries;
  }

  /** Stores an answer. Beyond the limit the oldest of its scope type makes room. */
  put(type: ScopeType, image: ImageReference, entry: PluginEntry): void {
    const entries = this.#entries[type];
    const name = NAMES[type](image);
    entries.delete(name);
    entries.set(name, entry);
    const [oldest] = entries.keys();
    if (entries.size > this.#maxEntries && oldest !== undefined) entries.delete(oldest);
  }

  /** Forgets what was stored for an image's scope. */
  drop(type: ScopeType, image: ImageReference): void {
    this.#entries[type].delete(NAMES[type](image));
  }

  /**
   * The first entry that fits, asked for by image, registry, then for everything. What is seen to
   * hold for a repository stands with what holds for its registry: the later one counts.
   */
  find(image: ImageReference, fits: (entry: PluginEntry) => boolean): PluginEntry | undefined {
    const forImage = this.#fitting("Image", image, fits);
    if (forImage !== undefined) return forImage;
    const own = this.#fitting("Repository", image, fits);
    const shared = this.#fitting("Registry", image, fits);
    const later = (own?.execution ?? -1) > (shared?.execution ?? -1) ? own : shared;
    return later ?? this.#fitting("Global", image, fits);
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
    type: ScopeType,
    image: ImageReference,
    fits: (entry: PluginEntry) => boolean,
  ): PluginEntry | undefined {
    const entries = this.#entries[type];
    const entry = entries.size === 0 ? undefined : entries.get(NAMES[type](image));
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
  asking: PluginAsking,
): { readonly entry: PluginEntry; readonly warnings: readonly string[] } {
  const warnings = new Set<string>();
  const { fetchedAtMs } = asking;
  const cacheable = cacheDurationMs >= SOFT_LIFE_FLOOR_MS;
  const servesMs = cacheable ? cacheDurationMs : ROUND_MS;
  if (auth === undefined) return { entry: { ...asking, servesMs }, warnings: [] };
  if (!cacheable) {
    warnings.add(`its cacheDuration is below 1s: an answer serves the callers of ${ROUND_MS} ms`);
  }
  const auths = auth.flatMap(({ pattern: text, username, credential }): CachedAuth[] => {
    const pattern = compiled(text);
    if (pattern === undefined) {
      warnings.add("a pattern in its answer does not parse and is skipped");
      return [];
    }
    if (credential === undefined) return [{ pattern, username }];
    const { expiresAtMs, warning } = hardExpiryOf(credential, fetchedAtMs);
    if (warning !== undefined) warnings.add(warning);
    const candidate: Candidate = {
      credential,
      origin: `plugin ${plugin}`,
      plugin,
      pattern: text,
      fetchedAtMs,
      watched: false,
      ...(cacheable && { softExpiresAtMs: fetchedAtMs + cacheDurationMs }),
      ...(expiresAtMs !== undefined && { hardExpiresAtMs: expiresAtMs }),
    };
    return [{ pattern, username, candidate }];
  });
  auths.sort((a, b) => comparePatterns(a.pattern.text, b.pattern.text));
  return { entry: { ...asking, servesMs, auths }, warnings: [...warnings] };
}

/** Equal for equal answers that give credentials; undefined for one that gives none. */
export function contentOf({ auths = [] }: PluginEntry): string | undefined {
  const parts = auths.flatMap(({ pattern, candidate }) =>
    candidate === undefined ? [] : [[pattern.text, credentialFingerprint(candidate.credential)]]
  );
  return parts.length === 0 ? undefined : JSON.stringify(parts);
}

function compiled(pattern: string): ImagePattern | undefined {
  try {
    return ImagePattern.parse(pattern);
  } catch {
    return undefined;
  }
}

/** What entries give for images; the last is at hand, because every look-up wants it twice. */
export class LastMatch {
  #entry: PluginEntry | undefined;
  #target: ImageTarget | undefined;
  #match: PluginMatch = { candidates: [], anonymous: undefined };

  /** What an entry gives for an image. */
  of(entry: PluginEntry, target: ImageTarget): PluginMatch {
    if (this.#entry === entry && this.#target === target) return this.#match;
    this.#entry = entry;
    this.#target = target;
    return this.#match = matchEntry(entry, target);
  }
}

function matchEntry({ auths = [] }: PluginEntry, target: ImageTarget): PluginMatch {
  const candidates: Candidate[] = [];
  let anonymous: PluginMatch["anonymous"];
  for (const { pattern, candidate, username } of auths) {
    if (!pattern.matches(target)) continue;
    if (candidate !== undefined) candidates.push(candidate);
    else anonymous ??= username === "" ? "anonymous-entry" : "incomplete-entry";
  }
  return { candidates, anonymous };
}
