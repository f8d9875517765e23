import {
  type Credential,
  credentialSecret,
  credentialsEqual,
  credentialUsername,
  type ImageReference,
  parseImageReference,
  type Secret,
} from "../model/mod.ts";
import { type CachedImage, decodeCache, encodeCache } from "./pull_cache_codec.ts";
import type { CriNote } from "./notes.ts";
import type { PodIdentity, PullOutcome, PullTicket, SeenPull } from "./pull.ts";

/**
 * Something changed in the book: keep it, and for what was `seen` ask the chain again. `pods`: a
 * pull without a credential succeeded, which tells who uses the image.
 */
export interface PullChange {
  readonly kind: "seen" | "confirmed" | "pods" | "refused" | "forgotten";
  readonly image: ImageReference;
}

/** What a book takes. */
export interface PullCredentialCacheOptions {
  /** Wall time in milliseconds. */
  readonly now: () => number;
  /** Called after each change. Must not throw, must not take long. */
  readonly changed?: (change: PullChange) => void;
  readonly note?: (note: CriNote) => void;
  /** Images beyond this many push the one out that was pulled longest ago. Default 4,096. */
  readonly maxImages?: number;
}

interface Sighting {
  readonly sequence: number;
  /** It was seen by the agent's life before this one. */
  readonly isRestored?: boolean;
  readonly credential: Credential;
  readonly seenAtMs: number;
  confirmed: boolean;
}

interface Entry {
  readonly image: ImageReference;
  /** Oldest first. */
  sightings: Sighting[];
  /** Newest first. */
  pods: readonly PodIdentity[];
  imageId: string | undefined;
}

const MAX_IMAGES = 4_096;
const MAX_SIGHTINGS = 4;
const MAX_PODS = 16;
/** All user names and secrets together, in characters. */
const MAX_WEIGHT = 32 * 1024 * 1024;

/**
 * The credentials that pulls brought, by normalized reference. The newest counts from the moment
 * that its request was read, because snapshots are mounted while the pull still runs. What the
 * registry refused goes again, and what pulled before comes back. A pull without a credential
 * says nothing about credentials, so it takes none away.
 */
export class PullCredentialCache {
  readonly #options: PullCredentialCacheOptions;
  /** In the order of the last pull, oldest first. */
  readonly #entries = new Map<string, Entry>();
  #sequence = 0;
  #weight = 0;
  #pulls = 0;

  constructor(options: PullCredentialCacheOptions) {
    this.#options = options;
  }

  /** How many images it knows. */
  get size(): number {
    return this.#entries.size;
  }

  /** How many pulls were written down, with a credential or without. */
  get pulls(): number {
    return this.#pulls;
  }

  /**
   * The newest credential for an image that was not refused. A reference without tag and digest
   * (all that a nydusd's configuration tells) finds the newest of its repository.
   */
  lookup(
    image: ImageReference,
  ): { readonly credential: Credential; readonly seenAtMs: number } | undefined {
    return this.#find(image)?.sightings.at(-1);
  }

  /**
   * The newest credential that an image was pulled with while this agent ran: good enough to be
   * given to its mounts. Of those that were restored, mounts may hold newer ones by now.
   */
  confirmed(
    image: ImageReference,
  ): { readonly credential: Credential; readonly seenAtMs: number } | undefined {
    const { sightings = [] } = this.#find(image) ?? {};
    return sightings.findLast(({ confirmed, isRestored }) => confirmed && isRestored !== true);
  }

  /**
   * The newest credential that an image was pulled with, by this process or one before it; else the
   * newest that was not refused. Good enough for a mount that has none.
   */
  remembered(
    image: ImageReference,
  ): { readonly credential: Credential; readonly seenAtMs: number } | undefined {
    const { sightings = [] } = this.#find(image) ?? {};
    return sightings.findLast(({ confirmed }) => confirmed) ?? sightings.at(-1);
  }

  /** The pods for which an image was pulled lately, newest first. */
  pods(image: ImageReference): readonly PodIdentity[] {
    return this.#find(image)?.pods ?? [];
  }

