import type { Credential, ImageReference } from "../model/mod.ts";

/** The pod for which an image was pulled (`PodSandboxMetadata`). */
export interface PodIdentity {
  readonly name: string;
  readonly namespace: string;
  readonly uid: string;
}

/** A pull whose request was read to its end. */
export interface SeenPull {
  readonly image: ImageReference;
  /** Undefined for an anonymous pull. */
  readonly credential?: Credential;
  readonly pod?: PodIdentity;
}

/** How a pull ended: `refused` says that the registry did not take the credential. */
export type PullOutcome =
  | { readonly kind: "succeeded"; readonly imageId?: string }
  | { readonly kind: "refused" }
  | { readonly kind: "failed" };

/** What a pull is settled by; it is of use for this book alone. */
export interface PullTicket {
  readonly image: ImageReference;
  readonly sequence: number;
}
