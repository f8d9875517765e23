/**
 * Reads image pulls that pass through the CRI proxy: HTTP/2, HPACK, gRPC and protobuf readers, and
 * the pull credential cache. A reader may miss a credential but never affects a pull.
 *
 * @module
 */
export { CRI_PROBLEMS } from "./http2_frames.ts";
export { PullCacheFile, type PullChange, PullCredentialCache } from "./pull_credential_cache.ts";
export { CriConnectionReader, type CriNote } from "./reader.ts";
