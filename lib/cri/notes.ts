/** Why the reader stopped reading one direction of a connection. */
export type LostReason =
  | "not-http2"
  | "malformed-frame"
  | "malformed-headers"
  | "headers-too-large"
  | "internal-error";

/** Why a message, or the credential in it, was skipped. */
export type SkipReason =
  | "compressed"
  | "message-too-large"
  | "buffer-limit"
  | "malformed-message"
  | "malformed-image"
  | "malformed-auth"
  | "credential-too-large"
  | "other-registry";

/** A problem while reading CRI traffic. Contains at most an image reference of the traffic. */
export type CriNote =
  /** One direction is no longer read; if it is the client's, neither is the other. */
  | { readonly kind: "lost"; readonly side: "client" | "server"; readonly reason: LostReason }
  | {
    readonly kind: "skipped";
    readonly method: "PullImage" | "RemoveImage";
    readonly reason: SkipReason;
    /** Normalized reference, if known. */
    readonly image?: string;
  }
  /** The saved cache of an earlier run is unusable: the cache starts empty. */
  | { readonly kind: "cache-rejected"; readonly reason: "malformed" | "unknown-version" };

/** A description of every reason, for logs and documentation. */
export const CRI_NOTES: Readonly<
  Record<LostReason | SkipReason | "malformed" | "unknown-version", string>
> = {
  "not-http2": "the connection does not use HTTP/2 with prior knowledge",
  "malformed-frame": "malformed HTTP/2 frame",
  "malformed-headers": "malformed HPACK header block",
  "headers-too-large": "a header block or the HPACK table exceeds the limit",
  "internal-error": "unexpected error of the reader; please report it",
  "compressed": "the message is compressed",
  "message-too-large": "the message exceeds the limit",
  "buffer-limit": "the incomplete messages of the connection exceed the limit",
  "malformed-message": "malformed request message",
  "malformed-image": "the image is not a valid reference",
  "malformed-auth": "the auth field is not a base64-encoded pair in UTF-8",
  "credential-too-large": "the credential exceeds the limit",
  "other-registry": "the credential is for another registry than the image",
  "malformed": "the file is malformed",
  "unknown-version": "the file was written by another version of the agent",
};

/** Thrown when a direction cannot be read any further: invalid HTTP/2, or a limit was exceeded. */
export class WireError extends Error {
  override readonly name = "WireError";
  readonly reason: LostReason;

  constructor(reason: LostReason) {
    super(`failed to read a CRI connection: ${reason}`);
    this.reason = reason;
  }
}