  /** Writes a pull down whose outcome is not known yet. */
  record({ image, credential, pod }: SeenPull): PullTicket {
    const sequence = ++this.#sequence;
    this.#pulls++;
    const ticket = { image, sequence };
    if (credential === undefined && pod === undefined) return ticket;
    const old = this.#take(image.text);
    const entry = old ?? { image, sightings: [], pods: [], imageId: undefined };
    const before = entry.sightings.at(-1)?.credential;
    if (credential !== undefined) {
      const seenAtMs = this.#options.now();
      entry.sightings = bounded([
        ...entry.sightings,
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
    if (before === undefined || !credentialsEqual(before, credential)) this.#tell("seen", image);
    return ticket;
  }

  /**
   * Says how a pull ended. Success takes the place of all that was seen before. A refusal takes
   * this pull's credential away, so that it replaces none that worked. Any other failure (disk,
   * network, a client that went away) says nothing about the credential.
   */
  settle({ image, sequence }: PullTicket, outcome: PullOutcome): void {
    const entry = this.#entries.get(image.text);
    if (entry === undefined || outcome.kind === "failed") return;
    const sighting = entry.sightings.find((one) => one.sequence === sequence);
    if (outcome.kind === "refused") {
      if (sighting === undefined) return;
      this.#replace(entry, entry.sightings.filter((one) => one !== sighting));
      return this.#tell("refused", image);
    }
    if (outcome.imageId !== undefined) entry.imageId = outcome.imageId;
    if (sighting === undefined) {
      if (entry.pods.length > 0) this.#tell("pods", image);
      return;
    }
    sighting.confirmed = true;
    this.#replace(entry, entry.sightings.filter((one) => one.sequence >= sequence));
    this.#tell("confirmed", image);
  }

  /**
   * Forgets a removed image, given by reference, ID or ID prefix. The kubelet's garbage collection
   * sends IDs and `crictl rmi` what its user typed; the runtime resolves a prefix only if it is
   * unique, and removes all references of the image. IDs are known from the answers to pulls.
   */
  forget(image: string): void {
    const text = normalized(image);
    const named = text === undefined ? undefined : this.#entries.get(text);
    // An ID or a prefix parses as a reference too, but nothing was pulled by that name.
    const id = named === undefined ? image : named.imageId;
    const gone = [...this.#entries.values()].filter((entry) =>
      entry.image.text === text || id !== undefined && hasId(entry, id)
    );
    for (const entry of gone) {
      this.#take(entry.image.text);
      this.#tell("forgotten", entry.image);
    }
  }

  /** All of it, to be kept where nobody else can read it. */
  serialize(): Secret {
    return encodeCache([...this.#entries.values()].map((entry): CachedImage => ({
      image: entry.image,
      imageId: entry.imageId,
      pods: entry.pods,
      pulls: entry.sightings,
    })));
  }

  /**
   * Takes in what {@linkcode PullCredentialCache.serialize} gave. What was seen since then stays and counts as
   * newer. Text that cannot be used changes nothing and is noted; nothing is announced as a change.
   */
  restore(text: Secret): boolean {
    const decoded = decodeCache(text);
    if (decoded.kind === "refused") {
      this.#options.note?.({ kind: "book-refused", reason: decoded.reason });
      return false;
    }
    const nowMs = this.#options.now();
    const newer = [...this.#entries.keys()].flatMap((key) => this.#take(key) ?? []);
    for (const { image, imageId, pods, pulls } of decoded.images) {
      const sightings = pulls.map(({ credential, seenAtMs, confirmed }) => ({
        sequence: ++this.#sequence,
        credential,
        seenAtMs: Math.min(seenAtMs, nowMs),
        confirmed,
        isRestored: true,
      }));
      this.#take(image.text);
      this.#put({
        image,
        sightings: bounded(sightings),
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
      entry.sightings.length > 0
    );
  }

  #replace(entry: Entry, sightings: Sighting[]): void {
    this.#weight -= weightOf(entry);
    entry.sightings = sightings;
    this.#weight += weightOf(entry);
    if (sightings.length === 0 && entry.pods.length === 0) this.#entries.delete(entry.image.text);
  }

  #take(key: string): Entry | undefined {
    const entry = this.#entries.get(key);
    if (entry === undefined) return undefined;
    this.#entries.delete(key);
    this.#weight -= weightOf(entry);
    return entry;
  }

  #put(entry: Entry): void {
    this.#entries.set(entry.image.text, entry);
    this.#weight += weightOf(entry);
  }

  #shrink(): void {
    const { maxImages = MAX_IMAGES } = this.#options;
    for (const [key, { image }] of this.#entries) {
      if (this.#entries.size <= maxImages && this.#weight <= MAX_WEIGHT) return;
      this.#take(key);
      this.#tell("forgotten", image);
    }
  }

  #tell(kind: PullChange["kind"], image: ImageReference): void {
    this.#options.changed?.({ kind, image });
  }
}

/** The newest few; the newest that pulled stays among them, it is what a refusal falls back to. */
function bounded(sightings: Sighting[]): Sighting[] {
  if (sightings.length <= MAX_SIGHTINGS) return sightings;
  const proven = sightings.findLast(({ confirmed }) => confirmed);
  const newest = sightings.slice(-MAX_SIGHTINGS);
  if (proven === undefined || newest.includes(proven)) return newest;
  return [proven, ...newest.slice(1)];
}

function weightOf({ sightings }: Entry): number {
  return sightings.reduce(
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

/** Whether `id` is the image's ID or, as far as it is hexadecimal, a prefix of it. */
function hasId({ imageId }: Entry, id: string): boolean {
  const prefix = /^(?:sha256:)?([a-f0-9]{1,64})$/.exec(id)?.[1];
  return prefix === undefined ? imageId === id : imageId?.startsWith(`sha256:${prefix}`) === true;
}
