import {
  type Credential,
  credentialSecret,
  credentialsEqual,
  credentialUsername,
  type ImageReference,
  parseImageReference,
  type Secret,
} from "../model/mod.ts";
import { type CachedImage, decodeCache, encodeCache } from "./pull_cache_file.ts";
import type { CriNote } from "./notes.ts";
import type { PodIdentity } from "./cri_messages.ts";

/** A pull request. */
export interface SeenPull {
  readonly image: ImageReference;
  /** Undefined for an anonymous pull. */
  readonly credential?: Credential;
  readonly pod?: PodIdentity;
}

/** Outcome of a pull. `refused`: the registry did not accept the credential. */
export type PullOutcome =
  | { readonly kind: "succeeded"; readonly imageId?: string }
  | { readonly kind: "refused" }
  | { readonly kind: "failed" };

/** Identifies a recorded pull in the cache that recorded it. */
export interface PullTicket {
  readonly image: ImageReference;
  readonly sequence: number;
}

/**
 * A change of the cache. `seen`: a new credential, so query the provider chain again. `pods`: a pull
 * without a credential succeeded, which identifies a pod that uses the image.
 */
export interface PullChange {
  readonly kind: "seen" | "confirmed" | "pods" | "refused" | "forgotten";
  readonly image: ImageReference;
}

/** Options of a {@linkcode PullCredentialCache}. */
export interface PullCredentialCacheOptions {
  /** Wall time in milliseconds. */
  readonly now: () => number;
  /** Called synchronously after each change. Must not throw. */
  readonly changed?: (change: PullChange) => void;
  readonly note?: (note: CriNote) => void;
  /**
   * Limit of images; the least recently pulled one is evicted.
   *
   * @default 4096
   */
  readonly maxImages?: number;
}

interface SeenCredential {
  readonly sequence: number;
  /** Whether it was seen before the agent was restarted. */
  readonly isRestored?: boolean;
  readonly credential: Credential;
  readonly seenAtMs: number;
  confirmed: boolean;
}

interface Entry {
  readonly image: ImageReference;
  /** Oldest first. */
  credentials: SeenCredential[];
  /** Newest first. */
  pods: readonly PodIdentity[];
  imageId: string | undefined;
}

const MAX_IMAGES = 4_096;
const MAX_CREDENTIALS = 4;
const MAX_PODS = 16;
/** Limit of all user names and secrets together. */
const MAX_CACHED_CHARS = 32 * 1024 * 1024;

/**
 * Caches the credentials of image pulls by normalized reference. A new credential is used as soon as
 * its request was read, because snapshots are mounted while the pull is running. If the registry
 * refuses it, it is removed and the previous one is used again. Pulls without a credential do not
 * affect stored credentials.
 *
 * Invariants: `#entries` is ordered by last pull; `#cachedChars` is the sum over all entries; an
 * entry has at least one credential or pod.
 */
export class PullCredentialCache {
  readonly #options: PullCredentialCacheOptions;
  /** Least recently pulled first. */
  readonly #entries = new Map<string, Entry>();
  #sequence = 0;
  #cachedChars = 0;
  #pulls = 0;

  constructor(options: PullCredentialCacheOptions) {
    this.#options = options;
  }

  /** Number of images. */
  get size(): number {
    return this.#entries.size;
  }

  /** Number of recorded pulls, with or without a credential. */
  get pulls(): number {
    return this.#pulls;
  }

  /**
   * Returns the newest credential of an image that was not refused. A reference without tag and
   * digest, as in a configuration of nydusd, matches the most recently pulled image of the repository.
   */
  lookup(
    image: ImageReference,
  ): { readonly credential: Credential; readonly seenAtMs: number } | undefined {
    return this.#find(image)?.credentials.at(-1);
  }

