import type {
  CallOptions,
  Candidate,
  Clock,
  CredentialRequest,
  DeliveryOutcome,
  DeliveryRequest,
  ImageReference,
  NodeView,
  NydusdApi,
  Observer,
  Resolution,
} from "../model/mod.ts";
import type { CredentialStore } from "../credentials/mod.ts";
import type { CandidateSelector } from "../verification/mod.ts";
import type { Mounts } from "./mounts.ts";

/** Requests the credential of an image from the providers; see `CredentialChain`. */
export interface Resolver {
  resolve(
    request: CredentialRequest,
    options?: CallOptions & { readonly renewal?: boolean; readonly all?: boolean },
  ): Promise<Resolution>;
}

/** Selects one of several candidates. */
export type Selector = Pick<CandidateSelector, "select">;

/** Reads the counters of backend reads of one mount from nydusd. */
export type ReadCounter = Pick<NydusdApi, "backendReads">;

/** The parts that a configuration reload replaces. */
export interface ReconcileStages {
  readonly discoverer: { discover(options?: CallOptions): Promise<NodeView> };
  readonly resolver: Resolver;
  readonly deliverer: {
    deliver(request: DeliveryRequest, options?: CallOptions): Promise<DeliveryOutcome>;
  };
  /** Returns the credential of an earlier pull, for a mount without one. */
  readonly remembered?: (image: ImageReference) => Candidate | undefined;
  /** Without it reads are not monitored. */
  readonly readCounter?: ReadCounter;
  readonly checkIntervalMs: number;
  /** False: discover and report, but renew and deliver nothing. */
  readonly renewalEnabled: boolean;
  /** Whether a credential may be sent to unapproved hosts. Default: `warn`. */
  readonly unapprovedHostPolicy?: "warn" | "refuse";
}

/** Dependencies of a `Reconciler` that a reload does not replace. */
export interface ReconcilerOptions {
  readonly store: CredentialStore;
  readonly observer: Observer;
  readonly clock: Clock;
  /** Delay after which a nydusd version uses a stored credential; undefined if unknown. */
  readonly inUseDelayMs: (version: string) => number | undefined;
  /** Without it the first candidate of the chain is used. */
  readonly selector?: Selector;
}

/** What the parts of the reconciler share. */
export interface ReconcilerContext extends ReconcilerOptions {
  readonly mounts: Mounts;
  readonly stages: () => ReconcileStages;
}

/** What a renewal needs of the {@linkcode ReconcilerContext}. */
export type RenewalContext =
  & Pick<ReconcilerContext, "store" | "observer" | "clock" | "selector" | "mounts">
  & { readonly stages: () => Pick<ReconcileStages, "resolver"> };
