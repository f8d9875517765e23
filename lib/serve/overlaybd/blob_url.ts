import { type ImageReference, repositoryReference } from "../../model/mod.ts";

/** What a blob's URL is of. */
export interface BlobUrl {
  /** As the URL spells it, with its port: what overlaybd looks for. */
  readonly host: string;
  /** The repository, without tag and digest. */
  readonly image: ImageReference;
}

const MAX_URL = 4_096;
/** `/v2/<name>/blobs/<digest>` and `/v2/<name>/manifests/<reference>` (OCI distribution spec). */
const BLOB_URL = /^https?:\/\/([^/?#@\s]+)\/v2\/([^?#\s]+)\/(?:blobs|manifests)\/[^/?#\s]+$/;

/** Undefined for what is no URL of a blob or manifest in a registry. */
export function readBlobUrl(text: string): BlobUrl | undefined {
  const [, host, repository] = text.length <= MAX_URL ? BLOB_URL.exec(text) ?? [] : [];
  if (host === undefined || repository === undefined) return undefined;
  try {
    return { host, image: repositoryReference(host, repository) };
  } catch {
    return undefined;
  }
}