  /**
   * Returns the newest credential that an image was pulled with since the agent was started, which
   * may be delivered to its mounts. Mounts may already have newer credentials than restored ones.
   */
  confirmed(
    image: ImageReference,
  ): { readonly credential: Credential; readonly seenAtMs: number } | undefined {
    const { credentials = [] } = this.#find(image) ?? {};
    return credentials.findLast(({ confirmed, isRestored }) => confirmed && isRestored !== true);
  }

  /**
   * Returns the newest credential that an image was pulled with, including restored ones; otherwise
   * the newest that was not refused. For mounts without a credential.
   */
  remembered(
    image: ImageReference,
  ): { readonly credential: Credential; readonly seenAtMs: number } | undefined {
    const { credentials = [] } = this.#find(image) ?? {};
    return credentials.findLast(({ confirmed }) => confirmed) ?? credentials.at(-1);
  }

  /** Returns the pods that an image was recently pulled for, newest first. */
  pods(image: ImageReference): readonly PodIdentity[] {
    return this.#find(image)?.pods ?? [];
  }

  /** Records a pull whose outcome is unknown. */
  record({ image, credential, pod }: SeenPull): PullTicket {
    const sequence = ++this.#sequence;
    this.#pulls++;
    const ticket = { image, sequence };
    if (credential === undefined && pod === undefined) return ticket;
    const old = this.#take(image.text);
    const entry = old ?? { image, credentials: [], pods: [], imageId: undefined };
    const before = entry.credentials.at(-1)?.credential;
    if (credential !== undefined) {
      const seenAtMs = this.#options.now();
      entry.credentials = bounded([
        ...entry.credentials,
        { sequence, credential, seenAtMs, confirmed: false },
      ]);
    }
    if (pod !== undefined) {
      const others = entry.pods.filter(({ uid }) => uid !== pod.uid);
      entry.pods = [pod, ...others].slice(0, MAX_PODS);
    }
    this.#put(entry);
    this.#shrink();
    if (credential === undefined) return ticket;
    if (before === undefined || !credentialsEqual(before, credential)) this.#notify("seen", image);
    return ticket;
  }

  /**
   * Completes a pull. After a success its credential replaces the older ones. After a refusal its
   * credential is removed, so that the previous one is used again. Other failures (disk, network, a
   * disconnected client) do not affect the credential.
   */
  complete({ image, sequence }: PullTicket, outcome: PullOutcome): void {
    const entry = this.#entries.get(image.text);
    if (entry === undefined || outcome.kind === "failed") return;
    const seen = entry.credentials.find((one) => one.sequence === sequence);
    if (outcome.kind === "refused") {
      if (seen === undefined) return;
      this.#replace(entry, entry.credentials.filter((one) => one !== seen));
      return this.#notify("refused", image);
    }
    if (outcome.imageId !== undefined) entry.imageId = outcome.imageId;
    if (seen === undefined) {
      if (entry.pods.length > 0) this.#notify("pods", image);
      return;
    }
    seen.confirmed = true;
    this.#replace(entry, entry.credentials.filter((one) => one.sequence >= sequence));
    this.#notify("confirmed", image);
  }

  /**
   * Removes an image that was removed from the runtime, by reference, ID or ID prefix. The garbage
   * collection of the kubelet sends IDs, `crictl rmi` what the user entered. The runtime resolves
   * unique prefixes and removes all references of the image. IDs are known from pull responses.
   */
  forget(image: string): void {
    const text = normalized(image);
    const known = text === undefined ? undefined : this.#entries.get(text);
    // IDs and prefixes are valid references too, but were not pulled under that name.
    const id = known === undefined ? image : known.imageId;
    const removed = [...this.#entries.values()].filter((entry) =>
      entry.image.text === text || id !== undefined && hasId(entry, id)
    );
    for (const entry of removed) {
      this.#take(entry.image.text);
      this.#notify("forgotten", entry.image);
    }
  }

