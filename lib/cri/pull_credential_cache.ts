import * as v from "valibot";
import {
  type Clock,
  type Credential,
  credentialSecret,
  credentialsEqual,
  credentialUsername,
  type FileSystem,
  type ImageReference,
  messageOf,
  parseImageReference,
  Secret,
} from "../model/mod.ts";
import { charsOf, type PodIdentity } from "./cri_messages.ts";

/** A pull request. */
export interface SeenPull {
  readonly image: ImageReference;
  /** Undefined for an anonymous pull. */
  readonly credential?: Credential;
  readonly pod?: PodIdentity;
}

/** Outcome of a pull. `refused`: the registry did not accept the credential. */
export type PullOutcome = "succeeded" | "refused" | "failed";

/** Identifies a recorded pull in the cache that recorded it. */
export interface PullTicket {
  readonly image: ImageReference;
  /** Number of the pull, from 1. */
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
  /**
   * Limit of images; the least recently pulled one is evicted.
   *
   * @default 4096
   */
  readonly maxImages?: number;
}

/** A credential of a pull. */
export interface PullCredential {
  readonly credential: Credential;
  readonly seenAtMs: number;
}

interface SeenCredential extends PullCredential {
  /** Of its pull; 0 if it was restored. */
  readonly sequence: number;
  readonly confirmed: boolean;
}

interface Entry {
  readonly image: ImageReference;
  /** Oldest first. */
  readonly credentials: readonly SeenCredential[];
  /** Newest first. */
  readonly pods: readonly PodIdentity[];
  readonly imageId?: string | undefined;
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
 * Invariants: `#entries` is ordered by last pull; an entry has at least one credential or pod.
 */
export class PullCredentialCache {
  readonly #options: PullCredentialCacheOptions;
  /** Least recently pulled first. */
  #entries = new Map<string, Entry>();
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
  lookup(image: ImageReference): PullCredential | undefined {
    return this.#find(image)?.credentials.at(-1);
  }

  /**
   * Returns the newest credential that an image was pulled with since the agent was started, which
   * may be delivered to its mounts. Mounts may already have newer credentials than restored ones.
   */
  confirmed(image: ImageReference): PullCredential | undefined {
    const { credentials = [] } = this.#find(image) ?? {};
    return credentials.findLast(({ confirmed, sequence }) => confirmed && sequence > 0);
  }

  /**
   * Returns the newest credential that an image was pulled with, including restored ones; otherwise
   * the newest that was not refused. For mounts without a credential.
   */
  remembered(image: ImageReference): PullCredential | undefined {
    const { credentials = [] } = this.#find(image) ?? {};
    return credentials.findLast(({ confirmed }) => confirmed) ?? credentials.at(-1);
  }

  /** Returns the pods that an image was recently pulled for, newest first. */
  pods(image: ImageReference): readonly PodIdentity[] {
    return this.#find(image)?.pods ?? [];
  }

  /** Records a pull whose outcome is unknown. */
  record({ image, credential, pod }: SeenPull): PullTicket {
    const sequence = ++this.#pulls;
    const ticket = { image, sequence };
    if (credential === undefined && pod === undefined) return ticket;
    const { credentials = [], pods = [], imageId } = this.#entries.get(image.text) ?? {};
    const others = pod === undefined ? pods : pods.filter(({ uid }) => uid !== pod.uid);
    const seen = { sequence, seenAtMs: this.#options.now(), confirmed: false };
    this.#entries.delete(image.text); // set() then appends it as the newest
    this.#entries.set(image.text, {
      image,
      credentials: credential ? bounded([...credentials, { ...seen, credential }]) : credentials,
      pods: pod ? [pod, ...others].slice(0, MAX_PODS) : pods,
      imageId,
    });
    this.#shrink();
    const before = credentials.at(-1)?.credential;
    const isNew = credential && !(before && credentialsEqual(before, credential));
    if (isNew) this.#notify("seen", image);
    return ticket;
  }

