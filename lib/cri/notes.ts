/** Why a connection, or a message of it, cannot be read; for logs and documentation. */
export const CRI_PROBLEMS = {
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
} as const;
/** One of {@linkcode CRI_PROBLEMS}. */
export type CriProblem = keyof typeof CRI_PROBLEMS;

/** A problem while reading CRI traffic. Contains at most an image reference of the traffic. */
export type CriNote =
  /** One direction is no longer read; if it is the client's, neither is the other. */
  | { readonly kind: "lost"; readonly side: "client" | "server"; readonly reason: CriProblem }
  /** A message, or the credential in it, was skipped. */
  | {
    readonly kind: "skipped";
    readonly method: "PullImage" | "RemoveImage";
    readonly reason: CriProblem;
    /** Normalized reference, if known. */
    readonly image?: string;
  };

/** Thrown when a direction or a message cannot be read any further. */
export class WireError extends Error {
  override readonly name = "WireError";
  readonly reason: CriProblem;

  constructor(reason: CriProblem) {
    super(`failed to read a CRI connection: ${reason}`);
    this.reason = reason;
  }
}
