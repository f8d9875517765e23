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

/** The parts that a configuration reload replaces. */
export interface ReconcileStages {
  readonly discoverer: { discover(options?: CallOptions): Promise<NodeView> };
  /** Requests the credential of an image from the providers; see `CredentialChain`. */
  readonly resolver: {
    resolve(
      request: CredentialRequest,
      options?: CallOptions & { readonly renewal?: boolean; readonly all?: boolean },
    ): Promise<Resolution>;
  };
  readonly deliverer: {
    deliver(request: DeliveryRequest, options?: CallOptions): Promise<DeliveryOutcome>;
  };
  /** Returns the credential of an earlier pull, for a mount without one. */
  readonly remembered?: (image: ImageReference) => Candidate | undefined;
  /** Without it reads are not monitored. */
  readonly readCounter?: Pick<NydusdApi, "backendReads">;
  readonly checkIntervalMs: number;
  /** False: discover and report, but renew and deliver nothing. */
  readonly renewalEnabled: boolean;
  /** Whether a credential may be sent to unapproved hosts. Default: `warn`. */
  readonly unapprovedHostPolicy?: "warn" | "refuse";
}

/** Why a reconcile starts: the interval, or an event. */
export type TriggerReason = "start" | "interval" | "node-changed" | "reads-failing" | "requested";

/** What the parts of the reconciler share. */
export interface ReconcilerContext {
  readonly store: CredentialStore;
  readonly observer: Observer;
  readonly clock: Clock;
  /** Selects one of several candidates. */
  readonly selector: Pick<CandidateSelector, "select">;
  /** Delay after which a nydusd version uses a stored credential; undefined if unknown. */
  readonly inUseDelayMs: (version: string) => number | undefined;
  readonly mounts: Mounts;
  readonly stages: () => ReconcileStages;
  /** Wakes the loop, which calculates its wait again; with a reason it reconciles. */
  readonly wake: (reason?: TriggerReason) => void;
}

/** What a renewal needs of the {@linkcode ReconcilerContext}. */
export type RenewalContext =
  & Pick<ReconcilerContext, "store" | "observer" | "clock" | "selector" | "mounts">
  & { readonly stages: () => Pick<ReconcileStages, "resolver"> };
