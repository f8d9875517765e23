/**
 * Reads image pulls that pass through the CRI proxy: HTTP/2, HPACK, gRPC and protobuf readers, and
 * the pull credential cache. A reader may miss a credential but never affects a pull.
 *
 * @module
 */
export { CRI_NOTES, type CriNote, type LostReason, type SkipReason } from "./notes.ts";
export type { PodIdentity, PullOutcome, PullTicket, SeenPull } from "./pull.ts";
export { PullCacheFile } from "./pull_cache_file.ts";
export {
  type PullChange,
  PullCredentialCache,
  type PullCredentialCacheOptions,
} from "./pull_credential_cache.ts";
export { createCriReader, type CriConnectionReader, type CriReaderOptions } from "./reader.ts";
