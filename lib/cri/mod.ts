/**
 * The CRI proxy reads image pulls on their way to the container runtime: HTTP/2, HPACK, gRPC and protobuf
 * readers, and the pull credential cache. A reader can lose a credential, never a pull.
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