  /** Returns the cache as text that contains secrets. */
  serialize(): Secret {
    return encodeCache([...this.#entries.values()].map((entry): CachedImage => ({
      image: entry.image,
      imageId: entry.imageId,
      pods: entry.pods,
      pulls: entry.credentials,
    })));
  }

  /**
   * Restores the text of {@linkcode PullCredentialCache.serialize} without reporting changes. Entries
   * that were recorded meanwhile are kept as the newer ones. Returns false, and reports a note, if
   * the text is unusable.
   */
  restore(text: Secret): boolean {
    const decoded = decodeCache(text);
    if (decoded.kind === "rejected") {
      this.#options.note?.({ kind: "cache-rejected", reason: decoded.reason });
      return false;
    }
    const nowMs = this.#options.now();
    const newer = [...this.#entries.keys()].flatMap((key) => this.#take(key) ?? []);
    for (const { image, imageId, pods, pulls } of decoded.images) {
      const credentials = pulls.map(({ credential, seenAtMs, confirmed }) => ({
        sequence: ++this.#sequence,
        credential,
        seenAtMs: Math.min(seenAtMs, nowMs),
        confirmed,
        isRestored: true,
      }));
      this.#take(image.text);
      this.#put({
        image,
        credentials: bounded(credentials),
        pods: pods.slice(0, MAX_PODS),
        imageId,
      });
    }
    for (const entry of newer) {
      this.#take(entry.image.text);
      this.#put(entry);
    }
    this.#shrink();
    return true;
  }

  #find(image: ImageReference): Entry | undefined {
    const exact = this.#entries.get(image.text);
    if (exact !== undefined || image.tag !== undefined || image.digest !== undefined) return exact;
    return [...this.#entries.values()].findLast((entry) =>
      entry.image.registry === image.registry && entry.image.repository === image.repository &&
      entry.credentials.length > 0
    );
  }

  #replace(entry: Entry, credentials: SeenCredential[]): void {
    this.#cachedChars -= charsOf(entry);
    entry.credentials = credentials;
    this.#cachedChars += charsOf(entry);
    if (credentials.length === 0 && entry.pods.length === 0) this.#entries.delete(entry.image.text);
  }

  #take(key: string): Entry | undefined {
    const entry = this.#entries.get(key);
    if (entry === undefined) return undefined;
    this.#entries.delete(key);
    this.#cachedChars -= charsOf(entry);
    return entry;
  }

  #put(entry: Entry): void {
    this.#entries.set(entry.image.text, entry);
    this.#cachedChars += charsOf(entry);
  }

  #shrink(): void {
    const { maxImages = MAX_IMAGES } = this.#options;
    for (const [key, { image }] of this.#entries) {
      if (this.#entries.size <= maxImages && this.#cachedChars <= MAX_CACHED_CHARS) return;
      this.#take(key);
      this.#notify("forgotten", image);
    }
  }

  #notify(kind: PullChange["kind"], image: ImageReference): void {
    this.#options.changed?.({ kind, image });
  }
}

/** Keeps the newest credentials, and always the newest confirmed one, the fallback after a refusal. */
function bounded(credentials: SeenCredential[]): SeenCredential[] {
  if (credentials.length <= MAX_CREDENTIALS) return credentials;
  const fallback = credentials.findLast(({ confirmed }) => confirmed);
  const newest = credentials.slice(-MAX_CREDENTIALS);
  if (fallback === undefined || newest.includes(fallback)) return newest;
  return [fallback, ...newest.slice(1)];
}

function charsOf({ credentials }: Entry): number {
  return credentials.reduce(
    (sum, { credential }) =>
      sum + credentialUsername(credential).length + credentialSecret(credential).reveal().length,
    0,
  );
}

function normalized(image: string): string | undefined {
  try {
    return parseImageReference(image).text;
  } catch {
    return undefined;
  }
}

/** Whether `id` is the image's ID or a hexadecimal prefix of it. */
function hasId({ imageId }: Entry, id: string): boolean {
  const prefix = /^(?:sha256:)?([a-f0-9]{1,64})$/.exec(id)?.[1];
  return prefix === undefined ? imageId === id : imageId?.startsWith(`sha256:${prefix}`) === true;
}