  /**
   * Completes a pull. After a success its credential replaces the older ones. After a refusal its
   * credential is removed, so that the previous one is used again. Other failures (disk, network, a
   * disconnected client) do not affect the credential.
   *
   * @param imageId Of the response to a pull that succeeded.
   */
  complete({ image, sequence }: PullTicket, outcome: PullOutcome, imageId?: string): void {
    const entry = this.#entries.get(image.text);
    if (entry === undefined || outcome === "failed") return;
    const isSeen = entry.credentials.some((one) => one.sequence === sequence);
    if (outcome === "refused") {
      if (!isSeen) return;
      const credentials = entry.credentials.filter((one) => one.sequence !== sequence);
      if (credentials.length > 0 || entry.pods.length > 0) {
        this.#entries.set(image.text, { ...entry, credentials });
      } else this.#entries.delete(image.text);
      return this.#notify("refused", image);
    }
    const newer = entry.credentials.filter((one) => one.sequence >= sequence)
      .map((one) => one.sequence === sequence ? { ...one, confirmed: true } : one);
    const credentials = isSeen ? newer : entry.credentials;
    this.#entries.set(image.text, { ...entry, credentials, imageId: imageId ?? entry.imageId });
    if (isSeen) this.#notify("confirmed", image);
    else if (entry.pods.length > 0) this.#notify("pods", image);
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
    for (const entry of [...this.#entries.values()]) {
      if (entry.image.text === text || id !== undefined && hasId(entry, id)) this.#evict(entry);
    }
  }

  /** Returns the cache as versioned JSON that contains secrets. */
  serialize(): Secret {
    const images = this.#entries.values().map(({ image, imageId, pods, credentials }) => ({
      image: image.text,
      imageId, // JSON omits undefined
      pods,
      credentials: credentials.map(({ credential, seenAtMs, confirmed }) => ({
        kind: credential.kind,
        username: credentialUsername(credential),
        secret: credentialSecret(credential).reveal(),
        seenAtMs,
        confirmed,
      })),
    }));
    return new Secret(JSON.stringify({ version: VERSION, images: images.toArray() }));
  }

  /**
   * Restores the text of {@linkcode PullCredentialCache.serialize} completely or not at all, without
   * reporting changes. Entries that were recorded meanwhile are kept as the newer ones. Returns false
   * if the text is unusable.
   */
  restore(text: Secret): boolean {
    const nowMs = this.#options.now();
    let restored: [string, Entry][];
    try {
      restored = v.parse(CACHE, JSON.parse(text.reveal())).images.map((saved) => {
        const image = parseImageReference(saved.image);
        const credentials = saved.credentials.map(({ seenAtMs, confirmed, ...credential }) => ({
          sequence: 0,
          credential: credentialOf(credential),
          seenAtMs: Math.min(seenAtMs, nowMs),
          confirmed,
        }));
        const pods = saved.pods.slice(0, MAX_PODS);
        const { imageId } = saved;
        return [image.text, { image, credentials: bounded(credentials), pods, imageId }];
      });
    } catch {
      return false; // The error is dropped: it may quote the text.
    }
    const older = restored.filter(([key]) => !this.#entries.has(key));
    this.#entries = new Map([...older, ...this.#entries]);
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

  #shrink(): void {
    const { maxImages = MAX_IMAGES } = this.#options;
    let chars = this.#entries.values().reduce((sum, entry) => sum + entryChars(entry), 0);
    for (const entry of this.#entries.values()) {
      if (this.#entries.size <= maxImages && chars <= MAX_CACHED_CHARS) return;
      chars -= entryChars(entry);
      this.#evict(entry);
    }
  }

  #evict({ image }: Entry): void {
    this.#entries.delete(image.text);
    this.#notify("forgotten", image);
  }

  #notify(kind: PullChange["kind"], image: ImageReference): void {
    this.#options.changed?.({ kind, image });
  }
}

/** Keeps the newest credentials, and always the newest confirmed one, the fallback after a refusal. */
function bounded(credentials: readonly SeenCredential[]): readonly SeenCredential[] {
  const fallback = credentials.findLast(({ confirmed }) => confirmed);
  const newest = credentials.slice(-MAX_CREDENTIALS);
  if (fallback === undefined || newest.includes(fallback)) return newest;
  return [fallback, ...newest.slice(1)];
}

function entryChars({ credentials }: Entry): number {
  return credentials.reduce((sum, { credential }) => sum + charsOf(credential), 0);
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

const VERSION = 2;
const SAVED_CREDENTIAL = {
  kind: v.picklist(["basic", "registry-token", "identity-token"]),
  username: v.string(),
  secret: v.pipe(v.string(), v.minLength(1)),
};
const CACHE = v.object({
  version: v.literal(VERSION),
  images: v.array(v.object({
    image: v.string(),
    imageId: v.optional(v.string()),
    pods: v.array(v.object({ name: v.string(), namespace: v.string(), uid: v.string() })),
    credentials: v.array(
      v.object({ ...SAVED_CREDENTIAL, seenAtMs: v.number(), confirmed: v.boolean() }),
    ),
  })),
});

function credentialOf(
  { kind, username, secret }: Record<"username" | "secret", string> & Pick<Credential, "kind">,
): Credential {
  const token = new Secret(secret);
  if (kind === "basic") return { kind, username, password: token };
  return kind === "registry-token" ? { kind, token } : { kind, username, token };
}

/** Changes within this time are written together. */
const SAVE_DELAY_MS = 200;

/** Dependencies of a {@linkcode PullCacheFile}. */
export interface PullCacheFileOptions {
  readonly path: string;
  readonly files: Pick<FileSystem, "writeAtomic">;
  readonly clock: Clock;
  readonly serialize: () => Secret;
  readonly warn: (text: string) => void;
}

/**
 * Saves the pull credential cache, so that it survives a restart of the agent.
 *
 * Invariants: at most one write runs at a time; after the last change there is a write; nothing is
 * written once {@linkcode PullCacheFile.close} has resolved.
 */
export class PullCacheFile {
  readonly #options: PullCacheFileOptions;
  readonly #closed = new AbortController();
  #isDirty = false;
  #saving: Promise<void> | undefined;

  constructor(options: PullCacheFileOptions) {
    this.#options = options;
  }

  /** Schedules a write. */
  changed(): void {
    if (this.#closed.signal.aborted) return;
    this.#isDirty = true;
    this.#saving ??= this.#save();
  }

  /** Writes pending changes; later changes are ignored. */
  async close(): Promise<void> {
    this.#closed.abort();
    await this.#saving;
  }

  async #save(): Promise<void> {
    const { path, files, clock, serialize, warn } = this.#options;
    while (this.#isDirty) {
      const { signal } = this.#closed;
      await clock.sleep(SAVE_DELAY_MS, { signal }).catch(() => {}); // write immediately on close
      this.#isDirty = false;
      try {
        await files.writeAtomic(path, serialize().reveal(), { mode: 0o600 });
      } catch (error) {
        warn(`failed to save the pull credentials: ${messageOf(error)}`);
      }
    }
    this.#saving = undefined;
  }
}
