/** Why the reader gave one direction of a connection up. */
export type LostReason =
  | "not-http2"
  | "malformed-frame"
  | "malformed-headers"
  | "headers-too-large"
  | "internal-error";

/** Why one message, or the credential in it, was left out. */
export type SkipReason =
  | "compressed"
  | "message-too-large"
  | "too-much-at-once"
  | "malformed-message"
  | "malformed-image"
  | "malformed-auth"
  | "credential-too-large"
  | "other-registry";

/** What the CRI proxy says of its own reading. Of what was read it holds a reference at most. */
export type CriNote =
  /** Nothing more is read in this direction; without the client's, nothing at all. */
  | { readonly kind: "lost"; readonly side: "client" | "server"; readonly reason: LostReason }
  | {
    readonly kind: "skipped";
    readonly method: "PullImage" | "RemoveImage";
    readonly reason: SkipReason;
    /** Normalized, where it is known. */
    readonly image?: string;
  }
  /** What was kept from an earlier run cannot be used: the book starts empty. */
  | { readonly kind: "book-refused"; readonly reason: "malformed" | "unknown-version" };

/** Every reason in words, for logs and documentation. */
export const CRI_NOTES: Readonly<
  Record<LostReason | SkipReason | "malformed" | "unknown-version", string>
> = {
  "not-http2": "the connection does not speak HTTP/2 with prior knowledge",
  "malformed-frame": "a frame breaks HTTP/2",
  "malformed-headers": "a header block breaks HPACK",
  "headers-too-large": "a header block or its table is larger than the limit",
  "internal-error": "the reader failed in a way that it does not know; please report it",
  "compressed": "the message is compressed",
  "message-too-large": "the message is larger than the limit",
  "too-much-at-once": "the unfinished messages of the connection are larger than the limit",
  "malformed-message": "the message is not what the method takes",
  "malformed-image": "the image is not a reference",
  "malformed-auth": "the auth field is not base64 of a UTF-8 pair",
  "credential-too-large": "the credential is larger than the limit",
  "other-registry": "the credential is for another registry than the image's",
  "malformed": "it is not what the agent wrote",
  "unknown-version": "another version of the agent wrote it",
};
