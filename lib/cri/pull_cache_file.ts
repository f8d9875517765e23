import * as v from "valibot";
import {
  type Clock,
  type Credential,
  credentialSecret,
  credentialUsername,
  type FileSystem,
  type ImageReference,
  messageOf,
  parseImageReference,
  Secret,
} from "../model/mod.ts";
import type { PodIdentity } from "./cri_messages.ts";

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

/** A saved image. */
export interface CachedImage {
  readonly image: ImageReference;
  readonly imageId: string | undefined;
  /** Newest first. */
  readonly pods: readonly PodIdentity[];
  /** Oldest first. */
  readonly pulls: readonly CachedPull[];
}

/** A saved credential of a pull. */
export interface CachedPull {
  readonly credential: Credential;
  readonly seenAtMs: number;
  readonly confirmed: boolean;
}

/** Result of {@linkcode decodeCache}. */
export type DecodedCache =
  | { readonly kind: "decoded"; readonly images: readonly CachedImage[] }
  | { readonly kind: "rejected"; readonly reason: "malformed" | "unknown-version" };

const VERSION = 1;

/**
 * Encodes the cache as versioned JSON. Pulls refer to a list of distinct credentials, because most
 * images of a node share a few.
 */
export function encodeCache(images: readonly CachedImage[]): Secret {
  const credentials: object[] = [];
  const indexes = new Map<string, number>();
  const indexOf = (credential: Credential): number => {
    const username = credentialUsername(credential);
    const secret = credentialSecret(credential).reveal();
    const revealed = { kind: credential.kind, username, secret };
    const key = JSON.stringify(revealed);
    const index = indexes.get(key) ?? credentials.push(revealed) - 1;
    indexes.set(key, index);
    return index;
  };
  const encoded = images.map(({ image, imageId, pods, pulls }) => ({
    image: image.text,
    imageId, // JSON omits undefined
    pods: pods.map(({ name, namespace, uid }) => ({ name, namespace, uid })),
    pulls: pulls.map(({ credential, seenAtMs, confirmed }) => ({
      credential: indexOf(credential),
      seenAtMs,
      confirmed,
    })),
  }));
  return new Secret(JSON.stringify({ version: VERSION, credentials, images: encoded }));
}

const POD = v.object({ name: v.string(), namespace: v.string(), uid: v.string() });
const CREDENTIAL = v.object({
  kind: v.picklist(["basic", "registry-token", "identity-token"]),
  username: v.string(),
  secret: v.pipe(v.string(), v.minLength(1)),
});
const PULL = v.object({ credential: v.number(), seenAtMs: v.number(), confirmed: v.boolean() });
const CACHE = v.object({
  version: v.literal(VERSION),
  credentials: v.array(CREDENTIAL),
  images: v.array(v.object({
    image: v.string(),
    imageId: v.optional(v.string()),
    pods: v.array(POD),
    pulls: v.array(PULL),
  })),
});

/** Decodes the text of {@linkcode encodeCache} completely or not at all. Never throws. */
export function decodeCache(text: Secret): DecodedCache {
  try {
    const given = JSON.parse(text.reveal());
    if (given?.version !== VERSION) return { kind: "rejected", reason: "unknown-version" };
    const { credentials, images } = v.parse(CACHE, given);
    const decoded = credentials.map(credentialOf);
    const credentialAt = (index: number) => {
      const credential = decoded[index];
      if (credential === undefined) throw new RangeError();
      return credential;
    };
    return {
      kind: "decoded",
      images: images.map(({ image, imageId, pods, pulls }) => ({
        image: parseImageReference(image),
        imageId,
        pods,
        pulls: pulls.map((pull) => ({ ...pull, credential: credentialAt(pull.credential) })),
      })),
    };
  } catch {
    // The error is dropped: it may quote the text.
    return { kind: "rejected", reason: "malformed" };
  }
}

function credentialOf({ kind, username, secret }: v.InferOutput<typeof CREDENTIAL>): Credential {
  const token = new Secret(secret);
  switch (kind) {
    case "basic":
      return { kind, username, password: token };
    case "registry-token":
      return { kind, token };
    case "identity-token":
      return { kind, username, token };
  }
}
