import type { ImageReference } from "./image_reference.ts";
import type { ReasonCode } from "./provider.ts";
import type { Secret } from "./secret.ts";

/** A pod, and in whose name it runs. */
export interface PodIdentity {
  readonly namespace: string;
  readonly name: string;
  readonly uid: string;
  /** Empty where it runs in nobody's name, as a static pod does. */
  readonly serviceAccount: string;
}

/** What the API server could not tell, and why. */
export interface AccountProblem {
  readonly kind: "failed";
  readonly reason: ReasonCode;
  readonly detail: string;
}

/** The pods of this node that use an image now. */
export type PodsAnswer =
  | {
    readonly kind: "pods";
    readonly pods: readonly PodIdentity[];
    /** What may be the reason that there is none. */
    readonly detail?: string;
  }
  | AccountProblem;

/** A service account as it is now. */
export type AccountAnswer =
  | {
    readonly kind: "account";
    readonly uid: string;
    readonly annotations: Readonly<Record<string, string>>;
  }
  | { readonly kind: "gone" }
  | AccountProblem;

/** A token bound to a pod. */
export type TokenAnswer =
  | { readonly kind: "token"; readonly token: Secret; readonly expiresAtMs?: number }
  | { readonly kind: "gone" }
  | AccountProblem;

/** Pods and service accounts, seen from plugins that want tokens. Never rejects. */
export interface PodAccounts {
  podsOf(image: ImageReference): Promise<PodsAnswer>;
  /** Of a pod that {@linkcode PodAccounts.podsOf} told. */
  account(pod: PodIdentity): Promise<AccountAnswer>;
  /** @param accountUid The account must still be this one. */
  token(pod: PodIdentity, audience: string, accountUid: string): Promise<TokenAnswer>;
}
