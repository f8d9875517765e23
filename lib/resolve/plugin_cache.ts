import {
  type Candidate,
  hardExpiryOf,
  ImagePattern,
  type ImageReference,
  type ImageTarget,
} from "../model/mod.ts";
import type { CacheKeyType, PluginResponse } from "./plugin_response.ts";

/** A pattern of an answer, compiled, with what it gives. */
interface CachedAuth {
  readonly pattern: ImagePattern;
  /** Undefined: the plugin says that access is anonymous, or gave a user name alone. */
  readonly candidate?: Candidate;
  readonly username: string;
}

/** One answer of one plugin, and the scope that it holds for. */
export interface PluginEntry {
  readonly fetchedAtMs: number;
  /** Until when it is handed out without asking again. */
  readonly servesUntilMs: number;
  /** Undefined: the plugin has nothing for this scope. */
  readonly auths?: readonly CachedAuth[];
}

/** What an entry gives for an image. */
export interface PluginMatch {
  readonly candidates: readonly Candidate[];
  /** Whether a pattern matched that gave no credential. */
  readonly anonymous: "anonymous-entry" | "incomplete-entry" | undefined;
}

/** An answer that says "do not cache" (or next to it) still serves the callers of one round. */
export const ROUND_MS = 10_000;
/** A soft life below this is no hint when to ask again. */
const SOFT_LIFE_FLOOR_MS = 1_000;
const MAX_ENTRIES = 4_096;

/** The key of the scope that an answer of this type holds for; they cannot collide. */
export function scopeKey(type: CacheKeyType, image: ImageReference): string {
  switch (type) {
    case "Image":
      return `i\0${image.text}`;
    case "Registry":
      return `r\0${image.registry}`;
    case "Global":
      return "g";
  }
}

/**
 * One plugin's answers, by scope: no other plugin's answer can take their place. A look-up costs
 * three reads of a map, whatever the number of entries.
 */
export class PluginCache {
  readonly #entries = new Map<string, PluginEntry>();

  /** Stores an answer. Beyond the limit the oldest makes room. */
  put(key: string, entry: PluginEntry): void {
    this.#entries.delete(key);
    this.#entries.set(key, entry);
    const [oldest] = this.#entries.keys();
    if (this.#entries.size > MAX_ENTRIES && oldest !== undefined) this.#entries.delete(oldest);
  }

  /** The first entry that fits, asked for by image, then registry, then for everything. */
  find(image: ImageReference, fits: (entry: PluginEntry) => boolean): PluginEntry | undefined {
    for (const type of ["Image", "Registry", "Global"] as const) {
      const entry = this.#entries.get(scopeKey(type, image));
      if (entry !== undefined && fits(entry)) return entry;
    }
    return undefined;
  }
}

/** An entry for an answer that came at `nowMs`. Patterns that do not parse match nothing. */
export function entryOf(plugin: string, response: PluginResponse, nowMs: number): PluginEntry {
  const { auth, cacheDurationMs } = response;
  const cacheable = cacheDurationMs >= SOFT_LIFE_FLOOR_MS;
  if (auth === undefined) return { fetchedAtMs: nowMs, servesUntilMs: nowMs + ROUND_MS };
  const auths = auth.flatMap(({ pattern, username, credential }): CachedAuth[] => {
    let compiled: ImagePattern;
    try {
      compiled = ImagePattern.parse(pattern);
    } catch {
      return [];
    }
    if (credential === undefined) return [{ pattern: compiled, username }];
    const { expiresAtMs } = hardExpiryOf(credential, nowMs);
    const candidate: Candidate = {
      credential,
      origin: `plugin ${plugin}`,
      plugin,
      pattern,
      fetchedAtMs: nowMs,
      watched: false,
      ...(cacheable && { softExpiresAtMs: nowMs + cacheDurationMs }),
      ...(expiresAtMs !== undefined && { hardExpiresAtMs: expiresAtMs }),
    };
    return [{ pattern: compiled, username, candidate }];
  });
  const givesNothing = auths.every(({ candidate }) => candidate === undefined);
  const servesMs = cacheable && !givesNothing ? cacheDurationMs : ROUND_MS;
  return { fetchedAtMs: nowMs, servesUntilMs: nowMs + servesMs, auths };
}

/** What an entry gives for an image. */
export function matchEntry({ auths = [] }: PluginEntry, target: ImageTarget): PluginMatch {
  const matching = auths.filter(({ pattern }) => pattern.matches(target));
  const empty = matching.find(({ candidate }) => candidate === undefined);
  return {
    candidates: matching.flatMap(({ candidate }) => candidate ?? []),
    anonymous: empty && (empty.username === "" ? "anonymous-entry" : "incomplete-entry"),
  };
}
