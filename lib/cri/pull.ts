import type { Credential, ImageReference } from "../model/mod.ts";

/** The pod that an image was pulled for (`PodSandboxMetadata`). */
export interface PodIdentity {
  readonly name: string;
  readonly namespace: string;
  readonly uid: string;
}

/** A pull request. */
export interface SeenPull {
  readonly image: ImageReference;
  /** Undefined for an anonymous pull. */
  readonly credential?: Credential;
  readonly pod?: PodIdentity;
}

/** Outcome of a pull. `refused`: the registry did not accept the credential. */
export type PullOutcome =
  | { readonly kind: "succeeded"; readonly imageId?: string }
  | { readonly kind: "refused" }
  | { readonly kind: "failed" };

/** Identifies a recorded pull in the cache that recorded it. */
export interface PullTicket {
  readonly image: ImageReference;
  readonly sequence: number;
}

const OK = "0";
const PERMISSION_DENIED = "7";
const UNAUTHENTICATED = "16";

/**
 * Error texts of registries and runtimes for a rejected credential. containerd reports most of them
 * with the code `UNKNOWN`, so only the text identifies them. "permission denied" is not included: it
 * comes from the file system.
 */
const REFUSAL = new RegExp(
  [
    "\\b40[13] (?:unauthorized|forbidden)\\b",
    "\\bstatus(?: code)?:? 40[13]\\b",
    "\\bunauthorized:",
    "\\bauthorization failed\\b",
    "\\bauthentication required\\b",
    "\\binsufficient_scope\\b",
    "\\bpull access denied\\b",
    "\\baccess to the resource is denied\\b",
    "\\bno basic auth credentials\\b",
    "\\bincorrect username or password\\b",
  ].join("|"),
  "i",
);
const MAX_SEARCHED_CHARS = 64 * 1_024;

/**
 * Returns the outcome of a pull from its trailers. `refused` requires a response of the registry;
 * other failures are not evidence about the credential. The message is not stored.
 */
export function outcomeOf(grpcStatus: string, grpcMessage: string): PullOutcome["kind"] {
  if (grpcStatus === OK) return "succeeded";
  if (grpcStatus === UNAUTHENTICATED || grpcStatus === PERMISSION_DENIED) return "refused";
  return REFUSAL.test(grpcMessage.slice(-MAX_SEARCHED_CHARS)) ? "refused" : "failed";
}
