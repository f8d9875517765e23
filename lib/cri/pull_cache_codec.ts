import { type Credential, type ImageReference, parseImageReference, Secret } from "../model/mod.ts";
import type { PodIdentity } from "./pull.ts";

/** One image as it is kept over a restart. */
export interface CachedImage {
  readonly image: ImageReference;
  readonly imageId: string | undefined;
  /** Newest first. */
  readonly pods: readonly PodIdentity[];
  /** Oldest first. */
  readonly pulls: readonly CachedPull[];
}

/** One credential that a pull brought. */
export interface CachedPull {
  readonly credential: Credential;
  readonly seenAtMs: number;
  readonly confirmed: boolean;
}

/** What {@linkcode decodeCache} made of a text. */
export type DecodedCache =
  | { readonly kind: "read"; readonly images: readonly CachedImage[] }
  | { readonly kind: "refused"; readonly reason: "malformed" | "unknown-version" };

const VERSION = 1;

/**
 * Versioned JSON. Each credential stands there once, pulls name it by its place: a node's images
 * mostly share a few.
 */
export function encodeCache(images: readonly CachedImage[]): Secret {
  const credentials: Readonly<Record<string, string>>[] = [];
  const places = new Map<string, number>();
  const imageLabel = (credential: Credential): number => {
    const shown = opened(credential);
    const key = JSON.stringify(shown);
    const place = places.get(key) ?? credentials.push(shown) - 1;
    places.set(key, place);
    return place;
  };
  const lines = images.map(({ image, imageId, pods, pulls }) => ({
    image: image.text,
    ...(imageId !== undefined && { imageId }),
    pods: pods.map(({ name, namespace, uid }) => ({ name, namespace, uid })),
    pulls: pulls.map(({ credential, seenAtMs, confirmed }) => ({
      credential: imageLabel(credential),
      seenAtMs,
      confirmed,
    })),
  }));
  return new Secret(JSON.stringify({ version: VERSION, credentials, images: lines }));
}

function opened(credential: Credential): Readonly<Record<string, string>> {
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

/** The reverse of {@linkcode encodeCache}; all or nothing. Never throws. */
export function decodeCache(text: Secret): DecodedCache {
  try {
    const book = record(JSON.parse(text.reveal()));
    if (book.version !== VERSION) return { kind: "refused", reason: "unknown-version" };
    const credentials = list(book.credentials).map(readCredential);
    return { kind: "read", images: list(book.images).map((one) => readImage(one, credentials)) };
  } catch {
    // What is wrong with it is not told: JSON's errors quote the text.
    return { kind: "refused", reason: "malformed" };
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
      const { credential: place, seenAtMs, confirmed } = record(one);
      const credential = typeof place === "number" ? credentials[place] : undefined;
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
  return new TypeError("read the book of pulls: it is not what the agent wrote");
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
