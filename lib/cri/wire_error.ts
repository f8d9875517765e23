import type { LostReason } from "./notes.ts";

/** The thread is lost: bytes that no HTTP/2 peer would send, or more than the reader keeps. */
export class WireError extends Error {
  override readonly name = "WireError";
  readonly reason: LostReason;

  constructor(reason: LostReason) {
    super(`read a CRI connection: ${reason}`);
    this.reason = reason;
  }
}
