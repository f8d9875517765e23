import {
  type Clock,
  type Credential,
  type FileSystem,
  type ImageReference,
  messageOf,
  parseImageReference,
  Secret,
} from "../model/mod.ts";
import type { PodIdentity } from "./pull.ts";

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
  const credentials: Readonly<Record<string, string>>[] = [];
  const indexes = new Map<string, number>();
  const indexOf = (credential: Credential): number => {
    const revealed = reveal(credential);
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

function reveal(credential: Credential): Readonly<Record<string, string>> {
  const { kind } = credential;
  switch (kind) {
    case "basic":
      return { kind, username: credential.username, secret: credential.password.reveal() };
    case "registry-token":
      return { kind, username: "", secret: credential.token.reveal() };
    case "identity-token":
      return { kind, username: credential.username, secret: credential.token.reveal() };
    default: {
      const unknown: never = kind;
      return unknown;
    }
  }
}

/** Decodes the text of {@linkcode encodeCache} completely or not at all. Never throws. */
export function decodeCache(text: Secret): DecodedCache {
  try {
    const cache = record(JSON.parse(text.reveal()));
    if (cache.version !== VERSION) return { kind: "rejected", reason: "unknown-version" };
    const credentials = list(cache.credentials).map(readCredential);
    const images = list(cache.images).map((one) => readImage(one, credentials));
    return { kind: "decoded", images };
  } catch {
    // The error is dropped: JSON errors quote the text.
    return { kind: "rejected", reason: "malformed" };
  }
}

function readImage(value: unknown, credentials: readonly Credential[]): CachedImage {
  const { image, imageId, pods, pulls } = record(value);
  return {
    image: parseImageReference(string(image)),
    imageId: imageId === undefined ? undefined : string(imageId),
    pods: list(pods).map((one) => {
      const { name, namespace, uid } = record(one);
      return { name: string(name), namespace: string(namespace), uid: string(uid) };
    }),
    pulls: list(pulls).map((one) => {
      const { credential: index, seenAtMs, confirmed } = record(one);
      const credential = typeof index === "number" ? credentials[index] : undefined;
      if (credential === undefined || !Number.isFinite(seenAtMs)) throw malformed();
      return { credential, seenAtMs: Number(seenAtMs), confirmed: confirmed === true };
    }),
  };
}

function readCredential(value: unknown): Credential {
  const { kind, username, secret } = record(value);
  const token = new Secret(string(secret));
  if (token.isEmpty) throw malformed();
  switch (kind) {
    case "basic":
      return { kind, username: string(username), password: token };
    case "registry-token":
      return { kind, token };
    case "identity-token":
      return { kind, username: string(username), token };
    default:
      throw malformed();
  }
}

function malformed(): TypeError {
  return new TypeError("malformed pull credential cache");
}

function record(value: unknown): Readonly<Record<string, unknown>> {
  if (typeof value !== "object" || value === null || Array.isArray(value)) throw malformed();
  return value as Record<string, unknown>;
}

function list(value: unknown): readonly unknown[] {
  if (!Array.isArray(value)) throw malformed();
  return value;
}

function string(value: unknown): string {
  if (typeof value !== "string") throw malformed();
  return value;
}
